"""Many visitors, one file, two cores: our engine and scheduler beside llama-bench and llama-server, in one run.

First a visitor alone beside llama-bench; then 1, 2, 4 and 8 visitors at once, served by us four at a time and by turns,
and by llama-server with 1 and 4 slots. All sides read the same file with the same threads, and take turns in beginning;
weights are repacked or not on all sides as the probe at start-up finds it faster here. Ours is called in this process,
llama-server over HTTP on loopback, which is a thousandth of an answer of the 3B and more of the tiny model's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from benchmarks import serve_one_stream as one_stream
from benchmarks.export_against_llama_cpp import TOKENIZER, folder
from benchmarks.serve_interruption import waits
from benchmarks.serve_model import SHAPES, model_file
from benchmarks.serve_report import answer, crowds, memory, page, stops, streams
from benchmarks.serve_sides import llama_server, our_side
from benchmarks.serve_visitors import Ask, Crowd, crowd
from benchmarks.serve_whole_page import both_models, start_of_the_page
from jobs.gguf_ladder.speed import cpu_name
from qa.engine import threads_for
from qa.repack_probe import Choice, choose

ROUNDS = 3
VISITORS = (1, 2, 4, 8)
Side = Callable[[], AbstractContextManager[Ask]]


@dataclass(frozen=True)
class Setting:
    """One file, and how it is served on all sides."""

    name: str
    path: Path
    repack: bool
    threads: int

    @property
    def sides(self) -> dict[str, Side]:
        """Who serves the visitors."""
        options = {"repack": self.repack, "threads": self.threads}
        return {
            "ours, 4 at once": lambda: our_side(self.path, 4, **options),
            "ours, by turns": lambda: our_side(self.path, 1, **options),
            "llama-server, 4 slots": lambda: llama_server(self.path, 4, **options),
            "llama-server, 1 slot": lambda: llama_server(self.path, 1, **options),
        }


def main(*, tokenizer: str = TOKENIZER, rounds: int = ROUNDS, keep: Path | None = None) -> None:
    """Make the files, let every side serve them and print the tables."""
    console = Console()
    console.print(
        f"serving: ours beside llama-bench and llama-server, rounds: {rounds}\n{os.cpu_count()} cores of {cpu_name()}; "
        f"llama-cpp-python {version('llama-cpp-python')}, gradio {version('gradio')}",
        highlight=False,
        soft_wrap=True,
    )
    with folder(keep) as home:
        for name in SHAPES:
            path = model_file(name, home, tokenizer)
            threads = threads_for(path)
            found = choose(path, n_threads=threads)
            _serve(console, Setting(name, path, found.repack, threads), found, rounds)
        _print(console, page(start_of_the_page(model_file("3B", home, tokenizer))))


def _serve(console: Console, setting: Setting, found: Choice, rounds: int) -> None:
    _print(console, f"\n{setting.name}, {setting.path.stat().st_size / 1e9:.2f} GB, threads: {setting.threads}")
    _print(console, answer(found))
    _print(console, streams({repack: _alone(setting, repack, rounds) for repack in (False, True)}))
    _print(console, crowds([_crowds(console, setting, number) for number in range(rounds)]))
    options = {"repack": setting.repack, "threads": setting.threads}
    _print(console, stops(waits(setting.path, **options)))
    _print(console, memory(both_models(setting.path, **options)))


def _alone(setting: Setting, repack: bool, rounds: int) -> dict[str, list[one_stream.Speeds]]:
    """Speeds of one visitor on both sides, who take turns in beginning."""
    options = {"repack": repack, "threads": setting.threads}
    sides = {"ours": one_stream.ours, "llama-bench": one_stream.llama_bench}
    found: dict[str, list[one_stream.Speeds]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sorted(sides, reverse=bool(number % 2)):
            found[side].append(sides[side](setting.path, **options))
    return found


def _crowds(console: Console, setting: Setting, number: int) -> dict[str, list[Crowd]]:
    """What each number of visitors got from each side, in one round."""
    sides = setting.sides
    found: dict[str, list[Crowd]] = {}
    for side in sorted(sides, reverse=bool(number % 2)):
        console.print(f"round {number + 1}: {side}")
        with sides[side]() as ask:
            crowd(ask, 1, "warm-up", questions=1)  # every weight is in memory, and the common beginning is kept
            found[side] = [crowd(ask, visitors, str(number)) for visitors in VISITORS]
    return found


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)
