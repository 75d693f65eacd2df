"""The Compare tab behind its page: one question to base and fine-tuned model, so that the models alone differ."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from qa.ask_settings import AskSettings
from qa.prompts import ask_messages
from qa.scheduler import Part
from space.answering import WAITING, Answer, Clock, QuestionError, check_question, failed, follow, submit
from space.models import SIDES, NotReadyError
from space.state import AppState
from space.stopping import Cancel
from space.visitors import Visitor


@dataclass(frozen=True)
class Pair:
    """Both answers so far."""

    base: Answer
    tuned: Answer

    @property
    def finished(self) -> bool:
        return self.base.finished and self.tuned.finished


def compare(
    state: AppState,
    visitor: Visitor,
    question: str,
    settings: AskSettings,
    cancel: Cancel,
    clock: Clock = time.monotonic,
) -> Iterator[Pair]:
    """Stream both answers, from the same messages under the same settings, seed included; they begin together."""
    try:
        messages = ask_messages(check_question(question))
        for side in SIDES:
            state.models.engine(side)  # whichever is not there is told before anything is asked
        job = submit(state, visitor, lambda: [Part(side, messages, settings) for side in SIDES])
    except (QuestionError, NotReadyError) as error:
        yield Pair(failed(str(error)), failed(str(error)))
        return
    pair = Pair(WAITING, WAITING)
    for number, now in follow(job, len(SIDES), cancel, clock):
        pair = replace(pair, **{SIDES[number]: now})
        yield pair
