"""The published result: what evaluation's `metrics.json` says of base and published model on the whole test set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from qa.choices import FORMULATIONS, Formulation, prompt_name
from qa.headline import KEYS, headline_lines

SERVED = ("gguf", "merged", "adapter")  # whichever was measured first stands for the model that answers here
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
    """One task asked one way: a line for each model, the name of the prompt, and the verdict on the served model."""

    task: str
    prompt: str
    lines: tuple[PublishedLine, ...]
    verdict: str


def headline(metrics: dict[str, Any]) -> Published:
    """The figures that evaluation itself puts first. Raises `ValueError` where they are not in the known schema."""
    with _known_schema():
        return _figures(metrics, metrics["headline"])


def with_prompt(metrics: dict[str, Any], formulation: Formulation) -> Published | None:
    """The headline's task asked the other way; None for the headline's own way, and for one that was not measured.

    Raises `ValueError` where the figures are not in the known schema.
    """
    wanted = prompt_name(formulation)
    with _known_schema():
        first = metrics["headline"]
        found = [
            line for line in metrics["comparisons"] if (line["task"], line["formulation"]) == (first["task"], wanted)
        ]
        return _figures(metrics, found[0]) if found and wanted != first["formulation"] else None


def differences(metrics: dict[str, Any]) -> list[Published]:
    """Where the served model differs from the base, for better or worse; without lines, in evaluation's order.

    Raises `ValueError` where the figures are not in the known schema.
    """
    with _known_schema():
        lines = metrics["comparisons"]
        measured = {line["model"] for line in lines}
        served = next((model for model in SERVED if model in measured), None)
        return [
            Published(line["task"], line["formulation"], (), line["verdict"])
            for line in lines
            if line["model"] == served and line["verdict"].startswith(("better", "worse"))
        ]


def _figures(metrics: dict[str, Any], which: dict[str, Any]) -> Published:
    found = headline_lines({**metrics, "headline": {key: which[key] for key in KEYS}})
    lines = (
        PublishedLine(TITLES.get(line.model, line.model), line.value, line.low, line.high, line.n) for line in found
    )
    verdicts = {line.model: line.verdict for line in found}
    served = next((verdicts[model] for model in SERVED if verdicts.get(model)), "")
    return Published(which["task"], which["formulation"], tuple(lines), served)


@contextmanager
def _known_schema() -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the published figures are not in the known schema ({error!r})") from error


def live_formulation(metrics: dict[str, Any] | None) -> Formulation | None:
    """The headline's formulation, None where there is no headline or the page cannot ask that way."""
    try:
        prompt = headline(metrics or {}).prompt
    except ValueError:
        return None
    return next((name for name in FORMULATIONS if prompt_name(name) == prompt), None)
