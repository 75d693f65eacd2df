"""A fake engine whose steps the test lets through, and a clock that it moves. Not a test."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from qa.ask_settings import AskSettings
from qa.engine import Chunk
from qa.job import Job, News
from qa.prompts import Message, PromptEncoder
from qa.scheduler import Limits, Part, Scheduler

PATIENCE = 20.0  # seconds until a test that waits for something gives up


@dataclass(eq=False)
class FakeGeneration:
    name: str
    left: int
    written: int = 0
    read: bool = False
    interrupted: bool = False


@dataclass(eq=False)
class FakeEngine:
    """Writes `max_tokens` words that carry the question and their number; one step reads a prompt, one writes a word.

    Held, a step waits until `let` allows it; `errors` are raised by the next steps, and a RuntimeError ends, as the
    real engine's does, the answer that was computed.
    """

    parallel: int = 4
    n_ctx: int = 400
    held: bool = False
    errors: list[Exception] = field(default_factory=list)
    refusals: list[Exception] = field(default_factory=list)  # raised by the next begins
    generations: list[FakeGeneration] = field(default_factory=list)
    steps: int = 0
    threads: set[int] = field(default_factory=set)  # that have computed
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _turns: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    encoder: PromptEncoder = field(default_factory=lambda: PromptEncoder(lambda text: list(text.encode()), 1001, 1002))

    def begin(self, messages: Sequence[Message], **settings: float) -> FakeGeneration:
        if self.refusals:
            raise self.refusals.pop()
        assert self.free, "begun without a free slot"
        assert settings.keys() == AskSettings().as_dict().keys()
        generation = FakeGeneration(messages[-1]["content"], int(settings["max_tokens"]))
        self.generations.append(generation)
        return generation

    @property
    def free(self) -> int:
        return self.parallel - len(self.generations)

    @property
    def busy(self) -> bool:
        return bool(self.generations)

    def interrupt(self, generation: FakeGeneration) -> None:
        generation.interrupted = True

    def step(self) -> list[tuple[FakeGeneration, Chunk]]:
        self.threads.add(threading.get_ident())
        self.steps += 1
        if self.held:
            self.entered.release()
            assert self._turns.acquire(timeout=PATIENCE), "nobody let the step through"
        if self.errors:
            if isinstance(self.errors[-1], RuntimeError) and self.generations:
                del self.generations[0]
            raise self.errors.pop()
        news = [(generation, self._serve(generation)) for generation in self.generations]
        self.generations = [generation for generation, chunk in news if chunk.state != "done"]
        return news

    def _serve(self, generation: FakeGeneration) -> Chunk:
        if generation.interrupted:
            return Chunk("", "done", 9, 9, generation.written, "cancelled")
        if not generation.read:
            generation.read = True
            return Chunk("", "reading", 9, 5, 0)
        generation.written += 1
        done = generation.written == generation.left
        text = f"{generation.name}:{generation.written} "
        return Chunk(text, "done" if done else "writing", 9, 9, generation.written, "stop" if done else "")

    def in_step(self) -> None:
        """Wait until a held step has begun."""
        assert self.entered.acquire(timeout=PATIENCE), "no step was begun"

    def let(self, steps: int = 1) -> None:
        """Let so many held steps through."""
        self._turns.release(steps)

    def release(self) -> None:
        """Hold no step any more."""
        self.held = False
        self.let(1000)


class FakeClock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


def part(question: str, words: int = 3, engine: str = "tuned") -> Part:
    """A part whose answer has so many words."""
    return Part(engine, [{"role": "user", "content": question}], AskSettings(max_tokens=words))


@contextmanager
def serving(limits: Limits | None = None, **engines: FakeEngine) -> Iterator[tuple[Scheduler, FakeClock]]:
    """A scheduler at work under a clock of its own; every slot must be free when it is closed."""
    clock = FakeClock()
    scheduler = Scheduler(engines, limits or Limits(), clock)
    scheduler.start()
    try:
        yield scheduler, clock
    finally:
        for engine in engines.values():
            engine.release()
        scheduler.close()
    assert not scheduler._thread.is_alive()
    assert [engine.free for engine in engines.values()] == [engine.parallel for engine in engines.values()]
    assert (scheduler.load().running, scheduler.load().waiting, scheduler.load().evaluations) == (0, 0, 0)


def text_of(news: list[News], number: int = 0) -> str:
    """What a part wrote."""
    return "".join(new.chunk.text for new in news if new.chunk and new.part == number)


class Reader(threading.Thread):
    """Takes a job's news in a thread of its own until the job ends; `news` holds them."""

    def __init__(self, job: Job) -> None:
        super().__init__(daemon=True)
        self.job, self.news = job, []
        self.start()

    def run(self) -> None:
        for new in self.job:
            self.news.append(new)

    def all(self) -> list[News]:
        self.join(PATIENCE)
        assert not self.is_alive(), "the job did not end"
        return self.news


def until(condition, what: str) -> None:
    """Wait until a condition holds."""
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.005)):
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError(f"never: {what}")
