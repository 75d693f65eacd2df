"""Safetensors read and written in blocks: the header is known before the first tensor is read.

Format: 8 bytes of header length (little-endian), a JSON header of names, types, shapes and offsets, then the bytes.
Nothing here maps a file: mapped pages would count as this process's memory, 6 GB of them for a 3B model.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import UserError
from jobs.placing import flush

if TYPE_CHECKING:
    import numpy as np

    Block = memoryview | np.ndarray

WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
INFINITY = {"F64": 0x7FF0 << 48, "F32": 0x7F80 << 16, "F16": 0x7C00, "BF16": 0x7F80}  # its bits; above them lies NaN
ALIGNMENT = 8  # the header is padded with spaces, so that tensors start aligned, as the format's own writer does
BLOCK = 4 << 20  # bytes: read, looked through and written while they are in the cache
METADATA = "__metadata__"


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies: its file, type, shape, first byte and size in bytes."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


def read_header(path: Path) -> dict[str, Any]:
    """Names → {dtype, shape, data_offsets} of a safetensors file, without its tensors.

    Raises `UserError` for a file that is cut short, is none, or holds a type that is not supported.
    """
    return _read_header(path)[0]


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The header, and the byte after it."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, size)))
        tensors = {name: entry for name, entry in header.items() if name != METADATA}
        whole = 8 + length + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
        fault = _fault(tensors)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); get or make it again") from None
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        raise UserError(f"{path}: not a safetensors file, or a damaged one; get or make it again") from None
    if whole != size:
        reason = "so it is cut short" if size < whole else "so it is damaged"
        raise UserError(f"{path}: {size:,} bytes instead of {whole:,}, {reason}; get or make it again")
    if fault:
        raise UserError(f"{path}: {fault}")
    return header, 8 + length


def _fault(tensors: Mapping[str, Any]) -> str | None:
    """What is wrong with a header: an unknown type, a size that is not the shape's, bytes of none or two tensors."""
    expected = 0
    for name, entry in sorted(tensors.items(), key=lambda item: tuple(item[1]["data_offsets"])):
        if entry["dtype"] not in WIDTHS:
            return f"tensors of type {entry['dtype']} are not supported; use a bf16, f16 or f32 model"
        begin, end = entry["data_offsets"]
        if begin != expected or end - begin != math.prod(entry["shape"]) * WIDTHS[entry["dtype"]]:
            return f"{name} is not where its header says, so the file is damaged; get or make it again"
        expected = end
    return None


def read_entries(path: Path) -> dict[str, Entry]:
    """Every tensor of a file, in the order of their bytes."""
    header, data = _read_header(path)
    header.pop(METADATA, None)
    found = sorted(header.items(), key=lambda item: tuple(item[1]["data_offsets"]))
    return {
        name: Entry(path, entry["dtype"], tuple(entry["shape"]), data + entry["data_offsets"][0], _bytes(entry))
        for name, entry in found
    }


def _bytes(entry: Mapping[str, Any]) -> int:
    begin, end = entry["data_offsets"]
    return end - begin


def read_blocks(entry: Entry) -> Iterator[np.ndarray]:
    """The bytes of a tensor in blocks: uint8 arrays over one buffer, each valid until the next is asked for."""
    import numpy as np

    buffer = np.empty(min(BLOCK, entry.size), np.uint8)
    with entry.path.open("rb", buffering=0) as file:
        for start in range(0, entry.size, BLOCK):
            block = buffer[: entry.size - start]
            read_into(file.fileno(), block, entry.start + start)
            yield block


def read_into(descriptor: int, block: np.ndarray, start: int) -> None:
    """Fill a contiguous array of uint8 from byte `start` of an open file."""
    view = memoryview(block)
    while view:
        count = os.preadv(descriptor, [view], start)
        if not count:
            raise OSError("the file became shorter while it was read")
        view, start = view[count:], start + count


def is_finite(block: np.ndarray, dtype: str) -> bool:
    """Whether no value of a block (uint8) is NaN or infinity; integers never are.

    By the bits, at 14 GB/s on one core where `torch.isfinite` of bf16 has 0.3: as an unsigned integer, a negative NaN
    or infinity lies above everything finite, and as a signed one, a positive.
    """
    if dtype not in INFINITY or not len(block):
        return True
    width, bits = WIDTHS[dtype], INFINITY[dtype]
    negative = bits | 1 << (8 * width - 1)
    return bool(block.view(f"u{width}").max() < negative and block.view(f"i{width}").max() < bits)


def write_file(path: Path, entries: Mapping[str, Entry], blocks: Callable[[str], Iterable[Block]]) -> None:
    """Write a file with the names, types and shapes of `entries`, the bytes of each from `blocks(name)`.

    The widest types come first, so that every tensor lies aligned. The file is flushed to disk.
    """
    order = sorted(entries, key=lambda name: -WIDTHS[entries[name].dtype])
    header, offset = {METADATA: {"format": "pt"}}, 0
    for name in order:
        entry = entries[name]
        header[name] = {"dtype": entry.dtype, "shape": entry.shape, "data_offsets": [offset, offset + entry.size]}
        offset += entry.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    with path.open("wb", buffering=0) as file:
        _write(file.fileno(), memoryview(len(text).to_bytes(8, "little") + text))
        for name in order:
            written = sum(_write(file.fileno(), memoryview(block)) for block in blocks(name))
            if written != entries[name].size:
                raise ValueError(f"{path}: {written} bytes of {name} instead of {entries[name].size}")
        flush(file.fileno())


def _write(descriptor: int, view: memoryview) -> int:
    left = view
    while left:
        left = left[os.write(descriptor, left) :]
    return len(view)
