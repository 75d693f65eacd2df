"""Safetensors written one tensor at a time: the header is known before the first tensor is read.

Format: 8 bytes of header length (little-endian), a JSON header of names, types, shapes and offsets, then the bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import UserError

if TYPE_CHECKING:
    import torch

WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
ALIGNMENT = 8  # the header is padded with spaces, so that tensors start aligned, as the format's own writer does


def read_header(path: Path) -> dict[str, Any]:
    """Names → {dtype, shape, data_offsets} of a safetensors file, without its tensors.

    Raises `UserError` for a file that is cut short, is none, or holds a type that cannot be merged.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, size)))
        entries = [entry for name, entry in header.items() if name != "__metadata__"]
        whole = 8 + length + max((entry["data_offsets"][1] for entry in entries), default=0)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{path}: not a safetensors file, or a damaged one; get or make it again") from None
    if whole != size:
        raise UserError(f"{path}: {size:,} bytes instead of {whole:,}, so it is cut short; get or make it again")
    if unknown := sorted({entry["dtype"] for entry in entries} - WIDTHS.keys()):
        raise UserError(f"{path}: tensors of type {unknown[0]} are not supported; use a bf16, f16 or f32 model")
    return header


def write_stream(path: Path, like: dict[str, Any], tensors: Iterator[tuple[str, torch.Tensor]]) -> None:
    """Write tensors, in the order of `like` (a header), with its types and shapes. The file is flushed to disk."""
    import torch

    header, offset = {}, 0
    for name, entry in like.items():
        if name == "__metadata__":
            header[name] = entry
            continue
        size = WIDTHS[entry["dtype"]]
        for extent in entry["shape"]:
            size *= extent
        header[name] = {**entry, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, tensor in tensors:
            if list(tensor.shape) != header[name]["shape"]:
                raise ValueError(f"{path}: {name} has shape {list(tensor.shape)}, not {header[name]['shape']}")
            file.write(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
        file.flush()
        os.fsync(file.fileno())
