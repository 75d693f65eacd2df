"""Takes out of a data set what would make its test sets lie: training rows that are copies of held-out ones.

Validation rows go that are copies of a test item, and training rows that are copies of a test or validation item or
show its evidence; the held-out items themselves stay. `check_apart` looks once more at what is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.data_config import Decontamination
from jobs.decontamination import Copy, Row, contamination_report, find_copies, planted_recall
from jobs.documents import Rejection
from jobs.errors import UserError
from jobs.held_out_sets import Tests, own_sets
from jobs.own_questions import Sides
from jobs.rows import Rows, TrainingRow
from qa.records import SPLITS, Passage, Split

STAGE = "decontamination"


def drop_copies(
    configs: Mapping[str, Rows], scored: Tests, settings: Decontamination, seed: int
) -> tuple[list[Rejection], dict[str, Any]]:
    """Take copies out of validation and training; what was taken, and the report on it.

    `scored` are test sets beside the data set's own. The report has the recall of planted copies.
    """
    tests = own_sets(configs, "test") | scored
    taken, copies = _drop(configs, "validation", tests, settings)
    tests = tests | own_sets(configs, "validation")
    asked = _rows(configs, "train")
    more, others = _drop(configs, "train", tests, settings)
    planted = planted_recall(tests, settings, seed)
    return [*taken, *more], contamination_report(asked, tests, [*copies, *others], planted, settings)


def _rows(configs: Mapping[str, Rows], split: Split) -> list[Row]:
    return [
        Row(id=row.question.id, config=name, text=_text(row), question=row.question, split=split)
        for name, rows in configs.items()
        for row in rows[split]
    ]


def _text(row: TrainingRow) -> str:
    """What a row teaches: question, options and answer; of one with sources all that stands before the answer."""
    question = row.question
    asked = [row.prompt[-1]["content"]] if question.sources else [question.question, *question.choices]
    return "\n".join([*asked, question.answer_text])


def _drop(
    configs: Mapping[str, Rows], split: Split, tests: Tests, settings: Decontamination
) -> tuple[list[Rejection], list[Copy]]:
    copies = find_copies(_rows(configs, split), tests, settings)
    first: dict[tuple[str, str], Copy] = {}
    for copy in copies:
        first.setdefault((copy.config, copy.row), copy)
    for name, rows in configs.items():
        rows[split] = [row for row in rows[split] if (name, row.question.id) not in first]
    return [_rejection(copy) for copy in first.values()], copies


def _rejection(copy: Copy) -> Rejection:
    reason = f"{copy.method} copy of {copy.item} in {copy.test}, score {copy.score:.2f}"
    return Rejection(name=copy.row, reason=reason, stage=STAGE, text=copy.row_text)


def check_apart(configs: Mapping[str, Rows], sides: Sides, passages: Mapping[str, Passage]) -> None:
    """Raise `UserError` where a group is on two sides, or a training row shows a passage of a held-out document."""
    own = {name: rows for name, rows in configs.items() if name != "arc"}
    seen: dict[str, Split] = {}
    for split in SPLITS:
        for row in (row for rows in own.values() for row in rows[split]):
            group = sides.groups[row.question.document]
            if seen.setdefault(group, split) != split:
                raise UserError(f"row {row.question.id}: its group {group!r} is on {seen[group]} and on {split}")
    for row in (row for rows in own.values() for row in rows["train"]):
        for name in row.question.sources:
            if (side := sides.documents[passages[name].document]) != "train":
                raise UserError(f"row {row.question.id}: a training row shows {name}, of a {side} document")
