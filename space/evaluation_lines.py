"""Questions with what both models picked, from a live run or as published; and the figures counted from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from qa.choices import Formulation, prompt_name
from qa.published_files import PublishedItem
from qa.records import Question
from qa.statistics import wilson
from space.evaluate import Run
from space.models import Models, NotReadyError
from space.published import live_template


@dataclass(frozen=True)
class Line:
    """One question with the index of the option that each model picked, None where none is known.

    `published` are the picks of the published evaluation, of the base and of the fine-tuned model; log-probabilities
    are those of the live run, in the options' order, empty where it did not keep them.
    """

    number: int
    question: Question
    base: int | None
    tuned: int | None
    published: tuple[int | None, int | None] = (None, None)
    base_logprobs: tuple[float, ...] = ()
    tuned_logprobs: tuple[float, ...] = ()

    @property
    def base_right(self) -> bool:
        return self.base == self.question.gold

    @property
    def tuned_right(self) -> bool:
        return self.tuned == self.question.gold

    @property
    def differs(self) -> bool:
        """Whether the models picked different options."""
        return None not in (self.base, self.tuned) and self.base != self.tuned


class Share(NamedTuple):
    """How many of so many questions were answered rightly, and Wilson's 95 % interval of that share."""

    correct: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.correct / self.n


def share(right: Sequence[bool]) -> Share:
    """The share of right answers; needs at least one."""
    return Share(sum(right), len(right), *wilson(sum(right), len(right)))


def live_lines(run: Run, models: Models) -> list[Line]:
    """The rows of a run so far, each with what was published for it when it was put the same way."""
    items = {item.id: item for item in models.items if item.formulation == run.prompt}
    return [
        Line(
            number,
            row.question,
            row.base,
            row.tuned,
            _picks(items.get(row.question.id), row.question),
            row.base_logprobs,
            row.tuned_logprobs,
        )
        for number, row in enumerate(run.rows, start=1)
    ]


def published_lines(models: Models, formulation: Formulation, task: str = "") -> list[Line]:
    """Every published test question put in this formulation, in the test set's order; of one task, or of all.

    A row that belongs to another version of the questions is left out: its picks would be shown with other options.
    """
    prompt = prompt_name(formulation, live_template(models.published, formulation))
    items = {item.id: item for item in models.items if item.formulation == prompt}
    try:
        questions = [question for question in models.questions() if not task or question.task == task]
    except NotReadyError:
        return []
    known = [question for question in questions if question.id in items and _is_of(items[question.id], question)]
    picks = [_picks(items[question.id], question) for question in known]
    pairs = enumerate(zip(known, picks, strict=True), start=1)
    return [Line(number, question, *picked, picked) for number, (question, picked) in pairs]


def _is_of(item: PublishedItem, question: Question) -> bool:
    return item.answer == question.answer and {item.base, item.tuned} <= {"", *question.labels}


def _picks(item: PublishedItem | None, question: Question) -> tuple[int | None, int | None]:
    if item is None or not _is_of(item, question):
        return None, None
    base, tuned = (question.labels.index(label) if label else None for label in (item.base, item.tuned))
    return base, tuned
