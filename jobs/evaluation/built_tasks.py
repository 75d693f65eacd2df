"""The tasks of a data set that build_dataset made, from its folder or from its repository on the Hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jobs.arc import hub_configs, load_hub, task_name
from jobs.errors import UserError
from jobs.evaluation.task_rows import Benchmark, Located, TaskRows, check_columns, located, read_parquet, sift
from jobs.rejections import FILE as REJECTED
from jobs.rejections import read_rejections
from jobs.step import STEP_FILE, read_step
from qa.records import Question, parse_record

CONFIGS = ("research_qa", "arc")  # rows with sources are for training alone
OWN_TASK = "research"
RECENT_SPLIT, RECENT = "test_recent", "research_recent"  # test rows of documents later than the base model's training
COLUMNS = ("id", "question", "answer_text", "document", "task")  # without which no question can be read


class _Table(NamedTuple):
    """One split of a configuration; `place` is for errors, `origin` has none of this machine's folders."""

    place: str
    origin: str
    split: str
    rows: list[dict[str, Any]]


def built_rows(dataset: Path | str, shots: bool) -> dict[str, TaskRows]:
    """Every task of the data set that has test rows; their training rows only for `shots`.

    `research_recent` asks a slice of what `research` asks, after the same solved examples.
    """
    splits, folder = ("test", RECENT_SPLIT, *(("train",) if shots else ())), Path(dataset)
    found: dict[str, TaskRows] = {}
    for table in _folder_tables(folder, splits) if folder.is_dir() else _hub_tables(str(dataset), splits):
        for task, entries in _by_task(table).items():
            kept, bad = sift(entries, lambda row, _: parse_record(row, Question, f"row {row['id']!r}"))
            rows = found.setdefault(task, TaskRows(str(dataset), table.origin))
            if table.split == "train":
                rows.train += kept
            else:
                rows.test += kept
                rows.left_out += bad
    if RECENT in found and OWN_TASK in found:
        found[RECENT].train = found[OWN_TASK].train
    for task, rows in found.items():
        rows.benchmark = None if rows.left_out else _whole_benchmark(folder, task)
    return {task: rows for task, rows in found.items() if rows.test or rows.left_out}


def _folder_tables(folder: Path, splits: tuple[str, ...]) -> Iterator[_Table]:
    configs = [config for config in CONFIGS if (folder / config).is_dir()]
    if not configs:
        raise UserError(f"{folder}: holds neither {' nor '.join(CONFIGS)}; name a folder that build_dataset made")
    for config in configs:
        for split in splits:
            name = f"{config}/{split}.parquet"
            if (folder / name).is_file():
                yield _Table(str(folder / name), name, split, read_parquet(folder / name, COLUMNS))
            elif split == "test":
                raise UserError(f"{folder / config}: no test.parquet, so there is nothing to ask; build it again")


def _hub_tables(repository: str, splits: tuple[str, ...]) -> Iterator[_Table]:
    try:
        configs = [config for config in CONFIGS if config in hub_configs(repository)]
    except UserError as error:
        raise UserError(f"no folder here, and on the Hub {error}") from None
    if not configs:
        raise UserError(f"{repository}: has no configuration {' or '.join(CONFIGS)}; name one that publish made")
    for config in configs:
        loaded, origin = load_hub(repository, config)
        if "test" not in loaded:
            raise UserError(f"{repository}: configuration {config} has no test split, so there is nothing to ask")
        for split in splits:
            if split in loaded:
                place = f"{repository}/{config}/{split}"
                check_columns(place, loaded[split].column_names, COLUMNS)
                yield _Table(place, f"{repository}@{origin['revision']}", split, list(loaded[split]))


def _by_task(table: _Table) -> dict[str, list[Located]]:
    tasks: dict[str, list[Located]] = {}
    for where, row in located(table.rows, table.origin):
        if not (isinstance(row["task"], str) and row["task"]):
            raise UserError(f"{table.place}: {where.rpartition(', ')[2]} names no task; build the data set again")
        task = RECENT if table.split == RECENT_SPLIT else row["task"]
        columns = {name: value for name, value in row.items() if name in Question.model_fields}
        tasks.setdefault(task, []).append((where, columns | {"task": task}))
    return tasks


def _whole_benchmark(folder: Path, task: str) -> Benchmark | None:
    """Which of the Hub's test splits a task of a built data set is, if none of its rows was dropped on the way."""
    if not (folder / STEP_FILE).is_file():
        return None
    record = read_step(folder)
    origin = record.figures.get("arc") or {}
    configs = [config for config in record.arguments.get("arc_configs", ()) if task_name(config) == task]
    if not (configs and origin.get("revision")):
        return None
    for entry in read_rejections(folder / REJECTED):
        too_long = entry.name.startswith(f"{task}/") and entry.stage == "length"
        if too_long or entry.name.startswith(f"{configs[0]}/test/"):
            return None
    return Benchmark(origin["repository"], configs[0], "test", origin["revision"])
