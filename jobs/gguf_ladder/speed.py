"""Tokens per second of a file on this machine, beside those of the file that it was made from.

Both are timed in turn, in several rounds, so that what else the machine does falls on both; medians are kept, and the
ratio of each round's pair.
"""

from __future__ import annotations

import itertools
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from jobs.progress import bar
from qa.llama import Context
from qa.machine import cores

PROMPT, GENERATED = 128, 16  # tokens: read in one batch, then one at a time
ROUNDS = 5
SEQUENCE = 0
Rates = tuple[float, float]  # tokens per second: of a prompt, of generation


@dataclass(frozen=True)
class Speed:
    """Medians of tokens per second and of their ratios to the reference's, and the machine that they were taken on."""

    prompt: float
    generation: float
    prompt_ratio: float
    generation_ratio: float
    rounds: int
    machine: str


def measure_speed(reference: Context, other: Context, ids: Sequence[int], n_threads: int, what: str) -> Speed:
    """Time both on the same tokens, taken from `ids` again from the start where they are few; `what` heads the bar."""
    tokens = list(itertools.islice(itertools.cycle(ids), PROMPT + GENERATED))
    rounds: list[tuple[Rates, Rates]] = []
    with bar(ROUNDS + 1, what, unit="round", leave=False) as shown:
        for number in range(ROUNDS + 1):
            pair = _rates(reference, tokens), _rates(other, tokens)
            rounds += [pair] if number else []  # the first one warms the caches
            shown.update()
    prompt, generation = (median(ours[side] for _, ours in rounds) for side in (0, 1))
    ratios = (median(ours[side] / theirs[side] for theirs, ours in rounds) for side in (0, 1))
    return Speed(prompt, generation, *ratios, ROUNDS, machine_name(n_threads))


def _rates(context: Context, tokens: Sequence[int]) -> Rates:
    context.forget(SEQUENCE)
    begun = time.perf_counter()
    context.decode(tokens[:PROMPT], range(PROMPT), [SEQUENCE] * PROMPT, [PROMPT - 1])
    context.logits([PROMPT - 1])  # llama.cpp may return before it has computed; asking for the result waits for it
    read = time.perf_counter()
    for place in range(PROMPT, PROMPT + GENERATED):
        context.decode(tokens[place : place + 1], [place], [SEQUENCE], [0])
        context.logits([0])
    return PROMPT / (read - begun), GENERATED / (time.perf_counter() - read)


def machine_name(n_threads: int) -> str:
    """For example `2 threads of 2 cores, AMD EPYC 7B13`."""
    count = cores()
    return f"{n_threads} thread{'s' * (n_threads > 1)} of {count} core{'s' * (count > 1)}, {cpu_name()}"


def cpu_name() -> str:
    """The processor's name as Linux gives it, its architecture elsewhere."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
