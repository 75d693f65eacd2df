"""Which parts an evaluation has: every task by every formulation, rotated options, open questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jobs.config import Evaluation
from jobs.documents import Rejection
from jobs.errors import UserError
from jobs.evaluation.open_parts import chat_part, open_part, source_parts
from jobs.evaluation.parts import ChoicePart, Part
from jobs.evaluation.tasks import Task, Tasks, cut
from qa.choices import OWN_TEMPLATE, ChoicePrompt
from qa.positions import rotate


def plan(
    tasks: Tasks, evaluation: Evaluation, passages: Path | None, seed: int, *, models: int
) -> tuple[Tasks, list[Part]]:
    """The parts in the order in which they are asked, the headline first; and the tasks with what is left out of them.

    Raises `UserError` for what cannot be asked of these tasks and so many models, before anything is.
    """
    _check(tasks.tasks, evaluation, passages, models)
    asked = [task for task in tasks.tasks if task.choice]
    parts = [_choice(task, formulation, evaluation) for formulation in evaluation.formulations for task in asked]
    kept: list[Task] = []
    for task in tasks.tasks:
        sourced, dropped = _sourced(task, evaluation, passages)
        parts += [
            *_rotated(task, evaluation, seed),
            *([open_part(task.name, task.open)] if task.open else []),
            *sourced,
        ]
        kept.append(replace(task, left_out=(*task.left_out, *dropped)))
    return replace(tasks, tasks=tuple(kept)), parts


def _check(tasks: tuple[Task, ...], evaluation: Evaluation, passages: Path | None, models: int) -> None:
    free = [question for task in tasks for question in task.open]
    if not any(task.choice for task in tasks):
        raise UserError(f"no multiple-choice questions in {', '.join(task.name for task in tasks)}; name another task")
    if evaluation.rotations and "letter" not in evaluation.formulations:
        raise UserError("rotated options are asked by letter: add letter to the formulations")
    if evaluation.sources and passages is None:
        raise UserError("--sources shows passages: name the folder that collect made, --passages DIR")
    if evaluation.sources and not any(question.passage for question in free):
        raise UserError("no open question of these tasks names a passage, so none can be asked with sources")
    if evaluation.judge.endpoint and (not free or models < 2):
        raise UserError("a judge compares two models' answers to open questions; name both, or leave the judge out")


def prompt_of(task: Task, formulation: str, evaluation: Evaluation) -> ChoicePrompt:
    """How a task's options are scored."""
    template = evaluation.template or OWN_TEMPLATE[formulation]
    return ChoicePrompt(formulation, template, task.shots, task.description)


def _choice(task: Task, formulation: str, evaluation: Evaluation) -> Part:
    if formulation == "chat":
        return chat_part(task.name, task.choice)
    return ChoicePart(task.name, prompt_of(task, formulation, evaluation), task.choice)


def _rotated(task: Task, evaluation: Evaluation, seed: int) -> list[Part]:
    """Every rotation but the first of a seeded draw of questions; the first stands among the other parts."""
    drawn = cut(task.choice, evaluation.rotations, seed) if evaluation.rotations else []
    prompt = prompt_of(task, "letter", evaluation)
    most = max((len(question.choices) for question in drawn), default=0)
    return [
        ChoicePart(task.name, prompt, tuple(rotate(q, by) for q in drawn if by < len(q.choices)), by)
        for by in range(1, most)
    ]


def _sourced(task: Task, evaluation: Evaluation, passages: Path | None) -> tuple[Sequence[Part], Sequence[Rejection]]:
    """The parts with sources, and the questions whose evidence is not among the passages."""
    known = tuple(question for question in task.open if question.passage)
    if not evaluation.sources or not known or passages is None:
        return (), ()
    shown, withheld, dropped = source_parts(task.name, known, passages, evaluation.sources)
    return (shown, withheld), dropped
