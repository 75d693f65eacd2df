"""Are a file's weights faster repacked on this machine? Measured when it starts, since processors differ.

Weights of a 3B (Q4_K_M, two threads) laid out anew for wide instructions were 1.3 GB larger, and 24 % slower at prompts
on two cores of an AMD EPYC with AVX2, but faster at generation on two with AVX-512; so a few tokens are timed each way,
one model in memory at a time.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from qa.llama import Context, Model
from qa.llama_model import SMALL_FILE
from qa.machine import free_memory

PIECE = 64  # tokens of a prompt that are timed together, as the engine reads them: 16 were a third as fast, and misled
BUDGET = 0.75  # seconds of timing prompts, and again of generation, each way: 3 s in all where 64 take no longer
AT_LEAST = 3  # generated tokens, however slow the machine
PROMPT, ANSWER = 64, 96  # tokens of a short question and an ordinary answer, for weighing the one against the other
BUSY = 40.0  # seconds for both, beyond which the machine is slow or busy: 3 tokens of the other way would say little
GAIN = 0.95  # of the seconds, at most, for which repacking is worth its slower start
SEQUENCE = 0


@dataclass(frozen=True)
class Speeds:
    """Tokens per second."""

    prompt: float
    generation: float

    @property
    def seconds(self) -> float:
        """For a short question and an ordinary answer."""
        return PROMPT / self.prompt + ANSWER / self.generation


@dataclass(frozen=True)
class Choice:
    """Whether to repack, what was measured (None: it was not), and the seconds it took with loading."""

    repack: bool
    plain: Speeds | None
    repacked: Speeds | None
    seconds: float


def choose(path: Path, *, n_threads: int) -> Choice:
    """Time the file both ways; plain where it is small, memory short or the machine busy. Raises `ModelFileError`."""
    size = path.stat().st_size
    if size < SMALL_FILE or free_memory() < 2 * size:
        return Choice(False, None, None, 0.0)
    begun = time.perf_counter()
    plain = measure(path, n_threads=n_threads, repack=False)
    if plain.seconds > BUSY:
        return Choice(False, plain, None, time.perf_counter() - begun)
    repacked = measure(path, n_threads=n_threads, repack=True)
    return Choice(repacked.seconds <= GAIN * plain.seconds, plain, repacked, time.perf_counter() - begun)


def measure(path: Path, *, n_threads: int, repack: bool) -> Speeds:
    """Load the file, time it and free it. Raises `ModelFileError`."""
    with closing(Model(path, repack=repack)) as model, closing(Context(model, 256, n_threads, slots=1)) as context:
        _seconds(context, 1)  # the first computation fetches the weights
        return Speeds(PIECE / _typical_seconds(context, PIECE, at_least=1), 1 / _typical_seconds(context, 1, AT_LEAST))


def _typical_seconds(context: Context, count: int, at_least: int) -> float:
    """The median of computing so many tokens, as often as BUDGET lasts: one that was disturbed does not count."""
    times: list[float] = []
    while len(times) < at_least or sum(times) < BUDGET:
        times.append(_seconds(context, count))
    return median(times)


def _seconds(context: Context, count: int) -> float:
    begun = time.perf_counter()
    context.forget(SEQUENCE)
    tokens = [(1000 + 7 * place) % context.model.size for place in range(count)]
    context.decode(tokens, range(count), [SEQUENCE] * count, [count - 1])
    context.likeliest(count - 1)  # llama.cpp may return before it has computed; asking for the result waits for it
    return time.perf_counter() - begun
