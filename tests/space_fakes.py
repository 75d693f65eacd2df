"""A small fake of the engine, and models that are loaded without loading anything. Not a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from qa.engine import Aborted, Chunk, PromptTooLong
from qa.prompts import PromptEncoder
from space.models import Models
from space.settings import Settings
from tests.space_world import questions

ENCODER = PromptEncoder(lambda text: list(text.encode()), 1001, 1002)


@dataclass
class FakeEngine:
    """Says its words one by one; scores options by a function of the option's bytes."""

    words: tuple[str, ...] = ("Two ", "small ", "matrices.")
    score: Callable[[bytes], float] = len
    ending: str = "stop"
    error: Exception | None = None
    busy: bool = False  # scoring takes until it is stopped
    encoder: PromptEncoder = ENCODER
    log: list[str] = field(default_factory=list)
    name: str = ""
    asked: list[tuple[list[int], list[list[int]]]] = field(default_factory=list)  # prompts and options, as ids

    def stream(
        self, messages: list, *, max_tokens: int, temperature: float, cancel: threading.Event
    ) -> Iterator[Chunk]:
        self.log.append(f"asked {messages[-1]['content']} at {temperature}")
        if isinstance(self.error, PromptTooLong):
            raise self.error
        return self._chunks(cancel)

    def _chunks(self, cancel: threading.Event) -> Iterator[Chunk]:
        try:
            yield Chunk("", "reading", 40, 0, 0)
            yield Chunk("", "reading", 40, 32, 0)
            for count, word in enumerate(self.words, start=1):
                if cancel.is_set():
                    yield Chunk("", "done", 40, 40, count - 1, "cancelled")
                    return
                if self.error:
                    raise self.error
                self.log.append(f"{self.name}{word}")
                yield Chunk(word, "writing", 40, 40, count)
            yield Chunk("", "done", 40, 40, len(self.words), self.ending)
        finally:
            self.log.append("freed")

    def option_logprobs(
        self, prompt: list[int], options: list[list[int]], *, head: int, cancel: threading.Event
    ) -> list[float]:
        if self.busy:
            assert cancel.wait(5), "nobody pressed Stop"
        if cancel.is_set():
            raise Aborted
        self.asked.append((prompt, options))
        return [float(self.score(bytes(option))) for option in options]


def served(**engines: FakeEngine) -> Models:
    """Models that are loaded, without loading anything."""
    models = Models(Settings.read({}))
    models.engines = {"tuned": FakeEngine(), "base": FakeEngine(), **engines}
    models._questions = questions()
    for role in models._parts:
        models._set(role, phase="ready")
    return models
