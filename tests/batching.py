"""Answers begun beside each other on a tiny engine, as the tests of the batched engine begin and finish them."""

from __future__ import annotations

from typing import Any

from qa.ask_settings import AskSettings
from qa.engine import Chunk, Engine, Generation
from qa.prompts import Message, ask_messages

QUESTIONS = [ask_messages(f"What is method {number} good for?") for number in range(4)]
GREEDY = AskSettings.greedy(24)


def begin(engine: Engine, messages: list[Message], settings: AskSettings = GREEDY, **changed: Any) -> Generation:
    return engine.begin(messages, **{**settings.as_dict(), **changed})


def finish(engine: Engine, chunks: dict[Generation, list[Chunk]] | None = None) -> dict[Generation, list[Chunk]]:
    """Step until nothing is under way; the news of each generation, in order."""
    chunks = {} if chunks is None else chunks
    while engine.busy:
        for generation, chunk in engine.step():
            chunks.setdefault(generation, []).append(chunk)
    return chunks


def text(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def write(engine: Engine, messages: list[Message], settings: AskSettings = GREEDY, **changed: Any) -> str:
    generation = begin(engine, messages, settings, **changed)
    return text(finish(engine)[generation])
