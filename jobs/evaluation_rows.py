"""The questions an evaluation asks: read from a dataset folder, checked, and cut to the limit by a seeded draw."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.config import Evaluation
from jobs.errors import UserError
from qa.records import Question, RecordError, parse_record

TEST_FILES = ("research_qa/test.parquet", "arc/test.parquet")


@dataclass(frozen=True)
class TestRows:
    """Multiple-choice and open questions, in a fixed order, and the tasks of the defaults that the dataset has not."""

    __test__ = False  # pytest: not a test class

    choice: tuple[Question, ...]
    open: tuple[Question, ...]
    absent: tuple[str, ...]


def read_rows(dataset: Path, evaluation: Evaluation, seed: int) -> TestRows:
    """The test questions of the tasks asked for.

    A task that was named and is not in the dataset is a `UserError`; one that only stands in the defaults is left out.
    """
    questions = [question for name in TEST_FILES for question in _read(dataset / name)]
    present = {question.task for question in questions}
    absent = tuple(task for task in evaluation.tasks if task not in present)
    if absent and ("tasks" in evaluation.model_fields_set or len(absent) == len(evaluation.tasks)):
        known = ", ".join(sorted(present)) or "nothing"
        raise UserError(f"{dataset}: no test questions of task {', '.join(absent)}; there are: {known}")
    choice: list[Question] = []
    free: list[Question] = []
    for task in evaluation.tasks:
        mine = [question for question in questions if question.task == task]
        choice += _cut((question for question in mine if question.choices), evaluation.limit, seed)
        free += _cut((question for question in mine if not question.choices), evaluation.limit, seed)
    if not choice:
        raise UserError(f"{dataset}: no multiple-choice test questions of {', '.join(evaluation.tasks)}")
    return TestRows(tuple(choice), tuple(free), absent)


def _read(path: Path) -> Iterator[Question]:
    import pyarrow
    import pyarrow.parquet

    if not path.is_file():
        return
    try:
        table = pyarrow.parquet.read_table(path)
        columns = [name for name in Question.model_fields if name in table.column_names]
        rows = table.select(columns).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: not readable as Parquet ({error}); build the dataset again") from None
    for number, row in enumerate(rows, start=1):
        where = f"{path}, row {number} ({row.get('id', 'no id')})"
        question = parse_record(row, Question, where)
        if not all(choice.strip() for choice in question.choices):
            raise RecordError(f"{where}: field 'choices': a choice is empty")
        yield question


def _cut(questions: Iterable[Question], limit: int | None, seed: int) -> list[Question]:
    """At most `limit` of them, drawn with the seed and in their old order."""
    rows = list(questions)
    if limit is None or limit >= len(rows):
        return rows
    kept = sorted(random.Random(seed).sample(range(len(rows)), limit))
    return [rows[index] for index in kept]
