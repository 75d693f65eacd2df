"""The published result: what evaluation's `metrics.json` says of base and published model on the whole test set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple, get_args

from qa.choices import FORMULATIONS, Formulation, Template, prompt_name
from qa.headline import KEYS, headline_lines
from qa.statistics import verdict_among

SERVED = ("gguf", "merged", "adapter")  # whichever was measured first stands for the model that answers here
TITLES = {
    "base": "Base, full precision",
    "adapter": "Adapter",
    "merged": "Merged",
    "gguf": "Fine-tuned, as served here",
}


@dataclass(frozen=True)
class PublishedLine:
    """Accuracy of one model with its 95 % interval, as shares from 0 to 1, over `n` questions."""

    title: str
    value: float
    low: float
    high: float
    n: int


class Way(NamedTuple):
    """How options were scored; `live` where the page can ask so too, which gives no solved examples."""

    formulation: Formulation
    template: Template
    live: bool


@dataclass(frozen=True)
class Published:
    """One task asked one way: a line for each model, the name of the prompt, and the verdict on the served model."""

    task: str
    prompt: str
    lines: tuple[PublishedLine, ...]
    verdict: str

    @property
    def live(self) -> bool:
        """Whether the page can ask this way."""
        way = way_of(self.prompt)
        return way is not None and way.live


def headline(metrics: dict[str, Any]) -> Published:
    """The figures that evaluation itself puts first. Raises `ValueError` where they are not in the known schema."""
    with _known_schema():
        return _figures(metrics, metrics["headline"])


def with_prompt(metrics: dict[str, Any], formulation: Formulation) -> Published | None:
    """The headline's task asked the other way; None for the headline's own way, and for one that was not measured.

    Raises `ValueError` where the figures are not in the known schema.
    """
    with _known_schema():
        first = metrics["headline"]
        found = [
            line
            for line in metrics["comparisons"]
            if line["task"] == first["task"] and _is_put(line["formulation"], formulation)
        ]
        return _figures(metrics, found[0]) if found and not _is_put(first["formulation"], formulation) else None


def differences(metrics: dict[str, Any]) -> list[Published]:
    """Where the served model differs from the base, for better or worse; without lines, in evaluation's order.

    Raises `ValueError` where the figures are not in the known schema.
    """
    with _known_schema():
        lines = metrics["comparisons"]
        measured = {line["model"] for line in lines}
        served = next((model for model in SERVED if model in measured), None)
        return [
            Published(line["task"], line["formulation"], (), verdict_among(line["verdict"], line["p_holm"], len(lines)))
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


def way_of(prompt: str) -> Way | None:
    """The way that a prompt's name tells; None where no options are scored, as in `chat (lm-eval)`."""
    for formulation, template in product(FORMULATIONS, get_args(Template)):
        bare = prompt_name(formulation, template)
        if prompt == bare or prompt.startswith(f"{bare.removesuffix(')')}, "):
            return Way(formulation, template, prompt == bare)
    return None


def live_formulation(metrics: dict[str, Any] | None) -> Formulation | None:
    """The headline's formulation, None where there is no headline or the page cannot ask that way."""
    try:
        way = way_of(headline(metrics or {}).prompt)
    except ValueError:
        return None
    return way.formulation if way and way.live else None


def live_template(metrics: dict[str, Any] | None, formulation: Formulation) -> Template:
    """The template of the published figures; `chat` where they have none of this formulation.

    So that a question asked live is the question of the published figures. The headline's task is looked at first.
    """
    try:
        with _known_schema():
            ways = [way_of(prompt) for prompt in _prompts(metrics or {})]
    except ValueError:
        return "chat"
    return next((way.template for way in ways if way and way.formulation == formulation), "chat")


def _prompts(metrics: dict[str, Any]) -> list[str]:
    """Names of the prompts that were measured, those of the headline's task first."""
    lines = [line for summary in metrics["models"].values() for line in summary["results"]]
    lines.sort(key=lambda line: line["task"] != metrics["headline"]["task"])
    return [line["formulation"] for line in lines]


def _is_put(prompt: str, formulation: Formulation) -> bool:
    way = way_of(prompt)
    return way is not None and way.formulation == formulation
