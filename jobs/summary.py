"""What the loop says on the terminal: a line as each step ends, and one table that closes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jobs.rejections import FILE
from jobs.step import StepRecord
from qa.statistics import verdict_among

ARTEFACTS = {
    "base": "base",
    "adapter": "fine-tuned (adapter)",
    "merged": "fine-tuned (merged)",
    "gguf": "fine-tuned (Q4)",
}
LEFT_OUT = {"collect": "rejected", "write_questions": "rejected", "build_dataset": "dropped"}  # figure, by step
COLUMNS = {"base": "base", "adapter": "adapter", "merged": "merged", "gguf": "Q4"}


def announce(name: str, folder: Path, record: StepRecord, new: bool) -> None:
    """One line a step: what it made, how long it took or that it was done already, and where the refused stand."""
    how = f"{record.seconds:.0f} s" if new else "done already"
    where = f" ({folder / FILE})" if _left_out(record) else ""
    Console(soft_wrap=True).print(
        f"[bold]{name}[/bold] → {escape(f'{folder} ({how}): {describe(record)}{where}')}", highlight=False
    )


def describe(record: StepRecord) -> str:
    """What a step made, in a few words, from its figures."""
    known = record.figures
    words = {
        "collect": lambda: f"{known['passages']:,} passages of {known['documents']:,} documents",
        "build_index": lambda: f"{known['passages']:,} passages, {known['vocabulary']:,} words",
        "write_questions": lambda: f"{known['questions']:,} questions",
        "pretrain": lambda: f"{known['parameters']:,} parameters, loss {known['loss_last']:.2f}",
        "build_dataset": lambda: "rows " + ", ".join(f"{split} {n:,}" for split, n in _rows(known).items()),
        "train": lambda: f"{known['steps']:,} steps, validation loss {known['best']['loss']:.3f}",
        "merge": lambda: f"{known['merged_tensors']} of {known['tensors']} tensors merged",
        "export": lambda: _exported(known),
        "export_adapter": lambda: f"{known['tensors']} tensors, {known['bytes'] / 1e6:.1f} MB",
        "ladder": lambda: _measured(known["kld"]),
        "answer_examples": lambda: f"{known['answered']} of {known['questions']} example questions answered",
        "evaluate": lambda: _evaluated(known),
        "publish": lambda: f"{len(known['published'])} repositories",
    }
    refused = _left_out(record)
    return words[record.step]() + (f", {refused:,} rejected" if refused else "")


def _left_out(record: StepRecord) -> int:
    """How many rows of `rejected.parquet` the step wrote; 0 where it writes none."""
    return record.figures[LEFT_OUT[record.step]] if record.step in LEFT_OUT else 0


def _exported(figures: dict[str, Any]) -> str:
    words = ", ".join(f"{kind} {size / 1e6:.1f} MB" for kind, size in figures["bytes"].items())
    return f"{words}; {'verified' if figures['verified'] else 'not verified, for want of a data set'}"


def _measured(divergences: dict[str, float]) -> str:
    return "KL divergence " + ", ".join(f"{name} {value:.4f}" for name, value in divergences.items() if value)


def _evaluated(figures: dict[str, Any]) -> str:
    words = f"{len(figures['order'])} models on {figures['choice_questions'] + figures['open_questions']:,} questions"
    if lost := sum(figures["left_out"].values()) + sum(figures["skipped"].values()):
        words += f"; {lost} could not be asked"
    if warnings := len(figures["warnings"]):
        words += f"; {warnings} sign{'s' * (warnings > 1)} of something broken (report.md lists them)"
    return words


def _rows(figures: dict[str, Any]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for splits in figures["rows"].values():
        for split, count in splits.items():
            totals[split] = totals.get(split, 0) + count
    return {split: totals[split] for split in ("train", "validation", "test")}


def print_summary(steps: Sequence[tuple[str, StepRecord, bool]], run: Path) -> None:
    """The closing table: step, seconds, what was made; then the accuracy of every artefact side by side."""
    console = Console()
    table = Table(title=escape(str(run)), title_justify="left", box=None, pad_edge=False)
    table.add_column("step")
    table.add_column("seconds", justify="right")
    table.add_column("what was made")
    for name, record, _ in steps:
        table.add_row(name, f"{record.seconds:.1f}", escape(describe(record)))
    table.add_row("all", f"{sum(record.seconds for _, record, _ in steps):.1f}", "")
    console.print(table)
    metrics = run / "evaluation" / "metrics.json"
    if metrics.is_file():
        measured = json.loads(metrics.read_text(encoding="utf-8"))
        console.print()
        console.print(accuracy_table(measured))
        console.print()
        for line in verdicts(measured):
            console.print(escape(line), highlight=False)


def verdicts(metrics: dict[str, Any]) -> list[str]:
    """The sentence of each artefact against the base: on the headline questions, and wherever a difference shows."""
    headline = metrics["headline"]
    return [
        f"{ARTEFACTS.get(entry['model'], entry['model'])} against base, {entry['task']}, {entry['formulation']}, "
        f"{entry['metric']}: {verdict_among(entry['verdict'], entry['p_holm'], len(metrics['comparisons']))}"
        for entry in metrics["comparisons"]
        if all(entry[key] == headline[key] for key in headline) or entry["verdict"].startswith(("better", "worse"))
    ]


def accuracy_table(metrics: dict[str, Any]) -> Table:
    """Accuracy with its 95 % interval in percent, one row a task and formulation, one column an artefact."""
    table = Table(title="accuracy in percent (95 % interval)", title_justify="left", box=None, pad_edge=False)
    table.add_column("questions, prompt, metric")
    table.add_column("n", justify="right")
    models = [model for model in ARTEFACTS if model in metrics["models"]]
    for model in models:
        table.add_column(COLUMNS[model], justify="right", no_wrap=True)
    rows: dict[tuple[str, str, str, int], dict[str, str]] = {}
    for model in models:
        for entry in metrics["models"][model]["results"]:
            key = (entry["task"], entry["formulation"], entry["metric"], entry["n"])
            shown = f"{100 * entry['value']:.1f} ({100 * entry['low']:.0f}–{100 * entry['high']:.0f})"
            rows.setdefault(key, {})[model] = shown
    for (task, formulation, metric, n), cells in rows.items():
        table.add_row(escape(f"{task}, {formulation}, {metric}"), str(n), *(cells.get(model, "–") for model in models))
    return table
