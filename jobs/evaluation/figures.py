"""From answers to figures: accuracies with intervals, paired comparisons, positions, calibration, ties.

Every figure is counted from the rows of `items.parquet` (and `rotated.parquet`) and the questions; a test does it
another way round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import TYPE_CHECKING, Any

from jobs.evaluation.canary import canaries
from jobs.evaluation.groups import (
    Asked,
    asked_of,
    groups,
    headline_metric,
    is_choice,
    tied,
)
from jobs.evaluation.open_figures import cited_figures, open_figures
from jobs.evaluation.open_parts import NO_SOURCE, OPEN, SOURCES
from qa.calibration import calibrate
from qa.positions import Place, by_place, original_place, over_rotations, rotation_of, spread
from qa.records import Answer, Question
from qa.statistics import central_interval, clustered_bootstrap, holm, paired_difference, verdict, wilson

if TYPE_CHECKING:
    from jobs.evaluation.tasks import Task

SCHEMA = 2

Rows = Mapping[str, Sequence[Answer]]  # by model
Figure = dict[str, Any]


def metrics_of(
    answers: Rows,
    rotated: Rows,
    tasks: Sequence[Task],
    skipped: Mapping[str, Sequence[Figure]],
    *,
    headline: tuple[str, str],
    seed: int,
) -> Figure:
    """What `metrics.json` holds, from all rows. `rotated` are those of questions with rotated options.

    The first model is what the others are compared with; `headline` is a task and the formulation it is judged by;
    `skipped` are the questions that a model was not asked, with the reason.
    """
    asked, first = asked_of(tasks), next(iter(answers))
    task, formulation = headline
    figures = {
        "schema": SCHEMA,
        "order": list(answers),
        "headline": {"task": task, "formulation": formulation, "metric": headline_metric(formulation)},
        "models": {name: {"results": results_of(rows, asked)} for name, rows in answers.items()},
        "comparisons": _compared(answers, first, seed),
        "open": _where(answers, _open),
        "cited": _where(answers, lambda rows: _cited(rows, asked)),
        "positions": _where(answers, lambda rows: _by_letter(rows, asked, positions_of)),
        "rotations": {name: rotations_of(rows, rotated.get(name, ()), asked, seed) for name, rows in answers.items()},
        "calibration": _where(answers, lambda rows: _by_letter(rows, asked, _calibration(seed))),
        "ties": _where(answers, ties_of),
        "seconds": _where(answers, seconds_of),
        "skipped": {name: list(rows) for name, rows in skipped.items()},
        "left_out": {
            task.name: [row.model_dump(include={"name", "reason"}) for row in task.left_out] for task in tasks
        },
        "warnings": canaries(answers, asked),
    }
    for optional in ("cited", "rotations"):  # only where they were asked for
        figures[optional] = {name: value for name, value in figures[optional].items() if value}
        if not figures[optional]:
            del figures[optional]
    return figures


def _where(answers: Rows, figure: Callable[[Sequence[Answer]], Any]) -> Figure:
    """The figure of every model that has it."""
    found = {name: figure(rows) for name, rows in answers.items()}
    return {name: value for name, value in found.items() if value}


def _of(rows: Sequence[Answer], formulation: str) -> list[Answer]:
    return [row for row in rows if row.formulation == formulation]


def _open(rows: Sequence[Answer]) -> Figure:
    written = _of(rows, OPEN)
    return open_figures(written) if written else {}


def _cited(rows: Sequence[Answer], asked: Asked) -> Figure:
    shown, withheld = _of(rows, SOURCES), _of(rows, NO_SOURCE)
    return cited_figures(shown, withheld, asked) if shown or withheld else {}


def results_of(answers: Sequence[Answer], asked: Asked) -> list[Figure]:
    """Results of one model on multiple choice: each task, formulation and metric with its Wilson interval."""
    results = []
    for (task, formulation), rows in groups([row for row in answers if is_choice(row)]).items():
        counts = {headline_metric(formulation): sum(row.correct for row in rows)}
        if formulation.startswith("cloze"):
            counts["acc"] = sum(_likeliest(row) == asked[task, row.row_id].gold for row in rows)
        names = {"task": task, "formulation": formulation}
        results += [names | {"metric": metric} | _share(correct, len(rows)) for metric, correct in counts.items()]
    return results


def _share(correct: int, n: int) -> Figure:
    low, high = wilson(correct, n)
    return {"value": correct / n, "low": low, "high": high, "n": n, "correct": correct}


def _compared(answers: Rows, first: str, seed: int) -> list[Figure]:
    """Every other model against the first; `p_holm` counts all of these comparisons."""
    lines = [line for name in answers if name != first for line in comparisons(answers[name], answers[first], seed)]
    for line, adjusted in zip(lines, holm([line["p"] for line in lines]), strict=True):
        line["p_holm"] = adjusted
    return lines


def comparisons(ours: Sequence[Answer], theirs: Sequence[Answer], seed: int) -> list[Figure]:
    """One model against the first, paired by the questions that both answered, for each task and formulation."""
    found, others = [], groups(theirs)
    for (task, formulation), rows in groups(ours).items():
        match = {row.row_id: row for row in others.get((task, formulation), ())}
        if pairs := [(row, match[row.row_id]) for row in rows if row.row_id in match]:
            names = {"model": rows[0].model, "against": theirs[0].model, "task": task, "formulation": formulation}
            found.append(names | {"metric": headline_metric(formulation)} | _difference(pairs, seed))
    return found


def _difference(pairs: Sequence[tuple[Answer, Answer]], seed: int) -> Figure:
    difference = paired_difference(
        [row.correct for row, _ in pairs],
        [row.correct for _, row in pairs],
        [row.document for row, _ in pairs],
        seed=seed,
    )
    values = asdict(difference)
    values["difference"] = values.pop("value")
    right = sum(row.correct and other.correct for row, other in pairs)
    both = {"right_in_both": right, "wrong_in_both": difference.n - right - difference.gained - difference.lost}
    return values | both | {"verdict": verdict(difference)}


def _by_letter(rows: Sequence[Answer], asked: Asked, figure: Callable[..., Figure]) -> list[Figure]:
    """A figure of every task that was asked by letter."""
    return [
        {"task": task, "formulation": formulation, "n": len(group)}
        | figure(group, [asked[task, row.row_id] for row in group])
        for (task, formulation), group in groups(rows).items()
        if formulation.startswith("letter")
    ]


def positions_of(rows: Sequence[Answer], questions: Sequence[Question]) -> Figure:
    """Accuracy by the place of the right option, and how often each place is chosen."""
    pairs = zip(rows, questions, strict=True)
    places = by_place((q.gold, q.labels.index(row.predicted), len(q.labels)) for row, q in pairs)
    return {"spread": spread(places), "places": [_place(place) for place in places]}


def _place(place: Place) -> Figure:
    nothing = {"value": None, "low": None, "high": None, "n": 0, "correct": 0}
    share = _share(place.correct, place.n) if place.n else nothing
    return {"place": place.place, "offered": place.offered, "chosen": place.chosen} | share


def _calibration(seed: int) -> Callable[[Sequence[Answer], Sequence[Question]], Figure]:
    def figure(rows: Sequence[Answer], questions: Sequence[Question]) -> Figure:
        logprobs, documents = [row.option_logprobs for row in rows], [row.document for row in rows]
        found = asdict(calibrate(logprobs, [question.gold for question in questions], documents, seed=seed))
        return found | {"ece_low": found.pop("low"), "ece_high": found.pop("high"), "bins": list(found["bins"])}

    return figure


def rotations_of(answers: Sequence[Answer], rotated: Sequence[Answer], asked: Asked, seed: int) -> list[Figure]:
    """What moving the options changes, for the questions that were asked under every rotation of theirs."""
    chosen: dict[tuple[str, str], dict[str, dict[int, int]]] = {}
    for row in (*answers, *rotated):
        formulation, by = rotation_of(row.formulation)
        if formulation.startswith("letter"):
            labels = asked[row.task, row.row_id].labels
            place = original_place(labels.index(row.predicted), by, len(labels))
            chosen.setdefault((row.task, formulation), {}).setdefault(row.row_id, {})[by] = place
    moved = {(row.task, rotation_of(row.formulation)[0]) for row in rotated}
    found = ((key, _rotated(key[0], rows, asked, seed)) for key, rows in chosen.items() if key in moved)
    return [{"task": task, "formulation": formulation} | line for (task, formulation), line in found if line]


def _rotated(task: str, chosen: dict[str, dict[int, int]], asked: Asked, seed: int) -> Figure:
    questions = {name: asked[task, name] for name in chosen}
    if (found := over_rotations(chosen, questions)) is None:
        return {}
    rows = [(right, questions[name].document) for name, rights in found.correct.items() for right in rights]
    means = clustered_bootstrap([right for right, _ in rows], [document for _, document in rows], seed=seed)
    low, high = central_interval(means)
    counts = {"n": found.n, "rotations": len(rows), "unchanged": found.unchanged}
    return counts | {"value": found.value, "low": low, "high": high}


def ties_of(answers: Sequence[Answer]) -> list[Figure]:
    """How often the two likeliest options have the same score."""
    scored = groups([row for row in answers if row.option_logprobs])
    return [
        {"task": task, "formulation": formulation, "tied": tied(rows), "n": len(rows)}
        for (task, formulation), rows in scored.items()
    ]


def seconds_of(answers: Sequence[Answer]) -> dict[str, float]:
    """Seconds of wall time for a question, by formulation."""
    times: dict[str, list[float]] = {}
    for row in answers:
        times.setdefault(row.formulation, []).append(row.seconds)
    return {formulation: fmean(seconds) for formulation, seconds in times.items()}


def _likeliest(row: Answer) -> int:
    return row.option_logprobs.index(max(row.option_logprobs))
