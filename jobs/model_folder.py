"""A folder as transformers saves a model: configuration and weights, looked through by their headers alone.

Merging, the GGUF writer, the adapter's and the gate all read a model here, so that a folder that one of them takes is
whole for each: every tensor that its architecture has, and no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.architecture import EMBEDDING, HEAD, Architecture, Slot, read_architecture
from jobs.errors import UserError
from jobs.floats import FLOATS
from jobs.json_object import expect, number, read_object
from jobs.safetensors_stream import Entry, read_blocks, read_entries

INDEX = "model.safetensors.index.json"
AGAIN = "get or make the model again"


@dataclass(frozen=True)
class ModelFolder:
    """`tensors` are those of the architecture, by transformers' name, in the order of the files and their bytes."""

    path: Path
    config: dict[str, Any]
    architecture: Architecture
    tensors: dict[str, Entry]


def read_model_folder(folder: Path) -> ModelFolder:
    """Read and check a model of a supported architecture. A tied head that is saved too is left out.

    Raises `UserError` naming the file and the tensor that is missing, unknown, there twice, of another shape or type,
    or not where the index has it; and the key of config.json that is missing or unsupported.
    """
    config = read_object(folder / "config.json", "give a transformers model")
    architecture = read_architecture(config, f"{folder}/config.json")
    found, slots = _indexed(folder, _entries(folder)), architecture.slots()
    allowed = {HEAD: Slot("output.weight", slots[EMBEDDING].shape), **slots}
    for name, entry in found.items():
        _check(name, entry, allowed.get(name), architecture)
    if missing := [name for name in slots if name not in found]:
        raise UserError(f"{folder}: tensor {missing[0]} is missing ({len(missing)} in all); {AGAIN}")
    if architecture.tied and HEAD in found:
        _check_tied(found[EMBEDDING], found.pop(HEAD))
    return ModelFolder(folder, config, architecture, found)


def check_tokenizer(model: ModelFolder) -> None:
    """Raise `UserError` unless the embedding has a row for every id that the tokenizer (if there is one) gives."""
    largest, rows = _largest_id(model.path), model.architecture.vocabulary
    if largest >= rows:
        advice = "give the tokenizer that the model was trained with"
        raise UserError(
            f"{model.path}: the tokenizer has ids up to {largest}, the embedding only {rows} rows; {advice}"
        )


def _entries(folder: Path) -> dict[str, Entry]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(f"{folder}: no .safetensors file; give a transformers model with its weights")
    if len(files) > 1 and not (folder / INDEX).is_file():
        raise UserError(f"{folder}: {len(files)} .safetensors files and no {INDEX}; {AGAIN}")
    found: dict[str, Entry] = {}
    for path in files:
        for name, entry in read_entries(path).items():
            if name in found:
                raise UserError(f"{path}: {name} is in {found[name].path.name} too; {AGAIN}")
            found[name] = entry
    return found


def _indexed(folder: Path, found: dict[str, Entry]) -> dict[str, Entry]:
    """The same tensors, if the index (where there is one) says the same of them."""
    path = folder / INDEX
    if not path.is_file():
        return found
    places = expect(read_object(path, AGAIN).get("weight_map"), dict, f"{path}: weight_map")
    for name, file in places.items():
        if name not in found or found[name].path.name != file:
            raise UserError(f"{folder}: {name} is not in {file}, where {INDEX} has it; {AGAIN}")
    if extra := [name for name in found if name not in places]:
        raise UserError(f"{found[extra[0]].path}: {extra[0]} is unknown to {INDEX}; {AGAIN}, or remove that file")
    return found


def _check(name: str, entry: Entry, slot: Slot | None, architecture: Architecture) -> None:
    if slot is None:
        what = f"none of {architecture.name}'s of {architecture.layers} layers, as config.json has it"
        raise UserError(f"{entry.path}: tensor {name} is {what}; {AGAIN}")
    if entry.shape != slot.shape:
        raise UserError(
            f"{entry.path}: {name} is {list(entry.shape)}, config.json makes it {list(slot.shape)}; {AGAIN}"
        )
    if entry.dtype not in FLOATS:
        raise UserError(f"{entry.path}: {name} is of type {entry.dtype}; use a bf16, f16 or f32 model")


def _check_tied(embedding: Entry, head: Entry) -> None:
    blocks = zip(read_blocks(embedding), read_blocks(head), strict=False)
    if embedding.dtype != head.dtype or any((one != other).any() for one, other in blocks):
        advice = "set tie_word_embeddings to false, or remove the tensor"
        raise UserError(f"{head.path}: {HEAD} differs from the embedding that config.json ties it to; {advice}")


def _largest_id(folder: Path) -> int:
    """The largest id that the tokenizer gives; -1 where there is no tokenizer."""
    ids = [-1]
    if (path := folder / "tokenizer.json").is_file():
        tokenizer = read_object(path, AGAIN)
        vocabulary = expect(tokenizer.get("model"), dict, f"{path}: model").get("vocab")
        ids += _ids(path, expect(vocabulary, dict, f"{path}: model.vocab"))
        for token in expect(tokenizer.get("added_tokens") or [], list, f"{path}: added_tokens"):
            ids.append(number(expect(token, dict, f"{path}: a token of added_tokens").get("id"), int, f"{path}: id"))
    for name in ("vocab.json", "added_tokens.json"):
        if (path := folder / name).is_file():
            ids += _ids(path, read_object(path, AGAIN))
    return max(ids)


def _ids(path: Path, vocabulary: dict[str, Any]) -> list[int]:
    for token, value in vocabulary.items():
        if type(value) is not int:
            raise UserError(f"{path}: the id of {token!r} is {value!r}, not a whole number; {AGAIN}")
    return list(vocabulary.values())
