"""What training must hold no copy of: our own held-out rows, and the test sets of every task that will be scored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from jobs.errors import UserError
from jobs.evaluation.built_tasks import RECENT
from jobs.evaluation.task_rows import TaskRows
from jobs.evaluation.task_sources import ARC_CONFIGS, arc_rows, file_rows, is_file, mmlu_rows
from jobs.rows import Rows
from qa.choices import MMLU_PREFIX
from qa.records import Question, Split

RESEARCH = "research"
Tests = dict[str, list[Question]]  # by task and split: `research/test`


def own_sets(configs: Mapping[str, Rows], split: Split) -> Tests:
    """The rows of one held-out side by task; those with sources ask what others ask without."""
    found: Tests = {}
    for name, rows in configs.items():
        for row in rows[split] if name != "reading" else ():
            found.setdefault(f"{row.question.task}/{split}", []).append(row.question)
    return found


def scored_sets(names: Iterable[str], own: Iterable[str]) -> Tests:
    """The test questions of every task named, by the names that evaluation knows, but for the data set's `own` tasks.

    Raises `UserError` for a task that is not known, cannot be had or has no question, and for two of one name.
    """
    known, found = {*own, RESEARCH, RECENT}, Tests()
    for name in dict.fromkeys(names):
        if name in known:
            continue
        rows, key = _rows(name), f"{Path(name).stem if is_file(name) else name}/test"
        if key in found or key.removesuffix("/test") in known:
            raise UserError(f"two tasks are named {key.removesuffix('/test')}: ask it once, or rename a file")
        if not rows.test:
            raise UserError(_none_left(name, rows))
        found[key] = rows.test
    return found


def task_files(names: Iterable[str]) -> dict[str, Path]:
    """The files among the tasks, by a name each."""
    return {f"task {Path(name).stem}": Path(name) for name in names if is_file(name)}


def _none_left(name: str, rows: TaskRows) -> str:
    if not rows.left_out:
        return f"{rows.place}: task {name} holds no row"
    first, count = rows.left_out[0], len(rows.left_out)
    held = f"none of {count} row{'s' * (count != 1)}"
    return f"{rows.place}: {held} of task {name} can be asked; the first, {first.name}: {first.reason}"


def _rows(name: str) -> TaskRows:
    if is_file(name):
        return file_rows(Path(name), shots=False)
    if name.startswith(MMLU_PREFIX):
        return mmlu_rows(name, name.removeprefix(MMLU_PREFIX), shots=False)
    if name in ARC_CONFIGS:
        return arc_rows(name)
    raise UserError(
        f"task {name}: no such test set to keep training apart from; name one of {', '.join(sorted(ARC_CONFIGS))}, "
        f"{MMLU_PREFIX}SUBJECT, or a .parquet or .jsonl file"
    )
