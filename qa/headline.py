"""The headline of an evaluation: the figure that stands first, for every model, and its verdict against the first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

KEYS = ("task", "formulation", "metric")
FIGURES = ("value", "low", "high", "n", "correct")


@dataclass(frozen=True)
class HeadlineLine:
    """One model's headline figure: `value`, `low` and `high` are shares from 0 to 1, `correct` of `n` questions.

    `verdict` is the sentence that compares it with the first model; empty for the first itself.
    """

    model: str
    value: float
    low: float
    high: float
    n: int
    correct: int
    verdict: str


def headline_lines(metrics: dict[str, Any]) -> list[HeadlineLine]:
    """From evaluation's `metrics.json`, in its order; a model without that figure is left out.

    Raises `KeyError` or `TypeError` where the figures are not in evaluation's schema.
    """
    first = {key: metrics["headline"][key] for key in KEYS}
    verdicts = {line["model"]: line["verdict"] for line in _matching(metrics["comparisons"], first)}
    return [
        HeadlineLine(model, *(line[key] for key in FIGURES), verdict=verdicts.get(model, ""))
        for model in metrics["order"]
        for line in _matching(metrics["models"][model]["results"], first)
    ]


def _matching(lines: Iterable[dict[str, Any]], first: dict[str, str]) -> list[dict[str, Any]]:
    return [line for line in lines if all(line[key] == first[key] for key in KEYS)]
