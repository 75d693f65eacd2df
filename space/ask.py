"""The Ask tab behind its page: questions and follow-ups, answered by the fine-tuned model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from qa.ask_settings import AskSettings
from qa.scheduler import Part
from space.answering import Answer, Clock, QuestionError, check_question, failed, follow, submit
from space.conversation import Turn, check_turns, fitting_messages
from space.models import NotReadyError
from space.state import AppState
from space.stopping import Cancel
from space.visitors import Visitor


def ask(
    state: AppState,
    visitor: Visitor,
    turns: Sequence[tuple[str, str]],
    question: str,
    settings: AskSettings,
    cancel: Cancel,
    clock: Clock = time.monotonic,
) -> Iterator[Answer]:
    """Stream the fine-tuned model's answer. Whatever is wrong with the question or the model is a failed state."""
    try:
        text, earlier = check_question(question), check_turns(turns)
        state.models.engine("tuned")  # if it is not there, that is told before anything is counted
        job = submit(state, visitor, lambda: [_part(state, earlier, text, settings)])
    except (QuestionError, NotReadyError) as error:
        yield failed(str(error))
        return
    for _, now in follow(job, 1, cancel, clock):
        yield now


def _part(state: AppState, turns: Sequence[Turn], question: str, settings: AskSettings) -> Part:
    engine = state.models.engine("tuned")
    window, answer = engine.n_ctx, settings.max_tokens
    return Part("tuned", fitting_messages(engine.encoder, turns, question, window=window, answer=answer), settings)
