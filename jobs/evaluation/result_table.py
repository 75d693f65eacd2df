"""Figures as the lines of a table, for the report and the cards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ResultRow:
    """One line of a result table: what was asked and how, and each model's share with its 95 % interval."""

    task: str
    formulation: str
    metric: str
    cells: dict[str, dict[str, Any]]

    @property
    def n(self) -> str:
        """How many questions: one number where all models were asked the same."""
        return " / ".join(dict.fromkeys(str(cell["n"]) for cell in self.cells.values()))


def result_rows(metrics: dict[str, Any]) -> list[ResultRow]:
    """The results of all models side by side, the headline first."""
    rows: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
    for model, summary in metrics["models"].items():
        for result in summary["results"]:
            rows.setdefault((result["task"], result["formulation"], result["metric"]), {})[model] = result
    headline = tuple(metrics["headline"][key] for key in ("task", "formulation", "metric"))
    return [ResultRow(*key, rows[key]) for key in sorted(rows, key=lambda key: key != headline)]


def flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested figures as `key.key`, value pairs; a long list as its length."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list) and len(value) > 10:
            yield f"{prefix}{key}", f"{len(value)} values"
        elif isinstance(value, list):
            yield f"{prefix}{key}", ", ".join(map(_plain, value))
        elif value is not None and value != "":
            yield f"{prefix}{key}", _plain(value)


def _plain(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
