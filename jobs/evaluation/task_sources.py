"""The tasks that stand outside of a built data set: ARC and MMLU on the Hub, and files in ARC's schema."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jobs.arc import load_arc, load_hub, task_name
from jobs.documents import Rejection
from jobs.errors import UserError
from jobs.evaluation.task_rows import Benchmark, TaskRows, located, parse_line, read_lines, read_parquet, sift
from qa.records import Question

ARC, MMLU = "allenai/ai2_arc", "cais/mmlu"
ARC_CONFIGS = {task_name(config): config for config in ("ARC-Challenge", "ARC-Easy")}
ARC_COLUMNS = ("id", "question", "choices", "answerKey")


def is_file(task: str) -> bool:
    """Whether a task is named by the path of its file."""
    return Path(task).suffix in (".parquet", ".jsonl")


def file_rows(path: Path, shots: bool) -> TaskRows:
    """A Parquet or JSON Lines file in ARC's schema; its solved examples stand beside it, in a `train` file."""
    task = path.stem
    test, left_out = _read_file(path, task)
    rows = TaskRows(str(path), path.name, test=test, left_out=left_out, inputs={f"task {task}": path}, is_file=True)
    if shots:
        beside = path.with_name(re.sub(r"(?<![A-Za-z])test(?![A-Za-z])", "train", path.name))
        if beside == path or not beside.is_file():
            raise UserError(f"{path}: solved examples come from the file beside it with `train` for `test` in its name")
        rows.train, _ = _read_file(beside, task)
        rows.inputs[f"training split of task {task}"] = beside
    return rows


def _read_file(path: Path, task: str) -> tuple[list[Question], list[Rejection]]:
    def read(row: Any, _: int) -> Question:
        row = parse_line(row) if isinstance(row, bytes) else row
        return Question.from_arc(row, task=task, source=path.name, licence="")

    rows = read_parquet(path, ARC_COLUMNS) if path.suffix == ".parquet" else read_lines(path)
    return sift((entry for entry in located(rows, path.name) if entry[1] != b""), read)


def arc_rows(task: str) -> TaskRows:
    """ARC from the Hub, by its official splits."""
    config = ARC_CONFIGS[task]
    questions, damaged, origin = load_arc(ARC, [config])
    rows = TaskRows(ARC, f"{ARC}@{origin['revision']}", questions["test"], questions["train"])
    rows.left_out = [entry for entry in damaged if entry.name.startswith(f"{config}/test/")]
    rows.benchmark = None if rows.left_out else Benchmark(ARC, config, "test", origin["revision"])
    return rows


def mmlu_rows(task: str, subject: str, shots: bool) -> TaskRows:
    """One subject of MMLU from the Hub. Its solved examples are the first of `dev`, as in every tool."""
    if subject in ("", "all"):
        raise UserError(f"task {task}: name one subject, for example mmlu:machine_learning")
    loaded, origin = load_hub(MMLU, subject)
    for split in ("test", "dev") if shots else ("test",):
        if split not in loaded:
            raise UserError(f"{MMLU}: configuration {subject} has no {split} split, so {task} cannot be asked")

    def read(split: str, name: str) -> tuple[list[Question], list[Rejection]]:
        about = {"source": MMLU, "licence": origin["licence"]}
        rows = located(loaded[split], f"{subject}/{split}")
        return sift(rows, lambda row, number: Question.from_mmlu(row, task=name, number=number, **about))

    test, left_out = read("test", task)
    train, _ = read("dev", f"{task}/dev") if shots else ([], [])
    rows = TaskRows(MMLU, f"{MMLU}@{origin['revision']}", test, train, left_out, first_shots=True)
    rows.benchmark = None if left_out else Benchmark(MMLU, subject, "test", origin["revision"])
    return rows
