"""Are a file's weights faster repacked on this machine? Measured when it starts, since processors differ.

Weights laid out anew for wide instructions were 24 % slower at prompts and 1.3 GB larger on AVX2, and faster at
generation on AVX-512; so a few tokens are timed each way, one model in memory at a time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from qa.llama import Context, Model
from qa.llama_model import SMALL_FILE

WARM, PROMPT, GENERATED = 8, 64, 6  # tokens: 2 s both ways for a 3B on two cores, loading apart
ANSWER = 96  # tokens of an ordinary answer, for weighing prompt against generation
BUSY = (
    40.0  # seconds for PROMPT and ANSWER tokens, beyond which the processor is slow or busy and timing it says little
)
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
    """Whether to repack, what was measured (None: it was not), and the seconds that measuring took."""

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
        _read(context, 0, WARM)  # the first computation fetches the weights
        context.forget(SEQUENCE)
        prompt = _timed(lambda: _read(context, 0, PROMPT))
        generation = _timed(lambda: [_read(context, PROMPT + place, 1) for place in range(GENERATED)])
    return Speeds(PROMPT / prompt, GENERATED / generation)


def _read(context: Context, start: int, count: int) -> None:
    tokens = [(1000 + 7 * place) % context.model.size for place in range(start, start + count)]
    context.decode(tokens, range(start, start + count), [SEQUENCE] * count, [count - 1])
    context.logits([count - 1])  # llama.cpp may return before it has computed; asking for the result waits for it


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def free_memory() -> int:
    """Bytes that Linux could give out; unlimited where it does not say."""
    told = Path("/proc/meminfo")
    found = re.search(r"MemAvailable:\s+(\d+) kB", told.read_text(encoding="utf-8")) if told.exists() else None
    return int(found[1]) * 1024 if found else 1 << 62
