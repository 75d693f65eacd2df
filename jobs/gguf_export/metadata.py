"""What a GGUF says of itself: where it comes from (`general.*`), how to sample, and the model's shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.json_object import number, read_object

if TYPE_CHECKING:
    import gguf

    from jobs.architecture import Architecture

HUB = "https://huggingface.co"
TEXTS = {  # field of Provenance → gguf's key
    "name": "NAME",
    "organization": "ORGANIZATION",
    "version": "VERSION",
    "basename": "BASENAME",
    "finetune": "FINETUNE",
    "description": "DESCRIPTION",
    "quantized_by": "QUANTIZED_BY",
    "licence": "LICENSE",
    "licence_name": "LICENSE_NAME",
    "licence_link": "LICENSE_LINK",
}
SAMPLING = {  # of generation_config.json: these alone does llama.cpp's converter carry for a transformers model
    "top_k": ("SAMPLING_TOP_K", int),
    "top_p": ("SAMPLING_TOP_P", float),
    "min_p": ("SAMPLING_MIN_P", float),
    "temperature": ("SAMPLING_TEMP", float),
    "repetition_penalty": ("SAMPLING_PENALTY_REPEAT", float),
}


@dataclass(frozen=True)
class Provenance:
    """What the file says of itself in `general.*`; empty values are left out. Repositories are Hub ids."""

    name: str
    licence: str = ""  # of the base model: an SPDX id in lower case, or "other" with name and link
    base_model: str = ""
    datasets: tuple[str, ...] = ()
    tags: tuple[str, ...] = ("footnote", "text-generation")
    languages: tuple[str, ...] = ("en",)
    licence_name: str = ""
    licence_link: str = ""
    base_revision: str = ""  # commit of the base model
    organization: str = ""
    version: str = ""
    basename: str = ""  # the family, as "Qwen2.5"
    finetune: str = ""  # what it was tuned for, as "footnote"
    description: str = ""
    quantized_by: str = ""
    repository: str = ""  # where this file is published
    source_repository: str = ""  # where the merged model is, of which this file is made


def add_general(writer: gguf.GGUFWriter, provenance: Provenance) -> None:
    """The keys that trace a file back: names, licence, repositories, base model, data sets."""
    import gguf

    for field, key in TEXTS.items():
        if value := getattr(provenance, field):
            writer.add_string(getattr(gguf.Keys.General, key), value)
    if provenance.repository:
        writer.add_repo_url(f"{HUB}/{provenance.repository}")
    if provenance.source_repository:
        writer.add_source_repo_url(f"{HUB}/{provenance.source_repository}")
    if provenance.base_model:
        _add_base(writer, provenance)
    if provenance.datasets:
        _add_datasets(writer, provenance.datasets)
    if provenance.tags:
        writer.add_tags(list(provenance.tags))
    if provenance.languages:
        writer.add_languages(list(provenance.languages))


def _add_base(writer: gguf.GGUFWriter, provenance: Provenance) -> None:
    owner, _, name = provenance.base_model.rpartition("/")
    writer.add_base_model_count(1)
    writer.add_base_model_name(0, name)
    if owner:
        writer.add_base_model_organization(0, owner)
        writer.add_base_model_repo_url(0, f"{HUB}/{provenance.base_model}")
    if provenance.base_revision:
        writer.add_base_model_version(0, provenance.base_revision)


def _add_datasets(writer: gguf.GGUFWriter, datasets: tuple[str, ...]) -> None:
    writer.add_dataset_count(len(datasets))
    for index, repository in enumerate(datasets):
        owner, _, name = repository.rpartition("/")
        writer.add_dataset_name(index, name)
        if owner:
            writer.add_dataset_organization(index, owner)
            writer.add_dataset_repo_url(index, f"{HUB}/datasets/{repository}")


def add_sampling(writer: gguf.GGUFWriter, model: Path) -> None:
    """The model's own sampling settings, which llama.cpp's tools take as their defaults."""
    import gguf

    path = model / "generation_config.json"
    if not path.is_file():
        return
    config = read_object(path, "take the base model's own")
    for key, (name, kind) in SAMPLING.items():
        if config.get(key) is not None:
            value = number(config[key], kind, f"{path}: {key}")
            add = writer.add_int32 if kind is int else writer.add_float32
            add(getattr(gguf.Keys.General, name), value)


def add_shape(writer: gguf.GGUFWriter, architecture: Architecture) -> None:
    """The `qwen2.*` or `qwen3.*` keys, from which llama.cpp builds the model."""
    writer.add_block_count(architecture.layers)
    writer.add_context_length(architecture.context)
    writer.add_embedding_length(architecture.hidden)
    writer.add_feed_forward_length(architecture.feed_forward)
    writer.add_head_count(architecture.heads)
    writer.add_head_count_kv(architecture.kv_heads)
    writer.add_rope_freq_base(architecture.rope_base)
    writer.add_layer_norm_rms_eps(architecture.epsilon)
    if architecture.head_dim is not None:
        writer.add_key_length(architecture.head_dim)
        writer.add_value_length(architecture.head_dim)
