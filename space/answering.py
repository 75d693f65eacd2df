"""One answer of one model as a stream of states that a page can show: what was written, and a line about it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from qa.ask_settings import QUESTION_CHARACTERS
from qa.engine import Chunk, PromptTooLong
from qa.scheduler import Job, News, Part, Refused
from space.models import NotReadyError
from space.state import AppState
from space.stopping import Cancel
from space.text import per_second, seconds
from space.visitors import Visitor

State = Literal["waiting", "queued", "reading", "writing", "done", "cut", "stopped", "failed"]
Clock = Callable[[], float]
Parts = Callable[[], Sequence[Part]]

log = logging.getLogger(__name__)


class QuestionError(ValueError):
    """A question that cannot be asked: one line for the visitor."""


@dataclass(frozen=True)
class Answer:
    """The answer so far. `text` is what the model wrote, unescaped; `seconds` is the time since its work began.

    In the state "queued", `place` is 1 for the next one and `wait` the expected seconds, None while nobody can tell.
    """

    text: str
    state: State
    status: str
    tokens: int = 0
    seconds: float = 0.0
    place: int = 0
    wait: float | None = None

    @property
    def finished(self) -> bool:
        return self.state in ("done", "cut", "stopped", "failed")


WAITING = Answer("", "waiting", "Starting")
STOPPED = Answer("", "stopped", "Stopped before the first word")


def check_question(text: object) -> str:
    """The question without surrounding space. Raises `QuestionError`; clients may send anything."""
    if not isinstance(text, str):
        raise QuestionError("The question must be text.")
    question = encodable(text).strip()
    if not question:
        raise QuestionError("Type a question first.")
    if len(question) > QUESTION_CHARACTERS:
        count = f"{len(question):,}"
        raise QuestionError(f"The question has {count} characters; at most {QUESTION_CHARACTERS} are read.")
    return question


def encodable(text: str) -> str:
    """The text with a question mark for each half of a surrogate pair: JSON may carry one, UTF-8 may not."""
    return text.encode("utf-8", "replace").decode()


def failed(reason: str) -> Answer:
    """The state of an answer that will not come."""
    return Answer("", "failed", reason)


def submit(state: AppState, visitor: Visitor, parts: Parts) -> Job:
    """Hand a visitor's question to the scheduler; its parts are made only if it can be taken on, and is then counted.

    Raises `QuestionError` with a line for the visitor.
    """
    scheduler = state.models.scheduler
    try:
        scheduler.check(visitor.key)
        state.visitors.check(visitor)
        return _submitted(lambda: scheduler.submit(visitor.key, parts()))
    except PromptTooLong:
        raise QuestionError("The question is too long for the model; shorten it.") from None
    except (Refused, NotReadyError) as error:
        raise QuestionError(str(error)) from None


def _submitted(begin: Callable[[], Job]) -> Job:
    """A model that is replaced while it tokenises is closed under its visitor, whom its successor then serves."""
    try:
        return begin()
    except RuntimeError:
        log.info("a question is read again", exc_info=True)
    try:
        return begin()
    except RuntimeError:
        log.exception("a question could not be read")
        raise QuestionError("The model could not read the question; ask again in a moment.") from None


def follow(job: Job, parts: int, cancel: Cancel, clock: Clock = time.monotonic) -> Iterator[tuple[int, Answer]]:
    """The states of a job's parts as they come, each with the part's number; the last of every part is a finished one.

    Setting `cancel` stops the job at once, and so does closing the iterator.
    """
    cancel.on_set(job.cancel)
    followed = [_Followed(clock) for _ in range(parts)]
    try:
        for news in job:
            if not followed[news.part].answer.finished:
                yield news.part, followed[news.part].take(news)
    finally:
        job.cancel()
    for number, part in enumerate(followed):
        if not part.answer.finished:  # it never left the queue
            yield number, STOPPED


class _Followed:
    """One part: its text so far, and how long it has been worked at."""

    def __init__(self, clock: Clock) -> None:
        self.answer, self._clock, self._text = WAITING, clock, ""
        self._begun: float | None = None
        self._told = False
        self._first: float | None = None  # when its first token was there: what came before was reading

    def take(self, news: News) -> Answer:
        """The state after the news."""
        self.answer = self._queued(news) if news.chunk is None and not news.finish else self._worked(news)
        self._told = True
        return self.answer

    def _queued(self, news: News) -> Answer:
        if news.place == 1 and not self._told:  # it waits for nobody, or has a place at the next news
            return WAITING
        status = f"Place {news.place} in the queue" + (f" · {about(news.wait)}" if news.wait is not None else "")
        return Answer("", "queued", status, place=news.place, wait=news.wait)

    def _worked(self, news: News) -> Answer:
        now = self._clock()
        tokens = news.chunk.tokens if news.chunk else self.answer.tokens
        self._text += news.chunk.text if news.chunk else ""
        self._begun = now if self._begun is None else self._begun
        self._first = now if tokens and self._first is None else self._first
        spent = now - self._begun
        pace = _pace(tokens, 0.0 if self._first is None else now - self._first)
        state, status = _ended(news, self._text, pace, spent) if news.finish else _described(news.chunk, pace, spent)
        return Answer(self._text, state, status, tokens, spent)


def _ended(news: News, text: str, pace: str, spent: float) -> tuple[State, str]:
    """How a part ended that the scheduler ended."""
    if news.finish == "failed":
        return "failed", "The model failed on this question; ask again, or put it in other words."
    if text:
        return "cut", f"Cut at the time limit · {pace} · {seconds(spent)}"
    return "failed", "Nothing was written within the time limit: too many people ask just now. Try again later."


def _described(chunk: Chunk | None, pace: str, spent: float) -> tuple[State, str]:
    assert chunk is not None
    match chunk.finish, chunk.state:
        case "cancelled", _:
            return "stopped", f"Stopped · {pace}" if chunk.tokens else STOPPED.status
        case "length", _:
            count, dot, rate = pace.partition(" · ")
            return "cut", f"Cut at {count}, the Length in Settings{dot}{rate} · {seconds(spent)}"
        case "stop", _ if chunk.tokens == 0:
            return "done", "Done · the model wrote nothing"
        case "stop", _:
            return "done", f"Done · {pace} · {seconds(spent)}"
        case _, "reading" if chunk.read_tokens == 0:
            return WAITING.state, WAITING.status
        case _, "reading":
            return "reading", f"Reading {chunk.read_tokens} of {chunk.prompt_tokens} tokens"
    return "writing", f"Writing · {pace}"


def _pace(tokens: int, writing: float) -> str:
    count = f"{tokens} token" + ("" if tokens == 1 else "s")
    return f"{count} · {per_second((tokens - 1) / writing)}" if tokens > 1 and writing > 0 else count


def about(wait: float) -> str:
    """An expected wait, no more exact than it is: `about 40 s`, `about 3 minutes`."""
    if wait < 100:
        return f"about {max(5, 5 * math.ceil(wait / 5))} s"
    return f"about {math.ceil(wait / 60)} minutes"
