"""`report.md`: an evaluation's figures as one page that a person reads from the top.

What documents, questions and models wrote is escaped: it shows as it was written and breaks no table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.card_render import cell
from jobs.evaluation.groups import Asked, asked_of
from jobs.evaluation.result_table import flatten, result_rows
from jobs.provenance import versions
from qa.calibration import BIN_ROWS, BINS
from qa.headline import headline_lines
from qa.positions import SPREAD_ROWS
from qa.records import Answer, Question
from qa.statistics import verdict_among

if TYPE_CHECKING:
    from jobs.evaluation.tasks import Task

TEMPLATES = Path(__file__).parent / "templates"
PICTURES = ("accuracy.png", "flips.png", "reliability.png")
FLIPS, LISTED = 10, 20  # flipped answers each way; rows not counted that are named
QUESTION, ANSWER = 240, 160  # characters shown

Rows = Mapping[str, Sequence[Answer]]  # by model


def render_report(
    metrics: dict[str, Any], answers: Rows, tasks: Sequence[Task], about: dict[str, Any], pictures: Sequence[str]
) -> str:
    """The page as Markdown. `about` holds `models` (name → place) and any settings; `pictures` lie beside the page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - Markdown, not HTML: `cell` escapes what others wrote
    )
    environment.filters |= {"cell": cell, "percent": _percent, "points": _points, "p": _p}
    text = environment.get_template("report.md.j2").render(
        metrics=metrics,
        tasks=tasks,
        about=about,
        pictures=pictures,
        settings=[(key.split(".")[-1], value) for key, value in flatten(about) if not key.startswith("models.")],
        versions=versions(),
        headline=headline_lines(metrics),
        results=result_rows(metrics),
        flipped=list(flips(metrics, answers, asked_of(tasks))),
        most=FLIPS,
        differing=_differing(metrics["comparisons"]),
        ties=[(model, line) for model, lines in metrics["ties"].items() for line in lines if line["tied"]],
        formulations=list(dict.fromkeys(name for times in metrics["seconds"].values() for name in times)),
        places=range(_most_options(metrics)),
        spread_rows=SPREAD_ROWS,
        bins=BINS,
        bin_rows=BIN_ROWS,
        uncounted=list(_uncounted(metrics)),
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _points(share: float | None) -> str:
    return "–" if share is None else f"{100 * share + 0.0:.1f}".replace("-0.0", "0.0")


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _differing(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Comparisons that show a difference, with a verdict that knows of the others."""
    return [
        line | {"verdict": verdict_among(line["verdict"], line["p_holm"], len(lines))}
        for line in lines
        if line["verdict"].startswith(("better", "worse"))
    ]


def _most_options(metrics: dict[str, Any]) -> int:
    lines = (line for found in metrics["positions"].values() for line in found)
    return max((len(line["places"]) for line in lines), default=0)


def flips(metrics: dict[str, Any], answers: Rows, asked: Asked) -> Iterator[dict[str, Any]]:
    """Of the headline, the answers of each model that only it, or only the first model, has right."""
    first, *others = metrics["order"]
    theirs = _headline_rows(metrics, answers[first])
    for model in others:
        ours = _headline_rows(metrics, answers[model])
        pairs = [(theirs[name], row) for name, row in ours.items() if name in theirs]
        for kind, right in (("gained", True), ("lost", False)):
            found = [pair for pair in pairs if pair[0].correct != pair[1].correct == right]
            if found:
                shown = [_flip(asked[row.task, row.row_id], other, row) for other, row in found[:FLIPS]]
                yield {"model": model, "kind": kind, "count": len(found), "flips": shown}


def _headline_rows(metrics: dict[str, Any], rows: Sequence[Answer]) -> dict[str, Answer]:
    key = (metrics["headline"]["task"], metrics["headline"]["formulation"])
    return {row.row_id: row for row in rows if (row.task, row.formulation) == key}


def _flip(question: Question, first: Answer, model: Answer) -> dict[str, str]:
    said = {"right": question.answer, "first": first.predicted, "model": model.predicted}
    texts = {key: _cut(_option(question, answer), ANSWER) for key, answer in said.items()}
    return {"question": _cut(question.question, QUESTION), **texts}


def _option(question: Question, answer: str) -> str:
    """A label with its option, or what was written."""
    if answer in question.labels:
        return f"{answer}. {question.choices[question.labels.index(answer)]}"
    return answer or "(nothing)"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _uncounted(metrics: dict[str, Any]) -> Iterator[str]:
    """Rows that could not be asked of anyone, then those that one model was not asked."""
    for task, rows in metrics["left_out"].items():
        yield from _some(f"{task}, left out", [f"{row['name']}: {row['reason']}" for row in rows])
    for model, rows in metrics["skipped"].items():
        lines = [f"{row['row_id']}, {row['formulation']}: {row['reason']}" for row in rows]
        yield from _some(f"{model}, skipped", lines)


def _some(what: str, lines: Sequence[str]) -> Iterator[str]:
    yield from (f"{what}: {line}" for line in lines[:LISTED])
    if len(lines) > LISTED:
        yield f"{what}: {len(lines) - LISTED} more, named in metrics.json"
