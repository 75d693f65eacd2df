"""What an evaluation leaves beside its figures: a row for each answer, the picture, and the lines on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.evaluation_rows import TestRows
from jobs.step import StepRecord
from qa.records import Answer


def write_items(path: Path, answers: Sequence[Answer]) -> None:
    """One row for each question, model and formulation, as Parquet."""
    import pyarrow
    import pyarrow.parquet

    text, number = pyarrow.string(), pyarrow.float64()
    kinds = {"option_logprobs": pyarrow.list_(number), "correct": pyarrow.bool_(), "seconds": number}
    schema = pyarrow.schema([(name, kinds.get(name, text)) for name in Answer.model_fields])
    table = pyarrow.Table.from_pylist([answer.model_dump() for answer in answers], schema=schema)
    pyarrow.parquet.write_table(table, path, compression="zstd")


def plot(path: Path, metrics: dict[str, Any], rows: TestRows) -> None:
    """The picture, with the line of chance from the numbers of options."""
    from jobs.report_plots import plot_accuracy

    shares: dict[str, list[float]] = {}
    for question in rows.choice:
        shares.setdefault(question.task, []).append(1 / len(question.choices))
    plot_accuracy(metrics, {task: sum(parts) / len(parts) for task, parts in shares.items()}, path)


def print_report(record: StepRecord, out: Path, new: bool) -> None:
    """The headline of each model, and the first sign that something is broken."""
    figures, first = record.figures, record.figures["headline"]
    print(f"{out}: {first['task']}, {first['formulation']}, {first['metric']}", "" if new else "(was done)")
    for name in figures["order"]:
        line = figures["models"][name]
        interval = f"{line['value']:6.1%}  (95 % {line['low']:.1%} to {line['high']:.1%}, n = {line['n']})"
        print(f"  {name:<12} {interval}  {figures['verdicts'].get(name, '')}".rstrip())
    if faults := figures["warnings"]:
        more = f" (and {len(faults) - 1} more in {out / 'metrics.json'})" if faults[1:] else ""
        print(f"this looks broken, not bad: {faults[0]}{more}")
