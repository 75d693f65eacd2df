"""What the endpoints for programs return: typed dictionaries that go as JSON, with the texts as they are, unescaped."""

from __future__ import annotations

from typing import Any, TypedDict

from qa.retrieval import Hit
from qa.statistics import wilson
from space.answering import Answer
from space.compare import Pair
from space.evaluate import Row, Run
from space.library import Library
from space.models import Part
from space.state import AppState


class Passage(TypedDict):
    """A passage that was found; `score` is BM25, comparable within one search alone."""

    id: str
    title: str
    document: str
    section: str
    source: str
    licence: str
    text: str
    score: float


class Side(TypedDict):
    """One model's answer so far."""

    text: str
    state: str
    status: str
    tokens: int
    seconds: float


class Both(TypedDict):
    """Both answers so far."""

    base: Side
    tuned: Side


def passage(hit: Hit) -> Passage:
    """A hit of the library."""
    found = hit.passage
    return Passage(
        id=found.id,
        title=found.title,
        document=found.document,
        section=found.section,
        source=found.source,
        licence=found.licence,
        text=found.text,
        score=round(hit.score, 3),
    )


def both(pair: Pair) -> Both:
    """A comparison as it stands."""
    return Both(base=_side(pair.base), tuned=_side(pair.tuned))


def _side(answer: Answer) -> Side:
    return Side(
        text=answer.text,
        state=answer.state,
        status=answer.status,
        tokens=answer.tokens,
        seconds=round(answer.seconds, 3),
    )


def evaluation(run: Run) -> dict[str, Any]:
    """A live evaluation as it stands."""
    return {
        "state": run.state,
        "place": run.place,
        "wait": run.wait,
        "questions": run.total,
        "formulation": run.formulation,
        "prompt": run.prompt,
        "seconds": round(run.seconds, 3),
        "base": _accuracy([row.base_right for row in run.rows]),
        "tuned": _accuracy([row.tuned_right for row in run.rows]),
        "rows": [_row(row) for row in run.rows],
    }


def _accuracy(right: list[bool]) -> dict[str, float | int] | None:
    if not right:
        return None
    low, high = wilson(sum(right), len(right))
    return {"correct": sum(right), "n": len(right), "low": low, "high": high}


def _row(row: Row) -> dict[str, str]:
    labels = row.question.labels
    return {
        "id": row.question.id,
        "question": row.question.question,
        "base": labels[row.base],
        "tuned": labels[row.tuned],
        "answer": row.question.answer,
    }


def condition(state: AppState) -> dict[str, Any]:
    """What is loaded at which commit, and how many are being answered and wait."""
    load, commits, library = state.models.scheduler.load(), state.models.credits, state.library
    passages = len(library.index) if library.index else 0
    return {
        "running": load.running,
        "waiting": load.waiting,
        "evaluations": load.evaluations,
        "expected_seconds": state.models.scheduler.expected_seconds,
        "parts": [{"title": part.title, **_phase(part)} for part in state.models.parts()],
        "commits": {role: credit.revision for role, credit in commits.items()},
        "papers": {**_phase(library), "passages": passages},
    }


def _phase(thing: Part | Library) -> dict[str, str]:
    return {
        "repository": thing.reference.repository,
        "revision": thing.reference.revision,
        "phase": thing.phase,
        "problem": thing.problem,
    }
