"""What the page says of the model it serves, as Markdown: from the same figures as the cards, only shorter."""

from __future__ import annotations

from typing import Any

from jobs.card_facts import Run
from jobs.card_gguf import gguf_files, served_file
from jobs.card_render import render_text
from qa.headline import KEYS, headline_lines
from qa.statistics import CONFIDENCE, verdict_among

SERVED = "gguf"
MOST, MOST_WARNINGS = 20, 5  # lines of a list: the cards have them all
SHOWN = ("passages", "questions", "dataset", "base", "adapter", "merged", "gguf", "evaluation")  # steps, in order


def about_text(run: Run) -> str:
    """Markdown without front matter, pictures, and links that are not https. Raises `UserError` as the cards do."""
    file = served_file(run.folder / SERVED, run.steps[SERVED])
    others = _others(run.metrics)
    return render_text(
        "about",
        run=run,
        served=SERVED,
        file=next(entry for entry in gguf_files(run.steps[SERVED]) if entry["name"] == file),
        lines=headline_lines(run.metrics),
        first=run.metrics["headline"],
        verdicts=_verdicts(run.metrics),
        lead=_lead(run.metrics),
        others=others[:MOST],
        left=len(others[MOST:]),
        most_warnings=MOST_WARNINGS,
        recipe=_recipe(run),
        steps={name: run.steps[name] for name in SHOWN if name in run.steps},
        trained=run.steps["adapter"],
        licence_link=_https(run.licence.license_link),
    )


def _comparisons(metrics: dict[str, Any], *, headline: bool) -> list[dict[str, Any]]:
    """Comparisons on the headline's questions asked its way, or all others."""
    first = metrics["headline"]
    return [line for line in metrics["comparisons"] if all(line[key] == first[key] for key in KEYS) == headline]


def _sentence(metrics: dict[str, Any], line: dict[str, Any]) -> str:
    return verdict_among(line["verdict"], line["p_holm"], len(metrics["comparisons"]))


def _verdicts(metrics: dict[str, Any]) -> dict[str, str]:
    """Model → how it compares with the first on the headline's questions."""
    return {line["model"]: _sentence(metrics, line) for line in _comparisons(metrics, headline=True)}


def _lead(metrics: dict[str, Any]) -> str:
    """Whether the served file answers these questions better than its base; empty where the two were not compared."""
    line = next((line for line in _comparisons(metrics, headline=True) if line["model"] == SERVED), None)
    if line is None:
        return ""
    if not line["verdict"].startswith(("better", "worse")):
        return "was not shown to answer these questions better than its base"
    way = "better" if line["verdict"].startswith("better") else "worse"
    if line["p_holm"] < 1 - CONFIDENCE:
        return f"answers these questions {way} than its base"
    return f"answered these questions {way} than its base, which does not hold among all comparisons that were made"


def _others(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """What else the served file was compared in, and the verdict."""
    lines = [line for line in _comparisons(metrics, headline=False) if line["model"] == SERVED]
    return [
        (f"{line['task']}, {line['formulation']}, {line['metric']} (n = {line['n']})", _sentence(metrics, line))
        for line in lines
    ]


def _recipe(run: Run) -> list[tuple[str, str]]:
    """What the adapter was trained with, without hashes of code and the base, which has its own line."""
    return [(key.removeprefix("settings."), value) for key, value in run.hyperparameters if key not in ("code", "base")]


def _https(link: str | None) -> str:
    return link if link and link.startswith("https://") else ""
