"""What stands in a GGUF file, read without llama.cpp and without the package that wrote it.

`gguf.GGUFReader` makes an array of each of Qwen2.5's 303,000 tokens and merges, which takes 10 seconds; this takes 0.3.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa.gguf_file import ARRAY, BLOCKS, MAGIC, SCALARS, STRING, check_gguf

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Tensor:
    """Where a tensor stands: `shape` as numpy has it (rows first), `kind` ggml's number, `start` in bytes."""

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        block, size = BLOCKS[self.kind]
        return self.shape[-1] // block * size

    @property
    def rows(self) -> int:
        """Rows of all dimensions but the last; 1 of a vector."""
        return math.prod(self.shape[:-1])


class GgufFile:
    """Metadata and tensors of a whole file. Raises `qa.gguf_file.GgufError` for one that is not."""

    def __init__(self, path: Path) -> None:
        alignment = int(check_gguf(path).metadata.get("general.alignment", 32))
        self.path = path
        with path.open("rb") as file:
            self._view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._at = len(MAGIC) + 4
        tensors, entries = self._take("<Q"), self._take("<Q")
        self.metadata: dict[str, Any] = {self._text(): self._value(self._take("<I")) for _ in range(entries)}
        found = [self._tensor() for _ in range(tensors)]
        data = -(-self._at // alignment) * alignment
        self.tensors = {name: Tensor(name, shape, kind, data + offset) for name, shape, kind, offset in found}

    def floats(self, tensor: Tensor, first: int, count: int) -> np.ndarray:
        """Rows of a tensor as float32 [count, width], whatever it is stored as."""
        import gguf
        import numpy as np

        start, size = tensor.start + first * tensor.row_bytes, count * tensor.row_bytes
        raw = np.frombuffer(self._view, np.uint8, size, start).reshape(count, tensor.row_bytes)
        return gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(tensor.kind)).astype(np.float32, copy=False)

    def _take(self, form: str) -> Any:
        value = struct.unpack_from(form, self._view, self._at)[0]
        self._at += struct.calcsize(form)
        return value

    def _text(self) -> str:
        length = self._take("<Q")
        self._at += length
        return self._view[self._at - length : self._at].decode("utf-8", errors="replace")

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self._text()
        if kind != ARRAY:
            return self._take(SCALARS[kind])
        item, length = self._take("<I"), self._take("<Q")
        return [self._value(item) for _ in range(length)]

    def _tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        name, dimensions = self._text(), self._take("<I")
        extents = [self._take("<Q") for _ in range(dimensions)]
        return name, tuple(reversed(extents)), self._take("<I"), self._take("<Q")
