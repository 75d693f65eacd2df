"""The tensors of a transformers folder, each checked against the place that its architecture has for it."""

from __future__ import annotations

import json
from pathlib import Path

from jobs.errors import UserError
from jobs.gguf_export.architecture import EMBEDDING, HEAD, Architecture, Slot
from jobs.gguf_export.floats import FLOATS
from jobs.safetensors_stream import Entry, read_blocks, read_entries

INDEX = "model.safetensors.index.json"


def find_tensors(model: Path, architecture: Architecture) -> dict[str, Entry]:
    """Where each tensor of the model lies, by transformers' name, in the files' order; a tied head is left out.

    Raises `UserError` naming the file and the tensor that is missing, extra, of another shape or type, or there twice.
    """
    slots = architecture.slots()
    allowed = {HEAD: Slot("output.weight", slots[EMBEDDING].shape), **slots} if architecture.tied else slots
    found: dict[str, Entry] = {}
    for file in _files(model):
        for name, entry in read_entries(file).items():
            _check(name, entry, allowed.get(name), architecture.name)
            if name in found:
                raise UserError(f"{model}: {name} is in {found[name].path.name} and in {file.name}; remove one")
            found[name] = entry
    if missing := sorted(slots.keys() - found.keys()):
        raise UserError(f"{model}: tensor {missing[0]} is missing ({len(missing)} in all); get or make the model again")
    if architecture.tied and HEAD in found:
        _check_tied(found[EMBEDDING], found.pop(HEAD))
    return found


def _check(name: str, entry: Entry, slot: Slot | None, architecture: str) -> None:
    if slot is None:
        raise UserError(f"{entry.path}: tensor {name} is none of {architecture}'s, so it cannot be exported")
    if entry.shape != slot.shape:
        raise UserError(f"{entry.path}: {name} is {list(entry.shape)}, config.json makes it {list(slot.shape)}")
    if entry.dtype not in FLOATS:
        raise UserError(f"{entry.path}: {name} is of type {entry.dtype}; export a bf16, f16 or f32 model")


def _check_tied(embedding: Entry, head: Entry) -> None:
    blocks = zip(read_blocks(embedding), read_blocks(head), strict=False)
    if embedding.dtype != head.dtype or any((one != other).any() for one, other in blocks):
        advice = "set tie_word_embeddings to false, or remove the tensor"
        raise UserError(f"{head.path}: {HEAD} differs from the embedding that config.json ties it to; {advice}")


def _files(model: Path) -> list[Path]:
    """The safetensors files of a model: those of its index, where it has one."""
    index = model / INDEX
    if not index.is_file():
        return sorted(model.glob("*.safetensors"))
    try:
        names = sorted({str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{index}: not an index of tensors ({error!r}); get or make the model again") from None
    for name in names:
        if Path(name).name != name or not (model / name).is_file():
            raise UserError(f"{index}: names {name}, which is not in the folder; get or make the model again")
    return [model / name for name in names]
