"""`rejected.parquet`: what a step left out, with the filter or check that took it, the reason, and its words."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from jobs.documents import Rejection

FILE = "rejected.parquet"
_BATCH = 10_000  # rows of a row group


def write_rejections(path: Path, rejections: Iterable[Rejection]) -> int:
    """Write them in order, group by group; a file without rows has its columns. Returns how many."""
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([(name, pyarrow.string()) for name in Rejection.model_fields])
    rows, written = iter(rejections), 0
    with parquet.ParquetWriter(path, schema) as file:
        while batch := [rejection.model_dump() for rejection in islice(rows, _BATCH)]:
            file.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
            written += len(batch)
    return written


def read_rejections(path: Path) -> list[Rejection]:
    """All rows of a file that `write_rejections` made."""
    from pyarrow import parquet

    return [Rejection(**row) for row in parquet.read_table(path).to_pylist()]
