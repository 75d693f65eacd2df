"""The report on decontamination that goes into the data set and its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from jobs.data_config import Decontamination
from jobs.decontamination.items import METHODS, Copy, Row
from jobs.shingles import words_of
from qa.records import Question

_LISTED = 200  # copies, one a row


def contamination_report(
    rows: Sequence[Row],
    tests: Mapping[str, Sequence[Question]],
    copies: Sequence[Copy],
    planted: Sequence[Mapping[str, Any]],
    settings: Decontamination,
) -> dict[str, Any]:
    """Settings, counts by test set, the first copy of each dropped row, and the recall of planted copies.

    A row found by two methods, or in two test sets, counts in both. Short items are questions of fewer words than
    `ngram`.
    """
    first: dict[tuple[str, str], Copy] = {}
    for copy in copies:
        first.setdefault((copy.config, copy.row), copy)
    return {
        **settings.model_dump(include={"ngram", "coverage", "similarity"}),
        "train_rows": len(rows),
        "tests": [_test(name, items, copies, settings.ngram) for name, items in tests.items()],
        "dropped": [asdict(copy) for copy in list(first.values())[:_LISTED]],
        "planted": [dict(row) for row in planted],
    }


def _test(name: str, items: Sequence[Question], copies: Sequence[Copy], ngram: int) -> dict[str, Any]:
    rows = {method: {(c.config, c.row) for c in copies if (c.test, c.method) == (name, method)} for method in METHODS}
    return {
        "name": name,
        "items": len(items),
        "short_items": sum(len(words_of(item.question)) < ngram for item in items),
        "rows_dropped": len(set().union(*rows.values())),
        "by_method": {method: len(found) for method, found in rows.items()},
    }
