"""Visitors who ask all at once: how many tokens a second they get together, and how long each waits for the first."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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


def crowd(ask: Ask, visitors: int, subject: str, questions: int = QUESTIONS) -> Crowd:
    """Let every visitor ask its own questions, each as soon as the last is answered. An error of one rises.

    Questions of another subject are other questions, so that no side finds what it has computed before.
    """

    def visit(number: int) -> list[tuple[int, float]]:
        messages = (_messages(f"{subject} {visitors} {number} {turn}") for turn in range(questions))
        return [_question(ask, f"visitor-{number}", each) for each in messages]

    with ThreadPoolExecutor(visitors) as pool:
        begun = time.perf_counter()
        answered = [answer for answers in pool.map(visit, range(visitors)) for answer in answers]
        spent = time.perf_counter() - begun
    return Crowd(visitors, sum(written for written, _ in answered), spent, tuple(first for _, first in answered))


def _question(ask: Ask, visitor: str, messages: Sequence[Message]) -> tuple[int, float]:
    begun, first, written = time.perf_counter(), math.inf, 0
    for written in ask(visitor, messages):
        if written and first == math.inf:
            first = time.perf_counter() - begun
    if first == math.inf:
        raise RuntimeError(f"{visitor} was given no token")
    return written, first


def _messages(number: str) -> list[Message]:
    """A question of 20 words that nobody else asks."""
    drawn = random.Random(number).choices(WORDS, k=20)
    return ask_messages(f"{' '.join(drawn)}?")
