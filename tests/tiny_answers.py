"""Made-up tasks and answers of models of known skill, for the tests of figures, signs and the report. Not a test."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jobs.documents import Rejection
from jobs.evaluation.tasks import Task
from qa.positions import rotate
from qa.records import Answer, Question
from tests.tiny_questions import make_question


def make_task(name: str, choices: int, free: int = 0, left_out: Sequence[str] = (), seed: int = 2) -> Task:
    """A task of random questions."""
    draw = random.Random(f"{seed}/{name}")
    return Task(
        name=name,
        choice=tuple(make_question(draw, number, name) for number in range(choices)),
        open=tuple(make_question(draw, number, name, free=True) for number in range(free)),
        origin=f"{name}/test.parquet",
        left_out=tuple(Rejection(name=row, reason="answerKey 'Z' is not among the labels") for row in left_out),
    )


def choice_answers(
    model: str, questions: Sequence[Question], *, skill: float, formulation: str = "letter (chat)", seed: int = 0
) -> list[Answer]:
    """Answers by scores drawn at random, the right option's raised by `skill` nats."""
    draw = np.random.default_rng(seed)
    rows = []
    for question in questions:
        scores = draw.normal(-3, 1, len(question.choices))
        scores[question.gold] += skill
        rows.append(scored(model, question, tuple(float(score) for score in scores), formulation=formulation))
    return rows


def scored(
    model: str, question: Question, logprobs: tuple[float, ...], *, formulation: str = "letter (chat)", **changes: Any
) -> Answer:
    """A row as the examiner makes it from an options' scores."""
    lengths = [len(choice) if formulation.startswith("cloze") else 1 for choice in question.choices]
    weighed = [score / length for score, length in zip(logprobs, lengths, strict=True)]
    picked = weighed.index(max(weighed))
    values = {"predicted": question.labels[picked], "gold": question.answer, "correct": picked == question.gold}
    return row(model, question, formulation, option_logprobs=logprobs, **values | changes)


def written(
    model: str, questions: Sequence[Question], text: Callable[[Question], str], formulation: str = "open (chat)"
) -> list[Answer]:
    """Rows of answers in words, right where they are the answer on record."""
    return [
        row(model, q, formulation, predicted=text(q), gold=q.answer_text, correct=text(q) == q.answer_text)
        for q in questions
    ]


def row(model: str, question: Question, formulation: str, **values: Any) -> Answer:
    place = {"task": question.task, "row_id": question.id, "document": question.document}
    given = {"model": model, "formulation": formulation, "prompt_sha256": "0" * 64, "seconds": 0.25} | place | values
    return Answer(**given)


def rotated_answers(model: str, questions: Sequence[Question], chosen: Callable[[Question], str]) -> list[Answer]:
    """Rows under every rotation but the first; `chosen` gives the label picked from a rotated question."""
    rows = []
    for question in questions:
        for by in range(1, len(question.choices)):
            turned = rotate(question, by)
            label = chosen(turned)
            logprobs = tuple(float(-1 - (each != label)) for each in turned.labels)
            rows.append(scored(model, turned, logprobs, formulation=f"letter (chat), rotated {by}"))
    return rows
