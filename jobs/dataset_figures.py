"""The figures of a data set: rows by split, task, kind and licence, what was left out and why, lengths in tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jobs.documents import Rejection
from jobs.own_questions import Sides
from jobs.rows import Rows
from qa.records import SPLITS, Question, Split

PERCENTILES = (5, 50, 95, 100)
DAMAGED = "schema"  # the stage of rows that cannot be read


def row_figures(configs: Mapping[str, Rows], dropped: Sequence[Rejection], sides: Sides) -> dict[str, Any]:
    """Counts of what the data set holds and of what was left out of it."""
    own = {split: {row.question.document for row in configs["research_qa"][split]} for split in SPLITS}
    return {
        "rows": {name: {split: len(rows[split]) for split in SPLITS} for name, rows in configs.items()},
        **{f"rows_by_{field}": _by_split(configs, field) for field in ("task", "kind", "licence")},
        "dropped": len(dropped),
        "dropped_by_stage": dict(Counter(entry.stage for entry in dropped).most_common()),
        "damaged_rows": [entry.name for entry in dropped if entry.stage == DAMAGED],
        "documents_per_split": {split: len(documents) for split, documents in own.items()},
        "groups_per_split": {split: len({sides.groups[name] for name in names}) for split, names in own.items()},
    }


def _by_split(configs: Mapping[str, Rows], field: str) -> dict[Split, dict[str, int]]:
    return {
        split: _count((row.question for rows in configs.values() for row in rows[split]), field) for split in SPLITS
    }


def _count(questions: Iterable[Question], field: str) -> dict[str, int]:
    return dict(Counter(getattr(question, field) or "not stated" for question in questions).most_common())


def percentiles(values: list[int]) -> dict[str, int]:
    """Nearest-rank percentiles of token lengths, and their mean; empty for no values."""
    if not values:
        return {}
    ranked = sorted(values)
    found = {f"p{share}": ranked[max(0, -(-share * len(ranked) // 100) - 1)] for share in PERCENTILES}
    return found | {"mean": round(sum(ranked) / len(ranked))}


def copy_figures(report: Mapping[str, Any], copies: Sequence[Rejection]) -> dict[str, Any]:
    """Of the report on copies: rows compared and dropped, by test set"""
    return {
        "train_rows": report["train_rows"],
        "dropped": len(copies),
        "tests": {test["name"]: {key: test[key] for key in ("items", "rows_dropped")} for test in report["tests"]},
    }
