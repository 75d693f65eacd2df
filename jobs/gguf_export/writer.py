"""A transformers folder of a Qwen2 or Qwen3 dense model → one F16, BF16 or F32 GGUF file, tensor by tensor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import UserError
from jobs.progress import bar

if TYPE_CHECKING:
    import gguf
    import numpy as np

ARCHITECTURES = {"Qwen2ForCausalLM": "QWEN2", "Qwen3ForCausalLM": "QWEN3"}
PRE_TOKENIZER = "qwen2"  # llama.cpp's name of Qwen2Tokenizer's splitting rule


@dataclass(frozen=True)
class Provenance:
    """What the file says of itself in `general.*`; empty values are left out."""

    name: str
    licence: str = ""
    base_model: str = ""  # Hub id
    datasets: tuple[str, ...] = ()
    tags: tuple[str, ...] = field(default=("footnote", "text-generation"))


def write_gguf(model: Path, path: Path, kind: str, provenance: Provenance) -> int:
    """Write `model` as GGUF of type `kind` (f16, bf16 or f32); returns the number of tensors.

    Norms and biases stay float32, tied embeddings are written once, tokens beyond the tokenizer's are padding.
    """
    import gguf

    config = _config(model)
    arch = gguf.MODEL_ARCH[ARCHITECTURES[config["architectures"][0]]]
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    _add_general(writer, kind, provenance)
    _add_shape(writer, config)
    _add_vocabulary(writer, model, config["vocab_size"])
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    tied = config.get("tie_word_embeddings", False)
    tensors = list(_tensors(model, names, tied))
    for _, name, shape, _ in tensors:
        stored = _storage(kind, shape)
        width = 4 if stored == gguf.GGMLQuantizationType.F32 else 2
        size = width * _product(shape)
        dtype = _dtype(stored)
        writer.add_tensor_info(name, shape, dtype, size, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    with bar(len(tensors), f"write {kind}", unit="tensor") as shown:
        for source, _, shape, shard in tensors:
            writer.write_tensor_data(_load(shard, source, _storage(kind, shape)))
            shown.update()
    writer.close()
    return len(tensors)


def _config(model: Path) -> dict[str, Any]:
    try:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{model}/config.json: cannot be read ({error}); expected a transformers model") from None
    architecture = (config.get("architectures") or ["none named"])[0]
    if architecture not in ARCHITECTURES:
        raise UserError(f"{model}: {architecture} cannot be exported; supported: {', '.join(ARCHITECTURES)}")
    return config


def _add_general(writer: gguf.GGUFWriter, kind: str, provenance: Provenance) -> None:
    import gguf

    types = gguf.LlamaFileType
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(provenance.name)
    if provenance.licence:
        writer.add_license(provenance.licence)
    if provenance.base_model:
        writer.add_base_model_count(1)
        writer.add_base_model_name(0, provenance.base_model.rpartition("/")[2])
        writer.add_base_model_repo_url(0, f"https://huggingface.co/{provenance.base_model}")
    if provenance.datasets:
        writer.add_dataset_count(len(provenance.datasets))
        for index, name in enumerate(provenance.datasets):
            writer.add_dataset_name(index, name)
    writer.add_tags(list(provenance.tags))
    writer.add_languages(["en"])
    writer.add_file_type({"f16": types.MOSTLY_F16, "bf16": types.MOSTLY_BF16, "f32": types.ALL_F32}[kind])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _add_shape(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    rope = config.get("rope_parameters") or {"rope_theta": config.get("rope_theta", 10000.0)}
    if rope.get("rope_type", "default") != "default" or config.get("rope_scaling"):
        raise UserError(f"config.json: rope type {rope.get('rope_type')!r} cannot be exported, only 'default'")
    heads = config["num_attention_heads"]
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads", heads))
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if (head := config.get("head_dim")) is not None:
        writer.add_key_length(head)
        writer.add_value_length(head)


def _add_vocabulary(writer: gguf.GGUFWriter, model: Path, rows: int) -> None:
    import gguf
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    names = {number: token for token, number in tokenizer.get_vocab().items()}
    if max(names) >= rows:
        raise UserError(f"{model}: the tokenizer has ids up to {max(names)}, the embedding only {rows} rows")
    special = tokenizer.added_tokens_decoder
    tokens, types = [], []
    for number in range(rows):
        tokens.append(names.get(number, f"[PAD{number}]"))
        if number not in names:
            types.append(gguf.TokenType.UNUSED)
        elif number in special:
            control = special[number].special or _looks_special(names[number])
            types.append(gguf.TokenType.CONTROL if control else gguf.TokenType.USER_DEFINED)
        else:
            types.append(gguf.TokenType.NORMAL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    vocabulary = gguf.SpecialVocab(model, load_merges=True)
    vocabulary.add_special_token.setdefault("bos", False)  # Qwen has none; llama.cpp would otherwise guess
    vocabulary.add_to_gguf(writer, quiet=True)


def _looks_special(token: str) -> bool:
    """Added but not marked special, yet written like a control token: llama.cpp's converter makes it one too."""
    return token.startswith("<|") and token.endswith("|>")


def _tensors(model: Path, names: gguf.TensorNameMap, tied: bool) -> Iterator[tuple[str, str, tuple[int, ...], Path]]:
    """(source name, GGUF name, shape, file) of every tensor to write, in the files' order."""
    from jobs.safetensors_stream import read_header

    for shard in sorted(model.glob("*.safetensors")):
        for source, entry in read_header(shard).items():
            if source == "__metadata__" or (tied and source == "lm_head.weight"):
                continue
            name = names.get_name(source, try_suffixes=(".weight", ".bias"))
            if name is None:
                raise UserError(f"{shard}: tensor {source} has no name in llama.cpp, so the model cannot be exported")
            yield source, name, tuple(entry["shape"]), shard


def _storage(kind: str, shape: tuple[int, ...]) -> gguf.GGMLQuantizationType:
    import gguf

    types = gguf.GGMLQuantizationType
    if len(shape) == 1:
        return types.F32
    return {"f16": types.F16, "bf16": types.BF16, "f32": types.F32}[kind]


def _dtype(stored: gguf.GGMLQuantizationType) -> Any:
    import gguf
    import numpy as np

    types = gguf.GGMLQuantizationType
    return np.dtype({types.F32: np.float32, types.F16: np.float16, types.BF16: np.uint16}[stored])


def _load(shard: Path, source: str, stored: gguf.GGMLQuantizationType) -> np.ndarray:
    """One tensor in its stored type. An F16 that overflows is an error: BF16 reaches further."""
    import gguf
    import torch
    from safetensors import safe_open

    with safe_open(shard, framework="pt") as tensors:
        tensor = tensors.get_tensor(source)
    if stored == gguf.GGMLQuantizationType.BF16:
        return tensor.to(torch.bfloat16).view(torch.int16).numpy().view("uint16")
    array = tensor.to(torch.float16 if stored == gguf.GGMLQuantizationType.F16 else torch.float32)
    if not torch.isfinite(array).all():
        raise UserError(f"{shard}: {source} holds NaN, infinity or a value beyond float16; export bf16 instead")
    return array.numpy()


def _product(shape: tuple[int, ...]) -> int:
    result = 1
    for extent in shape:
        result *= extent
    return result
