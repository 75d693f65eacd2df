"""The steps that prepare data: collecting with one process and two, n-gram decontamination, and MinHash.

Beside ours stand a plain scan in Python for the n-grams and datasketch for MinHash. Every side works in a process of
its own, in turn, on the same task. Texts for the last two are made from the collected passages, with a fixed seed.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.data_material import Chain, CopyTask, DocumentTask, NearTask, copy_documents, copy_task, near_task
from benchmarks.data_sides import Taken
from benchmarks.paired import measure
from jobs.gguf_ladder.speed import cpu_name
from qa.records import Record

ARTICLES = Path(__file__).parents[1] / "jobs" / "sample" / "articles"
COPIES = 24  # of each sample article
ITEMS, ROWS, ROW_WORDS = 2000, 2000, 500  # test items: about 42,000 n-grams; a million words of rows
TEXTS, CHANGED, TEXT_WORDS = 8000, 1000, 110
ROUNDS = 2
TAKE = "import sys; from benchmarks.data_sides import take; take(*sys.argv[1:])"
Sides = Mapping[str, tuple[str, Record]]  # name in the table → function of `data_sides`, and its task
Rounds = list[dict[str, Taken]]


def main(*, documents: Path | None = None, rounds: int = ROUNDS) -> dict[str, Rounds]:
    """Run all three and print their tables. Ends with exit code 1 where two sides that should agree do not."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="footnote-bench-") as folder:
        home = Path(folder)
        source = documents or home / "documents"
        if documents is None:
            copy_documents(ARTICLES, source, COPIES)
        found = {"collect": collect(source, home, rounds, console)}
        chain = Chain(passages(home / "out-1"))
        copies, near = copy_task(chain, ITEMS, ROWS, ROW_WORDS), near_task(chain, TEXTS, CHANGED, TEXT_WORDS)
        sides = {"plain scan": "plain_scan", "ours": "coverage", "ours, all methods": "all_methods"}
        found["copies"] = run({name: (side, copies) for name, side in sides.items()}, home, rounds, console)
        sides = {"datasketch": "with_datasketch", "rensa": "with_rensa"}
        found["near"] = run({name: (side, near) for name, side in sides.items()}, home, rounds, console)
    show(found, copies, near)
    if wrong := disagreement(found, copies):
        raise SystemExit(f"data: {wrong}")
    return found


def show(found: Mapping[str, Rounds], copies: CopyTask, near: NearTask) -> None:
    """Print the machine and the three tables."""
    console = Console(width=max(Console().width, 120))  # a log has no width of its own
    console.print(f"\n{os.cpu_count()} cores of {cpu_name()}; rounds: {len(found['near'])}")
    for shown in (
        collect_table(found["collect"]),
        copy_table(found["copies"], copies),
        near_table(found["near"], near),
    ):
        console.print(shown)


def collect(source: Path, home: Path, rounds: int, console: Console) -> Rounds:
    """The same folder with one worker and two, each time from nothing."""
    found = []
    for number in range(1, rounds + 1):
        one = {}
        for workers in (1, 2):
            out = home / f"out-{workers}"
            shutil.rmtree(out, ignore_errors=True)
            console.print(f"round {number} of {rounds}: collecting, workers: {workers}")
            one[str(workers)] = take("collecting", DocumentTask(folder=str(source), out=str(out), workers=workers))
        found.append(one)
    return found


def passages(out: Path) -> list[str]:
    """The texts of the passages that were collected."""
    with (out / "passages.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]


def run(sides: Sides, home: Path, rounds: int, console: Console) -> Rounds:
    """Every side in turn, in each round."""
    found = []
    for number in range(1, rounds + 1):
        console.print(f"round {number} of {rounds}: {', '.join(sides)}")
        found.append({name: take(side, task) for name, (side, task) in sides.items()})
    return found


def take(side: str, task: Record) -> Taken:
    """Let one side do a task in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "task.json", Path(folder) / "taken.json"
        asked.write_text(task.model_dump_json())
        measure(TAKE, side, str(asked), str(answered))
        return Taken.model_validate_json(answered.read_text())


def disagreement(found: Mapping[str, Rounds], copies: CopyTask) -> str:
    """Where two sides differ that should not, in one line; empty where none does."""
    collected = {taken.digest for one in found["collect"] for taken in one.values()}
    wrong = ["collecting gave different bytes"] if len(collected) > 1 else []
    for one in found["copies"]:
        for name in ("ours", "ours, all methods"):
            if missed := {*copies.planted, *one["plain scan"].found} - {*one[name].found}:
                wrong.append(f"{name}: {len(missed)} copies missed")
    return "; ".join(wrong)


def collect_table(rounds: Rounds) -> Table:
    """One row for each number of workers."""
    passages = rounds[0]["1"].done
    shown = _table(
        f"collecting: {passages} passages", "workers", "passages/s", "passages/CPU s", "1 worker's time / this"
    )
    for name in rounds[0]:
        rates = (_rate(rounds, name, "wall", "collect"), _rate(rounds, name, "cpu", "collect"))
        shown.add_row(name, *(f"{rate:.1f}" for rate in rates), _ratio(rounds, "1", name, "wall"))
    return shown


def copy_table(rounds: Rounds, task: CopyTask) -> Table:
    """One row for each way to find copies."""
    title = f"{task.ngram}-gram decontamination: {len(task.items)} test items, {rounds[0]['ours'].done:,} words of rows"
    shown = _table(title, "", "million words/CPU s", "plain scan's time / this", "planted found", "others found")
    for name in rounds[0]:
        rate = _rate(rounds, name, "cpu", "scan") / 1e6
        found = _found(rounds[0][name].found, task.planted)
        shown.add_row(name, f"{rate:.2f}", _ratio(rounds, "plain scan", name, "cpu"), *found)
    return shown


def near_table(rounds: Rounds, task: NearTask) -> Table:
    """One row for each library."""
    packages = ", ".join(f"{name} {version(name)}" for name in rounds[0])
    shown = _table(
        f"MinHash: {rounds[0]['rensa'].done} sets of up to {TEXT_WORDS - 4} shingles; {packages}",
        *("", "signatures, CPU s", "index, CPU s", "datasketch's time / this", "planted found", "others named"),
    )
    planted = [f"{number} {number}" for number in range(len(task.changed))]
    for name in rounds[0]:
        parts = (statistics.median(one[name].cpu[part] for one in rounds) for part in ("signatures", "index"))
        found = _found(rounds[0][name].found, planted)
        shown.add_row(name, *(f"{part:.2f}" for part in parts), _ratio(rounds, "datasketch", name, "cpu"), *found)
    return shown


def _table(title: str, *columns: str) -> Table:
    shown = Table(title=f"\n{title}", title_justify="left", box=None)
    for number, column in enumerate(columns):
        shown.add_column(column, justify="right" if number else "left", no_wrap=True)
    return shown


def _rate(rounds: Rounds, name: str, clock: str, part: str) -> float:
    """Things done a second; the median of the rounds."""
    return statistics.median(one[name].done / getattr(one[name], clock)[part] for one in rounds)


def _ratio(rounds: Rounds, first: str, name: str, clock: str) -> str:
    """How much longer the first takes than this one: the median of the rounds, the lowest and the highest."""
    sums = [[sum(getattr(one[side], clock).values()) for side in (first, name)] for one in rounds]
    ratios = [theirs / ours for theirs, ours in sums]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def _found(found: Sequence[str], planted: Sequence[str]) -> tuple[str, str]:
    both = {*found} & {*planted}
    return f"{len(both)} of {len(planted)}", str(len({*found} - both))
