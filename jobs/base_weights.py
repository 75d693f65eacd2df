"""The weights of a base model in a folder: looked through by their headers before anything is made of them."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.errors import UserError
from jobs.safetensors_stream import Entry, read_entries

INDEX = "model.safetensors.index.json"
FLOATS = ("F32", "F16", "BF16")
EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"
AGAIN = "get the model again"


def base_weights(folder: Path) -> dict[str, Entry]:
    """Every tensor of a model folder, file after file, in the order of their bytes.

    Raises `UserError`, naming the tensor, where the weights are quantised, a tensor or a whole layer of config.json is
    missing, one stands in two files, a file is unknown to the index, or the tokenizer has more entries than the
    embedding has rows. All layers of a model have the same tensors (as in every dense model of Qwen2's kind).
    """
    config = read_config(folder)
    if config.get("quantization_config"):
        raise UserError(f"{folder}: quantised weights (quantization_config); merging needs the original ones")
    weights = _indexed(folder, _all(folder))
    for name, entry in weights.items():
        if entry.dtype not in FLOATS:
            raise UserError(f"{entry.path}: {name} is of type {entry.dtype}; merging needs bf16, f16 or f32 weights")
    _check_layers(folder, config, weights)
    _check_embedding(folder, config, weights)
    return weights


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a model folder."""
    return _json(folder / "config.json", "the configuration of a model; get the model again")


def is_tied(config: Mapping[str, Any], weights: Mapping[str, Entry]) -> bool:
    """Whether embedding and output layer are one matrix."""
    return bool(config.get("tie_word_embeddings", HEAD not in weights))


def _all(folder: Path) -> dict[str, Entry]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(f"{folder}: no .safetensors file; the base model's weights are needed to merge into")
    if len(files) > 1 and not (folder / INDEX).is_file():
        raise UserError(f"{folder}: {len(files)} .safetensors files and no {INDEX}; {AGAIN}")
    weights: dict[str, Entry] = {}
    for path in files:
        for name, entry in read_entries(path).items():
            if name in weights:
                raise UserError(f"{path}: {name} stands in {weights[name].path.name} too; {AGAIN}")
            weights[name] = entry
    return weights


def _indexed(folder: Path, weights: dict[str, Entry]) -> dict[str, Entry]:
    """The same tensors, if the index (where there is one) says the same of them."""
    path = folder / INDEX
    if not path.is_file():
        return weights
    places = _json(path, "the index of a model's files").get("weight_map")
    if not isinstance(places, dict):
        raise UserError(f"{path}: not the index of a model's files; {AGAIN}")
    for name, file in places.items():
        if name not in weights or weights[name].path.name != file:
            raise UserError(f"{folder}: {name} is not in {file}, where {INDEX} has it; {AGAIN}")
    if extra := next((name for name in weights if name not in places), None):
        raise UserError(f"{weights[extra].path}: {extra} is unknown to {INDEX}; {AGAIN}, or remove that file")
    return weights


def _check_layers(folder: Path, config: Mapping[str, Any], weights: Mapping[str, Entry]) -> None:
    count = config.get("num_hidden_layers")
    if not isinstance(count, int):
        raise UserError(f"{folder}/config.json: num_hidden_layers is missing; {AGAIN}")
    layers: dict[int, dict[str, tuple[int, ...]]] = defaultdict(dict)
    for name, entry in weights.items():
        if found := re.fullmatch(r"model\.layers\.(\d+)\.(.+)", name):
            layers[int(found[1])][found[2]] = entry.shape
    if extra := sorted(number for number in layers if number >= count):
        raise UserError(f"{folder}: weights of layer {extra[0]}, but config.json has {count} layers; {AGAIN}")
    shapes = {part: shape for number in sorted(layers, reverse=True) for part, shape in layers[number].items()}
    for number in range(count):
        for part, shape in shapes.items() or [("self_attn.q_proj.weight", ())]:
            name = f"model.layers.{number}.{part}"
            if part not in layers[number]:
                raise UserError(f"{folder}: {name} is missing; {AGAIN} (only models with equal layers are supported)")
            if layers[number][part] != shape:
                raise UserError(f"{folder}: {name} is {layers[number][part]}, in another layer {shape}; {AGAIN}")


def _check_embedding(folder: Path, config: Mapping[str, Any], weights: Mapping[str, Entry]) -> None:
    needed = [EMBEDDING, "model.norm.weight"] + ([] if is_tied(config, weights) else [HEAD])
    if missing := next((name for name in needed if name not in weights), None):
        raise UserError(f"{folder}: {missing} is missing; {AGAIN}")
    shape = weights[EMBEDDING].shape
    if shape != (stated := (config.get("vocab_size"), config.get("hidden_size"))):
        raise UserError(f"{folder}: {EMBEDDING} is {shape}, config.json says {stated}; {AGAIN}")
    if (largest := _largest_id(folder)) >= shape[0]:
        raise UserError(
            f"{folder}: the tokenizer has ids up to {largest}, the embedding only {shape[0]} rows; give the tokenizer "
            "that the model was trained with"
        )


def _largest_id(folder: Path) -> int:
    """The largest id that the tokenizer gives; -1 where there is no tokenizer."""
    ids = [-1]
    if (path := folder / "tokenizer.json").is_file():
        tokenizer = _json(path, "a tokenizer")
        try:
            vocabulary = tokenizer["model"]["vocab"]
            ids += vocabulary.values() if isinstance(vocabulary, dict) else [len(vocabulary) - 1]
            ids += [token["id"] for token in tokenizer.get("added_tokens") or ()]
        except (KeyError, TypeError):
            raise UserError(f"{path}: not a tokenizer; {AGAIN}") from None
    for name in ("vocab.json", "added_tokens.json"):
        if (path := folder / name).is_file():
            ids += _json(path, "a vocabulary").values()
    return max(ids)


def _json(path: Path, what: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); expected {what}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: not {what}")
    return value
