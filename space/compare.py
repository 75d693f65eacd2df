"""The Compare tab behind its page: one question to base and fine-tuned model, greedy, so that they alone differ."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

from space.answering import Answer, QuestionError, answer, check_question, failed
from space.models import Models, NotReadyError


@dataclass(frozen=True)
class Pair:
    """Both answers so far."""

    base: Answer
    tuned: Answer

    @property
    def finished(self) -> bool:
        return self.base.finished and self.tuned.finished


def compare(models: Models, question: str, cancel: threading.Event) -> Iterator[Pair]:
    """Stream both answers, in turns of one token: two models at once on the same cores would only slow each other."""
    try:
        text = check_question(question)
        engines = {"base": models.engine("base"), "tuned": models.engine("tuned")}
    except (QuestionError, NotReadyError) as error:
        yield Pair(failed(str(error)), failed(str(error)))
        return
    pair = Pair(*(Answer("", "waiting", "Waiting for the model") for _ in range(2)))
    with ExitStack() as stack:
        streams = {
            side: stack.enter_context(closing(answer(engine, text, temperature=0.0, cancel=cancel)))
            for side, engine in engines.items()
        }
        while streams:
            for side, stream in list(streams.items()):
                if state := next(stream, None):
                    pair = replace(pair, **{side: state})
                    yield pair
                else:
                    del streams[side]
