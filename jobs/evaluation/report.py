"""What an evaluation leaves beside its figures: a row for each answer, pictures, a page, and lines on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.evaluation.groups import chance
from jobs.evaluation.report_markdown import PICTURES, Rows, render_report
from jobs.step import StepRecord
from qa.records import Answer

if TYPE_CHECKING:
    from jobs.evaluation.tasks import Task

REPORT = "report.md"


def write_items(path: Path, answers: Sequence[Answer]) -> None:
    """One row for each question, model and formulation, as Parquet."""
    import pyarrow
    import pyarrow.parquet

    text, number = pyarrow.string(), pyarrow.float64()
    kinds = {"option_logprobs": pyarrow.list_(number), "sources": pyarrow.list_(text)}
    kinds |= {"correct": pyarrow.bool_(), "seconds": number}
    schema = pyarrow.schema([(name, kinds.get(name, text)) for name in Answer.model_fields])
    table = pyarrow.Table.from_pylist([answer.model_dump() for answer in answers], schema=schema)
    pyarrow.parquet.write_table(table, path, compression="zstd")


def plot(folder: Path, metrics: dict[str, Any], tasks: Sequence[Task]) -> None:
    """Draw accuracy.png; flips.png where models are compared; reliability.png where options were asked by letter."""
    from jobs.evaluation.report_flips import plot_flips
    from jobs.evaluation.report_plots import plot_accuracy
    from jobs.evaluation.report_reliability import plot_reliability

    accuracy, flips, reliability = (folder / name for name in PICTURES)
    plot_accuracy(metrics, {task.name: chance(task.choice) for task in tasks if task.choice}, accuracy)
    if metrics["comparisons"]:
        plot_flips(metrics, flips)
    if metrics["calibration"]:
        plot_reliability(metrics, reliability)


def write_report(
    folder: Path, metrics: dict[str, Any], answers: Rows, tasks: Sequence[Task], about: dict[str, Any]
) -> None:
    """Write `report.md` beside the pictures that are there."""
    pictures = [name for name in PICTURES if (folder / name).is_file()]
    (folder / REPORT).write_text(render_report(metrics, answers, tasks, about, pictures), encoding="utf-8")


def print_report(record: StepRecord, out: Path, new: bool) -> None:
    """The headline of each model, the first sign that something is broken, and where all of it can be read."""
    figures, first = record.figures, record.figures["headline"]
    print(f"{out}: {first['task']}, {first['formulation']}, {first['metric']}", "" if new else "(was done)")
    for name in figures["order"]:
        if line := figures["models"].get(name):
            interval = f"{line['value']:6.1%}  (95 % {line['low']:.1%} to {line['high']:.1%}, n = {line['n']})"
            print(f"  {name:<12} {interval}  {figures['verdicts'].get(name, '')}".rstrip())
    for task, count in figures["left_out"].items():
        print(f"not asked: {count} rows of {task}; the report names them")
    for model, count in figures["skipped"].items():
        print(f"not asked of {model}: {count} prompts longer than it reads; the report names them")
    if faults := figures["warnings"]:
        more = f" (and {len(faults) - 1} more)" if faults[1:] else ""
        print(f"this looks broken, not bad: {faults[0]}{more}")
    print(f"all of it: {out / REPORT}")
