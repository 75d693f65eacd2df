"""A GGUF file taken apart to bytes, so that two files can be compared without trusting either one's writer."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

STRING, ARRAY = 8, 9
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
F32, F16, BF16 = 0, 1, 30
WIDTHS = {F32: 4, F16: 2, BF16: 2}


@dataclass
class Parts:
    """Metadata: key → type and bytes. Tensors: name → shape (rows first), ggml's type, bytes; in the file's order."""

    metadata: dict[str, tuple[int, bytes]]
    tensors: dict[str, tuple[tuple[int, ...], int, bytes]]


def read_parts(path: Path) -> Parts:
    """Read a whole file of plain types, aligned to 32 bytes."""
    return _Reader(path.read_bytes()).parts()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 4
        assert data[:4] == b"GGUF"

    def parts(self) -> Parts:
        assert self.number("<I") == 3
        tensors, entries = self.number("<Q"), self.number("<Q")
        metadata = {}
        for _ in range(entries):
            key, kind, begin = self.string().decode(), self.number("<I"), self.at
            self.skip(kind)
            metadata[key] = kind, self.data[begin : self.at]
        infos = [self.tensor() for _ in range(tensors)]
        base = -(-self.at // 32) * 32
        found = {}
        for name, shape, kind, offset in infos:
            size = WIDTHS[kind]
            for extent in shape:
                size *= extent
            found[name] = shape, kind, self.data[base + offset : base + offset + size]
        return Parts(metadata, found)

    def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self.string().decode()
        extents = [self.number("<Q") for _ in range(self.number("<I"))]
        return name, tuple(reversed(extents)), self.number("<I"), self.number("<Q")

    def skip(self, kind: int) -> None:
        if kind == STRING:
            self.string()
        elif kind == ARRAY:
            item, length = self.number("<I"), self.number("<Q")
            if item != STRING:
                self.at += SIZES[item] * length
            for _ in range(length if item == STRING else 0):
                self.string()
        else:
            self.at += SIZES[kind]

    def string(self) -> bytes:
        length = self.number("<Q")
        self.at += length
        return self.data[self.at - length : self.at]

    def number(self, form: str) -> int:
        value = struct.unpack_from(form, self.data, self.at)[0]
        self.at += struct.calcsize(form)
        return value
