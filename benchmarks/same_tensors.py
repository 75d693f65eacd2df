"""Whether two model files hold the same tensors, compared as bytes and read in blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.safetensors_stream import read_entries
from qa.gguf_file import check_gguf

BLOCK = 4 << 20  # bytes


@dataclass(frozen=True)
class Extent:
    """Where a tensor lies, and what it is: its type and shape."""

    path: Path
    start: int
    size: int
    form: tuple[Any, ...]


@dataclass(frozen=True)
class Sameness:
    """How many tensors of both sides are equal, and the first that is not."""

    equal: int
    total: int
    first: str = ""


def compare_tensors(left: Path, right: Path) -> Sameness:
    """Compare two folders of safetensors, or two GGUF files; a tensor that one side lacks differs."""
    ours, theirs = extents(left), extents(right)
    names = sorted(ours.keys() | theirs.keys())
    differing = [name for name in names if not _same(ours.get(name), theirs.get(name))]
    return Sameness(len(names) - len(differing), len(names), next(iter(differing), ""))


def extents(path: Path) -> Mapping[str, Extent]:
    """Name → place of every tensor."""
    if path.is_dir():
        entries = [item for shard in sorted(path.glob("*.safetensors")) for item in read_entries(shard).items()]
        return {name: Extent(each.path, each.start, each.size, (each.dtype, each.shape)) for name, each in entries}
    header = check_gguf(path)
    return {
        each.name: Extent(path, header.data + each.offset, each.bytes, (each.kind, each.shape))
        for each in header.tensors
    }


def _same(left: Extent | None, right: Extent | None) -> bool:
    if left is None or right is None or left.form != right.form:
        return False
    with left.path.open("rb") as ours, right.path.open("rb") as theirs:
        ours.seek(left.start)
        theirs.seek(right.start)
        rest = left.size
        while rest:
            block = min(rest, BLOCK)
            if ours.read(block) != theirs.read(block):
                return False
            rest -= block
    return True
