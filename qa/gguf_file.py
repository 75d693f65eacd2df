"""The header of a GGUF file, read with bounds: is it one, is it whole, what does it say of itself.

llama.cpp trusts a file more than a download deserves, so this is asked first. Only the header is read (a few MB,
most of it the vocabulary); the format is ggml's docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAGIC = b"GGUF"
MAX_ENTRIES = 1 << 20
STRING, ARRAY = 8, 9
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
# ggml type → (weights in a block, bytes of a block), from ggml.c's type traits
BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18), 42: (64, 18),
}  # fmt: skip


class GgufError(ValueError):
    """A file that is not a whole GGUF: one line that names it and says what is wrong."""


@dataclass(frozen=True)
class GgufTensor:
    """One entry of the file's table: extents with the row's length first, and ggml's number of the type."""

    name: str
    shape: tuple[int, ...]
    kind: int
    bytes: int
    offset: int  # from the start of the data


@dataclass(frozen=True)
class GgufHeader:
    """What the file says of itself. `metadata` holds single values, and the lengths of arrays, or lists if asked."""

    version: int
    metadata: dict[str, Any]
    tensors: tuple[GgufTensor, ...]
    data: int  # where the tensors' bytes begin
    bytes_needed: int


def check_gguf(path: Path, *, arrays: bool = False) -> GgufHeader:
    """Read the header, with its `arrays` if asked, and compare the file's size with what it announces.

    Raises `GgufError`.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if (magic := file.read(4)) != MAGIC:
                raise GgufError(f"{path}: not a GGUF file (begins with {magic!r}, not {MAGIC!r})")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                header = _Reader(path, view, arrays).header()
    except OSError as error:
        raise GgufError(f"{path}: cannot be read ({error.strerror})") from error
    if size < header.bytes_needed:
        raise GgufError(f"{path}: cut short: {size:,} of {header.bytes_needed:,} bytes; download or export it again")
    return header


class _Reader:
    """A cursor over the mapped file; every read checks that the file goes on."""

    def __init__(self, path: Path, view: mmap.mmap, arrays: bool) -> None:
        self.path, self.view, self.arrays, self.at = path, view, arrays, len(MAGIC)

    def header(self) -> GgufHeader:
        version = self.scalar("<I")
        if version not in (2, 3):
            raise GgufError(f"{self.path}: GGUF version {version} is not known (2 and 3 are)")
        tensors, entries = self.count("<Q"), self.count("<Q")
        metadata = {self.string(): self.value(self.scalar("<I")) for _ in range(entries)}
        table = tuple(self.tensor() for _ in range(tensors))
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1:
            raise GgufError(f"{self.path}: damaged header (alignment {alignment!r})")
        data = -(-self.at // alignment) * alignment
        needed = data + max((part.offset + part.bytes for part in table), default=0)
        return GgufHeader(version, metadata, table, data, needed)

    def tensor(self) -> GgufTensor:
        name, dimensions = self.string(), self.scalar("<I")
        if dimensions > 4:
            raise GgufError(f"{self.path}: damaged header (a tensor of {dimensions} dimensions)")
        shape = tuple(self.scalar("<Q") for _ in range(dimensions))
        if (kind := self.scalar("<I")) not in BLOCKS:
            raise GgufError(f"{self.path}: tensor {name} has the type {kind}, which is not known; export it again")
        per_block, block_bytes = BLOCKS[kind]
        return GgufTensor(name, shape, kind, -(-math.prod(shape) // per_block) * block_bytes, self.scalar("<Q"))

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            return self.scalar(self.format(kind))
        item, length = self.scalar("<I"), self.count("<Q", len(self.view))
        if self.arrays:
            return [self.string() if item == STRING else self.scalar(self.format(item)) for _ in range(length)]
        if item == STRING:
            for _ in range(length):
                self.skip(self.scalar("<Q"))
        else:
            self.skip(length * struct.calcsize(self.format(item)))
        return length

    def format(self, kind: int) -> str:
        if kind not in SCALARS:
            raise GgufError(f"{self.path}: damaged header (value of unknown type {kind})")
        return SCALARS[kind]

    def count(self, form: str, most: int = MAX_ENTRIES) -> int:
        number = self.scalar(form)
        if number > most:
            raise GgufError(f"{self.path}: damaged header ({number:,} entries announced)")
        return number

    def string(self) -> str:
        length = self.scalar("<Q")
        start = self.at
        self.skip(length)
        return self.view[start : self.at].decode("utf-8", errors="replace")

    def scalar(self, form: str) -> int:
        start = self.at
        self.skip(struct.calcsize(form))
        return struct.unpack_from(form, self.view, start)[0]

    def skip(self, count: int) -> None:
        if count > len(self.view) - self.at:
            raise GgufError(f"{self.path}: cut short inside its header ({len(self.view):,} bytes); get it again")
        self.at += count
