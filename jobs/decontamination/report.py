"""The report on decontamination that goes into the data set and its card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from jobs.data_config import Decontamination
from jobs.decontamination.items import METHODS, TRIVIAL, Copy, Row
from jobs.shingles import words_of
from qa.records import Question


def contamination_report(
    rows: Sequence[Row],
    tests: Mapping[str, Sequence[Question]],
    copies: Sequence[Copy],
    planted: Sequence[Mapping[str, Any]],
    settings: Decontamination,
) -> dict[str, Any]:
    """Settings, counts by test set, the first copy of each dropped row, and the recall of planted copies.

    A row found by two methods, or in two test sets, counts in both; `by_method` counts rows of training. Short items
    are questions of fewer words than `ngram`; trivial ones, of fewer than 5, are looked for as whole questions alone.
    """
    first: dict[tuple[str, str], Copy] = {}
    for copy in copies:
        first.setdefault((copy.config, copy.row), copy)
    return {
        **settings.model_dump(include={"ngram", "coverage", "similarity"}),
        "train_rows": sum(row.split == "train" for row in rows),
        "tests": [_test(name, items, copies, settings.ngram) for name, items in tests.items()],
        "dropped": [asdict(copy) for copy in first.values()],
        "planted": [dict(row) for row in planted],
    }


def _test(name: str, items: Sequence[Question], copies: Sequence[Copy], ngram: int) -> dict[str, Any]:
    found = [copy for copy in copies if copy.test == name]
    lengths = [len(words_of(item.question)) for item in items]
    train = [copy for copy in found if copy.split == "train"]
    return {
        "name": name,
        "items": len(items),
        "short_items": sum(length < ngram for length in lengths),
        "trivial_items": sum(length < TRIVIAL for length in lengths),
        "rows_dropped": _rows(train),
        "validation_rows_dropped": _rows(copy for copy in found if copy.split == "validation"),
        "by_method": {method: _rows(copy for copy in train if copy.method == method) for method in METHODS},
    }


def _rows(copies: Iterable[Copy]) -> int:
    return len({(copy.config, copy.row) for copy in copies})
