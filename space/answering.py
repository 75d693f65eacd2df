"""One answer of one model as a stream of states that a page can show: what was written, and a line about it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from qa.engine import Chunk, Engine, PromptTooLong
from qa.prompts import ask_messages
from space.text import per_second, seconds

MAX_CHARACTERS = 600
MAX_TOKENS = 200  # about 28 s of a 3B on two cores
DEADLINE = 60.0  # seconds of one answer: waiting, reading and writing

State = Literal["waiting", "reading", "writing", "done", "cut", "stopped", "failed"]
Clock = Callable[[], float]

log = logging.getLogger(__name__)


class QuestionError(ValueError):
    """A question that cannot be asked: one line for the visitor."""


@dataclass(frozen=True)
class Answer:
    """The answer so far. `text` is what the model wrote, unescaped; `seconds` is the time spent in this model alone."""

    text: str
    state: State
    status: str
    tokens: int = 0
    seconds: float = 0.0

    @property
    def finished(self) -> bool:
        return self.state in ("done", "cut", "stopped", "failed")


def check_question(text: object) -> str:
    """The question without surrounding space. Raises `QuestionError`; clients may send anything."""
    if not isinstance(text, str):
        raise QuestionError("The question must be text.")
    if not text.strip():
        raise QuestionError("Type a question first.")
    if len(text.strip()) > MAX_CHARACTERS:
        raise QuestionError(f"The question has {len(text.strip()):,} characters; at most {MAX_CHARACTERS} are read.")
    return text.strip()


def answer(
    engine: Engine,
    question: str,
    *,
    temperature: float,
    cancel: threading.Event,
    deadline: float = DEADLINE,
    clock: Clock = time.monotonic,
) -> Iterator[Answer]:
    """Stream an answer; the last state is a finished one. Closing the generator frees the engine."""
    try:
        stream = engine.stream(ask_messages(question), max_tokens=MAX_TOKENS, temperature=temperature, cancel=cancel)
    except PromptTooLong:
        yield failed("The question is too long for the model; shorten it.")
        return
    with closing(stream):
        try:
            yield from _follow(stream, deadline, clock)
        except RuntimeError:  # llama.cpp gave up; the next question finds the engine usable
            log.exception("the engine failed on a question of %d characters", len(question))
            yield failed("The model failed on this question; ask again, or put it in other words.")


def _follow(stream: Iterator[Chunk], deadline: float, clock: Clock) -> Iterator[Answer]:
    text, spent, writing = "", 0.0, 0.0
    before = clock()
    for chunk in stream:
        spent += clock() - before
        writing += clock() - before if chunk.tokens > 1 else 0.0  # the first token belongs to reading
        text += chunk.text
        if chunk.state != "done" and spent > deadline:
            status = f"Cut at the time limit · {_pace(chunk.tokens, writing)} · {seconds(spent)}"
            yield Answer(text, "cut", status, chunk.tokens, spent)
            return
        state, status = _describe(chunk, spent, writing)
        yield Answer(text, state, status, chunk.tokens, spent)
        before = clock()


def failed(reason: str) -> Answer:
    """The state of an answer that will not come."""
    return Answer("", "failed", reason)


def _describe(chunk: Chunk, spent: float, writing: float) -> tuple[State, str]:
    pace = _pace(chunk.tokens, writing)
    match chunk.finish, chunk.state:
        case "cancelled", _:
            return "stopped", f"Stopped · {pace}"
        case "length", _:
            return "cut", f"Cut at {pace} · {seconds(spent)}"
        case "stop", _ if chunk.tokens == 0:
            return "done", "Done · the model ended its turn without a word"
        case "stop", _:
            return "done", f"Done · {pace} · {seconds(spent)}"
        case _, "reading" if chunk.read_tokens == 0:
            return "waiting", "Waiting for the model"
        case _, "reading":
            return "reading", f"Reading {chunk.read_tokens} of {chunk.prompt_tokens} tokens"
    return "writing", f"Writing · {pace}"


def _pace(tokens: int, writing: float) -> str:
    count = f"{tokens} token" + ("" if tokens == 1 else "s")
    return f"{count} · {per_second((tokens - 1) / writing)}" if tokens > 1 and writing > 0 else count
