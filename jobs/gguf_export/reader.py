"""What stands in a GGUF file, read without llama.cpp: its header by `qa.gguf_file`, values by gguf's own arithmetic.

`gguf.GGUFReader` makes an array of each of Qwen2.5's 303,000 tokens and merges, which takes 10 seconds.
"""

from __future__ import annotations

import math
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.gguf_export.properties import refused
from qa.gguf_file import BLOCKS, GgufError, check_gguf

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


def open_whole(path: Path) -> GgufFile:
    """Open a file that is to be judged. Raises `UserError` where it is not whole."""
    try:
        return GgufFile(path)
    except GgufError as error:
        raise refused(path, "whole", str(error).removeprefix(f"{path}: ").partition(";")[0]) from None


class GgufFile:
    """Metadata and tensors of a whole file. Raises `qa.gguf_file.GgufError` for one that is not."""

    def __init__(self, path: Path) -> None:
        header = check_gguf(path, arrays=True)
        self.path, self.metadata = path, header.metadata
        self.tensors = {
            part.name: Tensor(part.name, part.shape[::-1], part.kind, header.data + part.offset)
            for part in header.tensors
        }
        with path.open("rb") as file:
            self._view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def floats(self, tensor: Tensor, first: int, count: int) -> np.ndarray:
        """Rows of a tensor as float32 [count, width], whatever it is stored as."""
        import gguf
        import numpy as np

        start, size = tensor.start + first * tensor.row_bytes, count * tensor.row_bytes
        raw = np.frombuffer(self._view, np.uint8, size, start).reshape(count, tensor.row_bytes)
        return gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(tensor.kind)).astype(np.float32, copy=False)
