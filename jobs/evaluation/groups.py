"""Rows of answers by task and formulation, and what a row of each formulation is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jobs.evaluation.open_parts import NO_SOURCE
from qa.records import Answer, Question

if TYPE_CHECKING:
    from jobs.evaluation.tasks import Task

Asked = Mapping[tuple[str, str], Question]  # by task and row id


def is_choice(answer: Answer) -> bool:
    """Whether a row answers a multiple-choice question."""
    return answer.formulation.startswith(("letter", "cloze", "chat"))


def headline_metric(formulation: str) -> str:
    """The metric by which a row of this formulation counts as correct."""
    if formulation.startswith("letter"):
        return "acc"
    if formulation.startswith("cloze"):
        return "acc_norm"
    return "abstained" if formulation == NO_SOURCE else "exact_match"


def groups(answers: Sequence[Answer]) -> dict[tuple[str, str], list[Answer]]:
    """Rows by task and formulation, both in the order of their first row."""
    found: dict[tuple[str, str], list[Answer]] = {}
    for row in answers:
        found.setdefault((row.task, row.formulation), []).append(row)
    return found


def asked_of(tasks: Sequence[Task]) -> Asked:
    """Every question, by the name of its task and its id."""
    return {(task.name, question.id): question for task in tasks for question in (*task.choice, *task.open)}


def chance(questions: Sequence[Question]) -> float:
    """Share of multiple-choice questions that a guess answers rightly."""
    return sum(1 / len(question.choices) for question in questions) / len(questions)


def tied(answers: Sequence[Answer]) -> int:
    """Rows whose two likeliest options have the very same score: the first is picked, and that says nothing."""
    best = (sorted(row.option_logprobs)[-2:] for row in answers)
    return sum(first == second for first, second in best)
