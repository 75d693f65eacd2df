"""The Evaluate tab behind its page: questions of the published test set, put to both models live.

Questions, prompt and the rule that picks an option are those of the published figures (`qa.choices`). The fine-tuned
model is the very file that was measured, where only the kernels' rounding can flip a near tie. The base answers here as
a quantised file, while its published figures are those of its own weights.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from qa.choices import Formulation, Template, choice_ids, pick, prompt_name
from qa.engine import Aborted, Engine, PromptTooLong
from qa.records import Question
from space.models import Models, NotReadyError
from space.published import live_template

DEFAULT_QUESTIONS, MOST_QUESTIONS = 10, 25

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One question with the index of the option that each model picked."""

    question: Question
    base: int
    tuned: int

    @property
    def base_right(self) -> bool:
        return self.base == self.question.gold

    @property
    def tuned_right(self) -> bool:
        return self.tuned == self.question.gold


@dataclass(frozen=True)
class Run:
    """How far a live evaluation is. `left` is seconds, None while unknown; `problem` is one line."""

    rows: tuple[Row, ...]
    total: int
    formulation: Formulation
    state: Literal["running", "done", "stopped", "failed"] = "running"
    left: float | None = None
    seconds: float = 0.0
    problem: str = ""
    template: Template = "chat"

    @property
    def prompt(self) -> str:
        """How the figures name the prompt."""
        return prompt_name(self.formulation, self.template)


def draw(questions: list[Question], number: int, sample: int) -> list[Question]:
    """`number` of the questions, the same ones for the same sample number.

    They stay in the drawn order: the set's is by document, and a run stopped early would be its first documents alone.
    """
    return random.Random(sample).sample(questions, min(number, len(questions)))


def evaluate(
    models: Models,
    number: float,
    formulation: str,
    sample: float,
    cancel: threading.Event,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Run]:
    """Ask question after question of both models; every state holds all rows so far.

    The engines are free between two questions, so that whoever asks meanwhile waits for one question at most. `cancel`
    ends it in the middle of a question, or of waiting for an engine.
    """
    try:
        _check(number, formulation, sample)
        questions = draw(models.questions(), int(number), int(sample))
        base, tuned = models.engine("base"), models.engine("tuned")
    except (ValueError, NotReadyError) as error:
        yield Run((), 0, "letter", "failed", problem=str(error))
        return
    now, begun = Run((), len(questions), formulation, template=live_template(models.published, formulation)), clock()
    yield now
    for question in questions:
        try:
            picks = [_ask(engine, question, now, cancel) for engine in (base, tuned)]
        except Aborted:
            yield replace(now, state="stopped", left=None, seconds=clock() - begun)
            return
        except (PromptTooLong, RuntimeError) as error:
            log.exception("question %s could not be scored", question.id)
            problem = f"Question {question.id!r} could not be scored ({error}); draw another sample."
            yield replace(now, state="failed", left=None, seconds=clock() - begun, problem=problem)
            return
        rows, spent = (*now.rows, Row(question, *picks)), clock() - begun
        left = spent / len(rows) * (now.total - len(rows))
        state = "running" if len(rows) < now.total else "done"
        now = replace(now, rows=rows, state=state, left=left, seconds=spent)
        yield now


def _ask(engine: Engine, question: Question, run: Run, cancel: threading.Event) -> int:
    item = choice_ids(engine.encoder, question, run.formulation, run.template)
    return pick(
        engine.option_logprobs(item.prompt, item.options, head=item.head, cancel=cancel), question, run.formulation
    )


def _check(number: object, formulation: object, sample: object) -> None:
    if formulation not in ("letter", "cloze"):
        raise ValueError("The formulation is either letter or cloze.")
    if not _whole(sample) or not 0 <= sample <= 1_000_000:
        raise ValueError("The sample is a whole number from 0 to 1,000,000.")
    if not _whole(number) or not 1 <= number <= MOST_QUESTIONS:
        raise ValueError(f"The number of questions is a whole number from 1 to {MOST_QUESTIONS}.")


def _whole(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
