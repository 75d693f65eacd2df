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
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, cast

from qa.choices import Formulation, Template, choice_ids, pick, prompt_name
from qa.engine import Aborted, PromptTooLong
from qa.records import Question
from qa.scheduler import Queued, Refused
from space.models import SIDES, Models, NotReadyError, Side
from space.published import live_template
from space.state import AppState
from space.visitors import Visitor

DEFAULT_QUESTIONS, MOST_QUESTIONS = 10, 25
Score = tuple[float, ...]  # natural log-probabilities of a question's options

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One question with the index of the option that each model picked, and what it picked by.

    The log-probabilities are natural ones, summed over an option's tokens; cloze weighs them by its length.
    """

    question: Question
    base: int
    tuned: int
    base_logprobs: tuple[float, ...] = ()
    tuned_logprobs: tuple[float, ...] = ()

    @property
    def base_right(self) -> bool:
        return self.base == self.question.gold

    @property
    def tuned_right(self) -> bool:
        return self.tuned == self.question.gold


@dataclass(frozen=True)
class Run:
    """How far a live evaluation is. `left` is seconds, None while unknown; `problem` is one line.

    In the state "queued", `place` is 1 for the next one and `wait` the expected seconds, None while nobody can tell.
    """

    rows: tuple[Row, ...]
    total: int
    formulation: Formulation
    state: Literal["queued", "running", "done", "stopped", "failed"] = "running"
    left: float | None = None
    seconds: float = 0.0
    problem: str = ""
    template: Template = "chat"
    place: int = 0
    wait: float | None = None

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
    state: AppState,
    visitor: Visitor,
    number: float,
    formulation: str,
    sample: float,
    cancel: threading.Event,
    clock: Callable[[], float] = time.monotonic,
    task: str = "",
) -> Generator[Run]:
    """Ask question after question of both models; every state holds all rows so far. No `task` means all of them.

    A turn is one question to one model, so that an asker waits for one at most. `cancel` ends it in the middle of one.
    """
    try:
        questions = _drawn(state.models, number, formulation, sample, task)
        _admit(state, visitor)
    except (ValueError, NotReadyError, Refused) as error:
        yield Run((), 0, "letter", "failed", problem=str(error))
        return
    way = cast("Formulation", formulation)
    first = Run((), len(questions), way, template=live_template(state.models.published, way))
    works = [partial(_score, state.models, side, question, first) for question in questions for side in SIDES]
    with closing(state.models.scheduler.evaluate(visitor.key, works, cancel)) as turns:
        yield from _follow(turns, questions, first, clock)


def _drawn(models: Models, number: float, formulation: str, sample: float, task: str) -> list[Question]:
    """The questions of a run. Raises `ValueError` with a line for the visitor, and `NotReadyError`."""
    _check(number, formulation, sample)
    return draw(_of_task(models.questions(), task), int(number), int(sample))


def _admit(state: AppState, visitor: Visitor) -> None:
    """Count a run of the visitor's. Raises `NotReadyError` and `Refused`, then without counting it."""
    for side in SIDES:
        state.models.engine(side)
    state.models.scheduler.check(visitor.key, evaluation=True)
    state.visitors.check(visitor)


def _follow(
    turns: Iterator[Queued | Score], questions: list[Question], first: Run, clock: Callable[[], float]
) -> Iterator[Run]:
    now, begun = first, clock()
    scores: list[Score] = []
    yield now
    try:
        for turn in turns:
            if isinstance(turn, Queued):
                yield replace(now, state="queued", place=turn.place, wait=turn.wait, seconds=clock() - begun)
                begun = begun if scores else clock()  # waiting for the first turn is no part of the run
                continue
            scores.append(turn)
            if len(scores) % len(SIDES) == 0:
                row = _row(questions[len(now.rows)], *scores[-len(SIDES) :], now.formulation)
                now = _grown(now, row, clock() - begun)
                yield now
    except Aborted:
        yield replace(now, state="stopped", left=None, seconds=clock() - begun)
    except (Refused, PromptTooLong, RuntimeError) as error:
        yield replace(now, state="failed", left=None, seconds=clock() - begun, problem=_problem(now, error))


def _problem(run: Run, error: Exception) -> str:
    """A line for the visitor."""
    if isinstance(error, Refused):
        return str(error)
    log.error("a question could not be scored", exc_info=error)
    return f"The question after {len(run.rows)} could not be scored ({error}); draw another sample."


def _grown(run: Run, row: Row, spent: float) -> Run:
    rows = (*run.rows, row)
    left = spent / len(rows) * (run.total - len(rows))
    return replace(
        run,
        rows=rows,
        state="running" if len(rows) < run.total else "done",
        left=left,
        seconds=spent,
        place=0,
        wait=None,
    )


def _score(models: Models, side: Side, question: Question, run: Run, cancel: threading.Event) -> Score:
    """The log-probabilities of a question's options by one model, in a turn of the scheduler's."""
    engine = models.engine(side)
    item = choice_ids(engine.encoder, question, run.formulation, run.template)
    return tuple(engine.option_logprobs(item.prompt, item.options, head=item.head, cancel=cancel))


def _row(question: Question, base: Score, tuned: Score, formulation: Formulation) -> Row:
    picks = [pick(score, question, formulation) for score in (base, tuned)]
    return Row(question, *picks, base, tuned)


def _of_task(questions: list[Question], task: str) -> list[Question]:
    found = [question for question in questions if not task or question.task == task]
    if not found:
        raise ValueError(f"The set is one of {', '.join(dict.fromkeys(question.task for question in questions))}.")
    return found


def _check(number: object, formulation: object, sample: object) -> None:
    if formulation not in ("letter", "cloze"):
        raise ValueError("The formulation is either letter or cloze.")
    if not _whole(sample) or not 0 <= sample <= 1_000_000:
        raise ValueError("The sample is a whole number from 0 to 1,000,000.")
    if not _whole(number) or not 1 <= number <= MOST_QUESTIONS:
        raise ValueError(f"The number of questions is a whole number from 1 to {MOST_QUESTIONS}.")


def _whole(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
