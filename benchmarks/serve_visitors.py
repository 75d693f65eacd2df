"""Visitors who ask all at once: how many tokens a second they get together, and how long each waits for the first."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from qa.ask_settings import AskSettings
from qa.prompts import Message, ask_messages

ANSWER = AskSettings.greedy(max_tokens=32)
QUESTIONS = 3  # of each visitor, one after the other
WORDS = (
    "model layer attention gradient token loss adapter rank weight batch prompt answer paper method result data head "
    "width depth memory cache cost speed bound proof sample score label epoch filter shard index"
).split()

Ask = Callable[[str, Sequence[Message]], Iterator[int]]  # visitor, messages → tokens written so far, as they come


@dataclass(frozen=True)
class Crowd:
    """What so many visitors at once got: tokens in all, seconds from the first question to the last token."""

    visitors: int
    tokens: int
    seconds: float
    firsts: tuple[float, ...]  # seconds to the first token, of every question

    @property
    def per_second(self) -> float:
        """Tokens a second, all visitors together."""
        return self.tokens / self.seconds

    def first(self, share: float) -> float:
        """Seconds to the first token that this share of the questions waited at most (nearest rank)."""
        return sorted(self.firsts)[math.ceil(share * len(self.firsts)) - 1]


def crowd(ask: Ask, visitors: int, questions: int = QUESTIONS) -> Crowd:
    """Let every visitor ask its own questions, each as soon as the last is answered. An error of one rises."""
    tokens, firsts, errors = [0], [], []
    together, counting = threading.Barrier(visitors + 1), threading.Lock()

    def visit(number: int) -> None:
        together.wait()
        try:
            for turn in range(questions):
                written, first = _question(ask, f"visitor-{number}", _messages(number, turn))
                with counting:
                    tokens[0] += written
                    firsts.append(first)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(visitors)]
    for thread in threads:
        thread.start()
    together.wait()
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return Crowd(visitors, tokens[0], time.perf_counter() - begun, tuple(firsts))


def _question(ask: Ask, visitor: str, messages: Sequence[Message]) -> tuple[int, float]:
    begun, first, written = time.perf_counter(), math.inf, 0
    for written in ask(visitor, messages):
        if written and first == math.inf:
            first = time.perf_counter() - begun
    if first == math.inf:
        raise RuntimeError(f"{visitor} was given no token")
    return written, first


def _messages(visitor: int, turn: int) -> list[Message]:
    """A question of 20 words that nobody else asks."""
    drawn = random.Random(f"{visitor} {turn}").choices(WORDS, k=20)
    return ask_messages(f"{' '.join(drawn)}?")
