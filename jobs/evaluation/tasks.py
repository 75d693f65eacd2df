"""The tasks of an evaluation: whose questions are asked, after which solved examples, and what was left out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.config import Evaluation
from jobs.documents import Rejection
from jobs.errors import UserError
from jobs.evaluation.built_tasks import built_rows
from jobs.evaluation.task_rows import Benchmark, TaskRows
from jobs.evaluation.task_sources import ARC_CONFIGS, arc_rows, file_rows, is_file, mmlu_rows
from qa.choices import FORMULATIONS, MMLU_PREFIX, description_of
from qa.records import Question


@dataclass(frozen=True)
class Task:
    """One task's test questions, in a fixed order.

    `shots` are solved examples from its training split and `description` opens a plain letter prompt. `origin` tells
    where the rows come from, `benchmark` the public one whose rows they are, none left out but by `limit`; `left_out`
    are rows that cannot be asked.
    """

    name: str
    choice: tuple[Question, ...]
    open: tuple[Question, ...]
    shots: tuple[Question, ...] = ()
    description: str = ""
    origin: str = ""
    benchmark: Benchmark | None = None
    left_out: tuple[Rejection, ...] = ()


@dataclass(frozen=True)
class Tasks:
    """The tasks, the defaults that are not there, and the local files and folders that were read, by a name each."""

    tasks: tuple[Task, ...]
    absent: tuple[str, ...]
    inputs: dict[str, Path]


def load_tasks(evaluation: Evaluation, dataset: Path | str | None, seed: int) -> Tasks:
    """Find the tasks asked for, in `dataset` (a folder that build_dataset made, or its repository) and beyond.

    `arc_challenge` and `arc_easy` come from the Hub where they are named and the data set has none, or where there is
    no data set; `mmlu:SUBJECT` comes from there; a path ending in .parquet or .jsonl is read. Raises `UserError` for
    a task that was named and is not there, of which no row can be asked, or whose training split is too small for the
    solved examples; a task that only stands in the defaults is left out. `limit` and the examples are drawn with the
    seed.
    """
    names = [_name(task) for task in evaluation.tasks]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"two tasks are named {twice[0]}: ask it once, or rename a file")
    shots = evaluation.shots if set(evaluation.formulations) & set(FORMULATIONS) else 0
    found = _find_all(evaluation, dataset, bool(shots))
    inputs = {"dataset": Path(dataset)} if dataset and Path(dataset).is_dir() else {}
    for rows in found.values():
        inputs |= rows.inputs
    tasks = tuple(_task(name, rows, evaluation.limit, shots, seed) for name, rows in found.items())
    return Tasks(tasks, tuple(name for name in names if name not in found), inputs)


def cut(questions: Sequence[Question], limit: int | None, seed: int) -> list[Question]:
    """At most `limit` of the questions, drawn with the seed and in their old order."""
    if limit is None or limit >= len(questions):
        return list(questions)
    kept = sorted(random.Random(seed).sample(range(len(questions)), limit))
    return [questions[index] for index in kept]


def _name(task: str) -> str:
    return Path(task).stem if is_file(task) else task


def _find_all(evaluation: Evaluation, dataset: Path | str | None, shots: bool) -> dict[str, TaskRows]:
    """The rows of the tasks by name, in the order asked for."""
    built = built_rows(dataset, shots) if dataset else {}
    named = "tasks" in evaluation.model_fields_set
    found: dict[str, TaskRows] = {}
    for task in evaluation.tasks:
        if (rows := _find(task, built, named or not dataset, shots)) is not None:
            found[_name(task)] = rows
        elif named:
            raise UserError(_not_there(task, dataset, built))
    if not found:
        raise UserError(_not_there(", ".join(evaluation.tasks), dataset, built))
    return found


def _find(task: str, built: dict[str, TaskRows], beyond: bool, shots: bool) -> TaskRows | None:
    """The rows of a task; `beyond` tells whether the Hub is asked for ARC where the data set has none."""
    if is_file(task):
        return file_rows(Path(task), shots)
    if task.startswith(MMLU_PREFIX):
        return mmlu_rows(task, task.removeprefix(MMLU_PREFIX), shots)
    if task in built:
        return built[task]
    return arc_rows(task) if beyond and task in ARC_CONFIGS else None


def _not_there(task: str, dataset: Path | str | None, built: dict[str, TaskRows]) -> str:
    if dataset:
        return f"{dataset}: no test questions of task {task}; there are: {', '.join(sorted(built)) or 'none'}"
    reason = "neither of ARC nor mmlu:SUBJECT nor a .parquet or .jsonl file, so it stands in a data set"
    return f"task {task}: {reason}: name that with --dataset"


def _task(name: str, rows: TaskRows, limit: int | None, shots: int, seed: int) -> Task:
    if not rows.test:
        first = f"; the first: {rows.left_out[0].name}: {rows.left_out[0].reason}" if rows.left_out else ""
        raise UserError(f"{rows.place}: none of {len(rows.left_out)} rows of task {name} can be asked{first}")
    choice = [question for question in rows.test if question.choices]
    free = [question for question in rows.test if not question.choices]
    return Task(
        name=name,
        choice=tuple(cut(choice, limit, seed)),
        open=tuple(cut(free, limit, seed)),
        shots=_draw(name, rows, shots, seed) if choice and shots else (),
        description=description_of("" if rows.is_file else name),
        origin=rows.origin,
        benchmark=rows.benchmark,
        left_out=tuple(rows.left_out),
    )


def _draw(name: str, rows: TaskRows, count: int, seed: int) -> tuple[Question, ...]:
    """Solved examples, the same for every test row; never one that asks what a test row asks, nor the same twice."""
    pool = [question for question in rows.train if 3 <= len(question.choices) <= 5]
    if not rows.first_shots:
        asked = {_letters(question.question) for question in rows.test}
        other = {_letters(question.question): question for question in pool}
        pool = [question for text, question in other.items() if text not in asked]
    if len(pool) < count:
        raise UserError(
            f"{rows.place}: task {name} has {len(pool)} training questions fit for solved examples and {count} are "
            "asked for; ask for fewer shots"
        )
    return tuple(pool[:count] if rows.first_shots else random.Random(f"{seed}/{name}").sample(pool, count))


def _letters(text: str) -> str:
    """The text without case, spaces and punctuation."""
    return "".join(filter(str.isalnum, text.casefold()))
