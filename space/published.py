"""The published result: what evaluation's `metrics.json` says of base and published model on the whole test set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from qa.choices import FORMULATIONS, Formulation, prompt_name

TITLES = {"base": "Base", "adapter": "Adapter", "merged": "Merged", "gguf": "GGUF, as served here"}


@dataclass(frozen=True)
class PublishedLine:
    """Accuracy of one model with its 95 % interval, as shares from 0 to 1, over `n` questions."""

    title: str
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Published:
    """The headline: one line for each model, the name of the prompt, and the verdict on the served model."""

    task: str
    prompt: str
    lines: tuple[PublishedLine, ...]
    verdict: str


def headline(metrics: dict[str, Any]) -> Published:
    """The figures that evaluation itself puts first. Raises `ValueError` where they are not in the known schema."""
    try:
        first = metrics["headline"]
        lines = tuple(
            PublishedLine(TITLES.get(model, model), line["value"], line["low"], line["high"], line["n"])
            for model in metrics["order"]
            for line in _matching(metrics["models"][model]["results"], first)
        )
        verdicts = {line["model"]: line["verdict"] for line in _matching(metrics["comparisons"], first)}
        served = next((verdicts[model] for model in ("gguf", "merged", "adapter") if model in verdicts), "")
        return Published(first["task"], first["formulation"], lines, served)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the published figures are not in the known schema ({error!r})") from error


def live_formulation(metrics: dict[str, Any] | None) -> Formulation | None:
    """The headline's formulation, None where there is no headline or the page cannot ask that way."""
    try:
        prompt = headline(metrics or {}).prompt
    except ValueError:
        return None
    return next((name for name in FORMULATIONS if prompt_name(name) == prompt), None)


def _matching(lines: Iterable[dict[str, Any]], first: dict[str, str]) -> list[dict[str, Any]]:
    return [line for line in lines if all(line[key] == first[key] for key in ("task", "formulation", "metric"))]
