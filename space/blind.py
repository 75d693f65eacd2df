"""Blind comparison: which answer is whose stays on the server until the visitor has voted."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from qa.ask_settings import AskSettings
from space.answering import Answer
from space.compare import Pair
from space.feedback import Choice, Tally
from space.models import SIDES, Side

MOST_SESSIONS = 1000  # whose last comparison is remembered
PACE = 0.25  # seconds between two frames: their times shall not tell which model was served first

Ballot = Literal["first", "second", "tie", "bad"]
Answers = tuple[Answer, Answer]


class VoteError(Exception):
    """A vote that does not count: one line for the visitor."""


@dataclass(frozen=True)
class Comparison:
    """A question with both answers, first and second column; `models` tells whose they are."""

    question: str
    settings: AskSettings
    answers: Answers
    models: tuple[Side, Side] = SIDES
    blind: bool = False
    vote: Ballot | None = None

    @property
    def votable(self) -> bool:
        return self.blind and not self.vote and all(answer.state in ("done", "cut") for answer in self.answers)

    @property
    def hidden(self) -> bool:
        return self.blind and not self.vote

    @property
    def shown(self) -> Answers:
        """What the columns may show."""
        return veiled(*self.answers) if self.hidden else self.answers

    def of(self, side: Side) -> Answer:
        """The answer of one model."""
        return self.answers[self.models.index(side)]

    @property
    def choice(self) -> Choice:
        """The vote in terms of the models."""
        if self.vote in ("first", "second"):
            return self.models[("first", "second").index(self.vote)]
        return "bad" if self.vote == "bad" else "tie"


@dataclass
class _Session:
    comparison: Comparison | None = None
    tally: Tally = field(default_factory=Tally)


class Comparisons:
    """The last comparison of every session and how it has voted; beyond MOST_SESSIONS the oldest is forgotten."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, session: str, comparison: Comparison | None) -> None:
        """Take the place of the last one; None while the next is being written, which makes room for no session."""
        with self._lock:
            if comparison is None and session not in self._sessions:
                return
            found = self._sessions.setdefault(session, _Session())
            found.comparison = comparison
            self._sessions.move_to_end(session)
            while len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)

    def get(self, session: str) -> Comparison | None:
        """The last one, once it is finished."""
        with self._lock:
            found = self._sessions.get(session)
            return found.comparison if found else None

    def tally(self, session: str) -> Tally:
        """The session's own votes."""
        with self._lock:
            found = self._sessions.get(session)
            return found.tally if found else Tally()

    def vote(self, session: str, ballot: str) -> Comparison:
        """Count a vote on the last comparison, once. Raises `VoteError`."""
        if ballot not in get_args(Ballot):
            raise VoteError("There is no such vote.")
        with self._lock:
            found = self._sessions.get(session)
            if not found or not found.comparison:
                raise VoteError("There is no finished comparison to vote on; ask a question first.")
            if found.comparison.vote:
                raise VoteError("This comparison has your vote already; ask another question.")
            if not found.comparison.votable:
                raise VoteError("Only blind comparisons with two finished answers can be voted on.")
            found.comparison = replace(found.comparison, vote=ballot)
            found.tally = found.tally.plus(found.comparison.choice)
            return found.comparison


def toss() -> tuple[Side, Side]:
    """Whose answer stands first, by a coin that nobody can foresee."""
    return SIDES if secrets.randbelow(2) else (SIDES[1], SIDES[0])


def arranged(pair: Pair, models: tuple[Side, Side]) -> Answers:
    """Both answers as the columns show them."""
    answers = {"base": pair.base, "tuned": pair.tuned}
    return answers[models[0]], answers[models[1]]


def veiled(first: Answer, second: Answer) -> Answers:
    """What a blind comparison shows of both answers: no counts, no times, and as many characters of each.

    Whose token comes first would tell the models apart, since the machine always serves them in the same order; so
    the one that is ahead is held back, and both are said to read until both write.
    """
    both = (first, second)
    writing = [answer for answer in both if not answer.finished]
    shown = min((len(answer.text) for answer in writing), default=max(len(first.text), len(second.text)))
    begun = all(answer.text or answer.finished for answer in both)
    return _veil(first, shown, begun, writing), _veil(second, shown, begun, writing)


def _veil(answer: Answer, shown: int, begun: bool, writing: list[Answer]) -> Answer:
    if answer.state == "queued":
        return Answer("", "queued", answer.status, place=answer.place, wait=answer.wait)
    if not begun:
        return Answer("", "reading", "Reading the question")
    if not answer.finished or (writing and len(answer.text) > shown):
        return Answer(answer.text[:shown], "writing", "Writing")
    done = "Done" if answer.text else "Done · the model wrote nothing"
    ended = {"done": done, "cut": "Cut at its limit", "stopped": "Stopped", "failed": answer.status}
    return Answer(answer.text, answer.state, ended[answer.state])


def paced(stream: Iterator[Comparison], clock: Callable[[], float] = time.monotonic) -> Iterator[Comparison]:
    """The last comparison of a stream, and before it, where it is blind, only such as look new and are PACE apart."""
    shown: Answers | None = None
    held: Comparison | None = None
    last = -PACE
    for held in stream:
        if not held.hidden or (held.shown != shown and clock() - last >= PACE):
            yield held
            shown, last, held = held.shown, clock(), None
    if held:
        yield held
