"""What a visitor waits for besides tokens: how soon a stopped prompt frees the engine, how long a question scores."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serve_sides import WINDOW
from qa.ask_settings import AskSettings
from qa.choices import ChoicePrompt, Item
from qa.engine import Engine
from qa.prompts import ask_messages
from qa.records import Question

STOPS = 10
SCORED = 5
LONG = "Why does a model of this width need so many layers? " * 32


@dataclass(frozen=True)
class Waits:
    """Milliseconds from stop to a free engine, where the prompt was still read; seconds of a question to score.

    `kept` with the computed prefix of the questions before, `anew` without.
    """

    stops: tuple[float, ...]
    kept: tuple[float, ...]
    anew: tuple[float, ...]


def waits(path: Path, *, repack: bool, threads: int) -> Waits:
    """Stop ten prompts while they are read; score five questions either way."""
    with Engine.load(path, n_ctx=WINDOW, n_threads=threads, parallel=4, repack=repack) as engine:
        _stop(engine, 0, 60.0)
        whole = _seconds(lambda: _stop(engine, 1, 60.0))
        stops = (_stop(engine, number + 2, whole * (number + 1) / (STOPS + 2)) for number in range(STOPS))
        found = tuple(stop for stop in stops if stop is not None)
        items = ChoicePrompt("letter", shots=(_question(99),)).items(
            engine.encoder, [_question(n) for n in range(SCORED)]
        )
        _score(engine, items[0])
        kept = tuple(_seconds(lambda item=item: _score(engine, item)) for item in items)
        return Waits(found, kept, tuple(_anew(engine, item) for item in items))


def _stop(engine: Engine, number: int, after: float) -> float | None:
    """Milliseconds from a stop after so many seconds to a free engine; None where the prompt was read by then."""
    asked = ask_messages(f"{number} {LONG}")
    generation, pressed = engine.begin(asked, **AskSettings.greedy(1).as_dict()), [0.0]

    def press() -> None:
        pressed[0] = time.perf_counter()
        engine.interrupt(generation)

    timer, finish = threading.Timer(after, press), ""
    timer.start()
    while engine.busy:
        finish = next((chunk.finish for _, chunk in engine.step()), finish)
    free = time.perf_counter()
    timer.cancel()
    timer.join()
    return 1000 * (free - pressed[0]) if finish == "cancelled" else None


def _score(engine: Engine, item: Item) -> None:
    engine.option_logprobs(item.prompt, item.options, head=item.head)


def _anew(engine: Engine, item: Item) -> float:
    """The same question after one with another head, so that nothing is kept of it."""
    other = ChoicePrompt("letter", "plain", description="Another beginning. ").items(engine.encoder, [_question(7)])[0]
    _score(engine, other)
    return _seconds(lambda: _score(engine, item))


def _seconds(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _question(number: int) -> Question:
    """A question of some 100 tokens with its options, as ARC's are."""
    about = f"In experiment {number}, a student heats a metal rod at one end and measures the temperature at the other."
    choices = tuple(f"the rod {verb} heat number {number}" for verb in ("conducts", "absorbs", "reflects", "radiates"))
    return Question(
        id=f"q{number}",
        question=f"{about} After some minutes the other end is warm as well. Which statement explains what was seen?",
        choices=choices,
        labels=("A", "B", "C", "D"),
        answer="A",
        answer_text=choices[0],
        document="bench",
    )
