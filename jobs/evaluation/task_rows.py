"""The rows of a task as its sources give them: those that can be asked as questions, the others with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.documents import Rejection
from jobs.errors import UserError, first_line
from qa.records import Question, RecordError

Located = tuple[str, Any]  # where a row stands, without this machine's folders, and the row


@dataclass(frozen=True)
class Benchmark:
    """A public benchmark on the Hub; `revision` is a commit."""

    dataset: str
    config: str
    split: str
    revision: str


@dataclass
class TaskRows:
    """All that a source holds of one task: its `place`, for errors, and `origin`, without this machine's folders.

    `benchmark` is the public one whose whole test split these rows are; None where a row of it is left out.
    `first_shots`: its solved examples are the first of `train`, by its own convention, and not drawn. `is_file`: a file
    of the user's, whose name says nothing of its subject.
    """

    place: str
    origin: str
    test: list[Question] = field(default_factory=list)
    train: list[Question] = field(default_factory=list)
    left_out: list[Rejection] = field(default_factory=list)
    benchmark: Benchmark | None = None
    inputs: dict[str, Path] = field(default_factory=dict)
    first_shots: bool = False
    is_file: bool = False


def sift(rows: Iterable[Located], read: Callable[[Any, int], Question]) -> tuple[list[Question], list[Rejection]]:
    """Questions, read from a row and its number from 0, and the rows that cannot be asked."""
    kept: dict[str, Question] = {}
    bad: list[Rejection] = []
    for number, (where, row) in enumerate(rows):
        try:
            question = read(row, number)
            if not all(choice.strip() for choice in question.choices):
                raise RecordError("an option is empty")
            if question.id in kept:
                raise RecordError(f"the id {question.id!r} stands above already")
        except RecordError as error:
            bad.append(Rejection(name=where, reason=str(error)))
        else:
            kept[question.id] = question
    return list(kept.values()), bad


def located(rows: Iterable[Any], place: str) -> Iterator[Located]:
    """Rows with the place and number, from 1, of each."""
    return ((f"{place}, row {number}", row) for number, row in enumerate(rows, start=1))


def parse_line(line: bytes) -> Any:
    """A line of JSON Lines. Raises `RecordError`."""
    try:
        return json.loads(line)
    except ValueError as error:
        raise RecordError(f"not JSON ({first_line(error)})") from None


def read_lines(path: Path) -> list[bytes]:
    """The lines of a file, empty ones too. Raises `UserError` naming it."""
    try:
        return path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None


def read_parquet(path: Path, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """The rows of a Parquet file that has at least these columns. Raises `UserError` naming it."""
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: not readable as Parquet ({first_line(error)}); make it anew") from None
    check_columns(str(path), table.column_names, columns)
    return table.to_pylist()


def check_columns(place: str, held: list[str], wanted: tuple[str, ...]) -> None:
    """Raise `UserError` where one of the columns is missing."""
    if missing := [name for name in wanted if name not in held]:
        raise UserError(f"{place}: no column {', '.join(missing)}; its columns are {', '.join(held)}")
