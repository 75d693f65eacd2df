"""Many answers at once: each has a slot of one context, and every step computes for those whose turn it is.

A prompt is read in chunks, and between two chunks everybody who writes gets a token: a long question delays the others
by one chunk at most. A slot keeps what it computed until another answer needs it; a prompt begins with the longest
beginning that any slot holds, so that a system prompt, and a conversation's past, are read once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from qa.generation import Chunk, Generation
from qa.llama import SLOT_BATCH, Aborted, Context
from qa.prompt_cache import common_length

CHUNK = 64  # tokens of a prompt at least: fewer at once took 300 µs a token, not 38 (tiny model, AMD EPYC with AVX-512)
CHUNK_SECONDS = 1.5  # that others wait at most, where the processor reads faster than CHUNK in that time

News = list[tuple[Generation, Chunk]]


@dataclass
class Slot:
    """A sequence of the context, the tokens it holds, and the answer it is written for."""

    sequence: int
    past: list[int] = field(default_factory=list)
    generation: Generation | None = None
    used: int = 0  # number of the last answer begun in it


class Slots:
    """`begin` and `step` for one thread; `interrupt` for any."""

    def __init__(self, context: Context, count: int) -> None:
        self._context = context
        self._slots = [Slot(sequence) for sequence in range(count)]
        self._begun = 0
        self._chunk, self._read_last = CHUNK, False
        self._served: list[Generation] = []  # by the computation under way
        self._serving = threading.Lock()  # held where `_served` or an interruption changes

    @property
    def busy(self) -> bool:
        """Whether an answer is under way."""
        return any(slot.generation for slot in self._slots)

    @property
    def free(self) -> int:
        """How many more answers can begin."""
        return sum(slot.generation is None for slot in self._slots)

    def begin(self, generation: Generation) -> None:
        """Take one of the free slots for the answer."""
        free = [slot for slot in self._slots if slot.generation is None]
        prompt = generation.prompt[:-1]  # the last token's logits are wanted, so that it is computed in any case
        source = max(self._slots, key=lambda slot: (common_length(slot.past, prompt), slot.generation is None))
        known = common_length(source.past, prompt)
        own = known == len(prompt) or known >= 0.9 * len(source.past)  # asked again, or on; else another may ask on
        continued = source.generation is None and own
        slot = source if continued else min(free, key=lambda slot: slot.used)
        if slot is not source:
            self._context.share(source.sequence, slot.sequence, known)
        self._context.forget(slot.sequence, known)
        self._begun += 1
        slot.past, slot.generation, slot.used = prompt[:known], generation, self._begun

    def step(self) -> News:
        """One computation: a chunk of the prompt that waits longest, or a token for everybody who writes."""
        active = sorted((slot for slot in self._slots if slot.generation), key=lambda slot: slot.used)
        if stopped := [(slot, -1) for slot in active if slot.generation.interrupted]:
            return self._told(stopped)
        readers = [slot for slot in active if slot.generation.left(len(slot.past)) > 1]
        writers = [slot for slot in active if slot not in readers]
        self._read_last = bool(readers) and not (writers and self._read_last)
        if self._read_last:
            return self._read(readers[0])
        return self._write(writers) if writers else []

    def interrupt(self, generation: Generation) -> None:
        """End the answer; the computation too, where it serves nobody else."""
        with self._serving:
            generation.interrupted = True
            if self._served and all(served.interrupted for served in self._served):
                self._context.abort()

    def close(self) -> None:
        """Free the memory; answers under way end unfinished. Safe to repeat."""
        for slot in self._slots:
            if slot.generation:
                self._leave(slot)
        self._context.close()

    def _read(self, slot: Slot) -> News:
        generation, known = slot.generation, len(slot.past)
        left = generation.left(known)
        most = left if left <= self._chunk else min(self._chunk, max(left - CHUNK, CHUNK))  # so that CHUNK are left
        tokens, last = generation.pending(known, most), most == left
        begun = time.perf_counter()
        self._compute([slot], [tokens], [len(tokens) - 1] if last else [])
        if len(slot.past) - known >= CHUNK:
            rate = len(tokens) / (time.perf_counter() - begun)
            self._chunk = min(max(int(rate * CHUNK_SECONDS) // CHUNK * CHUNK, CHUNK), SLOT_BATCH)
        if last or generation.interrupted:
            return self._told([(slot, -1)])
        return [(generation, generation.reading(len(slot.past)))]

    def _write(self, writers: list[Slot]) -> News:
        parts = [slot.generation.pending(len(slot.past), 1) for slot in writers]
        self._compute(writers, parts, range(len(writers)))
        return self._told([(slot, index) for index, slot in enumerate(writers)])

    def _told(self, slots: Sequence[tuple[Slot, int]]) -> News:
        """A token more for each, drawn from the logits at its index, or the end of those that were interrupted."""
        news: News = []
        for slot, index in slots:
            generation = slot.generation
            stopped = generation.interrupted
            chunk = generation.cancelled(len(slot.past)) if stopped else generation.draw(self._context, index)
            news.append((generation, chunk))
            if chunk.finish:
                self._leave(slot)
        return news

    def _compute(self, slots: Sequence[Slot], parts: Sequence[list[int]], wanted: Sequence[int]) -> None:
        """Put each slot's part behind its past; none of it where that is aborted. Where it fails the answers end."""
        places = [
            (token, len(slot.past) + offset, slot.sequence)
            for slot, part in zip(slots, parts, strict=True)
            for offset, token in enumerate(part)
        ]
        try:
            with self._abortable([slot.generation for slot in slots]):
                self._context.decode(*zip(*places, strict=True), wanted)
        except Aborted:
            self._rewind(slots)
        except RuntimeError:
            self._rewind(slots)
            for slot in slots:
                self._leave(slot)
            raise
        else:
            for slot, part in zip(slots, parts, strict=True):
                slot.past += part

    @contextmanager
    def _abortable(self, generations: list[Generation]) -> Iterator[None]:
        """Within it, `interrupt` of all of them stops the computation."""
        with self._serving:
            self._served = generations
            if all(generation.interrupted for generation in generations):
                self._context.abort()
        try:
            yield
        finally:
            with self._serving:
                self._served = []
                self._context.allow()

    def _rewind(self, slots: Sequence[Slot]) -> None:
        for slot in slots:
            self._context.forget(slot.sequence, len(slot.past))

    @staticmethod
    def _leave(slot: Slot) -> None:
        slot.generation.close()
        slot.generation = None
