"""A small fake of the engine, and a page's state whose models are loaded without loading anything. Not a test."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from qa.engine import Aborted, Chunk
from qa.prompts import Message, PromptEncoder
from space.feedback import Feedback
from space.library import Library
from space.models import Models
from space.settings import Settings
from space.state import AppState
from space.visitors import Visitor, Visitors
from tests.space_world import questions

ENCODER = PromptEncoder(lambda text: list(text.encode()), 1001, 1002)
VISITOR = Visitor("session", "127.0.0.1")
PROMPT, READ = 40, 32  # tokens, as the fake says


@dataclass(eq=False)
class FakeGeneration:
    """What `FakeEngine.begin` gives: how far it is."""

    messages: Sequence[Message]
    settings: dict[str, Any]
    steps: int = 0
    interrupted: bool = False
    ended: bool = False


@dataclass(eq=False)
class FakeEngine:
    """Says its words one by one, for `parallel` callers at once; scores options by a function of the option's bytes."""

    words: tuple[str, ...] = ("Two ", "small ", "matrices.")
    score: Callable[[bytes], float] = len
    ending: str = "stop"
    error: Exception | None = None  # of a step, once words are written
    hangs: bool = False  # answering and scoring take until they are stopped
    encoder: PromptEncoder = ENCODER
    log: list[str] = field(default_factory=list)
    name: str = ""
    asked: list[tuple[list[int], list[list[int]]]] = field(default_factory=list)  # prompts and options, as ids
    begun: list[FakeGeneration] = field(default_factory=list)
    n_ctx: int = 1024
    parallel: int = 4
    open: bool = True

    def __post_init__(self) -> None:
        self._active: list[FakeGeneration] = []

    @property
    def free(self) -> int:
        return self.parallel - len(self._active)

    @property
    def busy(self) -> bool:
        return bool(self._active)

    def begin(self, messages: Sequence[Message], **settings: Any) -> FakeGeneration:
        self.log.append(f"asked {messages[-1]['content']} at {settings['temperature']}")
        generation = FakeGeneration(messages, settings)
        self._active.append(generation)
        self.begun.append(generation)
        return generation

    def step(self) -> list[tuple[FakeGeneration, Chunk]]:
        if self.hangs:
            time.sleep(0.001)
        return [(generation, self._serve(generation)) for generation in list(self._active)]

    def interrupt(self, generation: FakeGeneration) -> None:
        generation.interrupted = True

    def _serve(self, generation: FakeGeneration) -> Chunk:
        generation.steps += 1
        written = min(max(generation.steps - 2, 0), len(self.words))
        if generation.interrupted:
            return self._end(generation, Chunk("", "done", PROMPT, PROMPT, written, "cancelled"))
        if generation.steps == 1:
            return Chunk("", "reading", PROMPT, READ, 0)
        if generation.steps == 2:
            return Chunk("", "reading", PROMPT, PROMPT, 0)
        if self.error:
            raise self.error
        if generation.steps - 2 <= len(self.words):
            self.log.append(f"{self.name}{self.words[written - 1]}")
            return Chunk(self.words[written - 1], "writing", PROMPT, PROMPT, written)
        if self.hangs:
            return Chunk("", "writing", PROMPT, PROMPT, written)
        return self._end(generation, Chunk("", "done", PROMPT, PROMPT, written, self.ending))

    def _end(self, generation: FakeGeneration, chunk: Chunk) -> Chunk:
        self._active.remove(generation)
        generation.ended = True
        self.log.append("freed")
        return chunk

    def option_logprobs(
        self, prompt: list[int], options: list[list[int]], *, head: int, cancel: threading.Event
    ) -> list[float]:
        if self.hangs:
            assert cancel.wait(5), "nobody pressed Stop"
        if cancel.is_set():
            raise Aborted
        self.asked.append((prompt, options))
        return [float(self.score(bytes(option))) for option in options]

    def parse(self, text: str) -> list[int]:
        return self.encoder.tokenize(text)

    def close(self) -> None:
        self.open = False


def served(**engines: FakeEngine) -> AppState:
    """A page's state whose models are loaded, with a scheduler at work."""
    state = unloaded()
    state.models.engines |= {"tuned": FakeEngine(), "base": FakeEngine(), **engines}
    state.models._questions = questions()
    for role in state.models._parts:
        state.models._set(role, phase="ready")
    state.models.scheduler.start()
    return state


def unloaded(**environment: str) -> AppState:
    """A page's state before anything is loaded."""
    settings = Settings.read(environment)
    models = Models(settings)
    return AppState(models, Library(settings), Feedback(settings, models.credits), Visitors(per_address=settings.rate))
