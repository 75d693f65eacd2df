"""The parts of an evaluation: one task's questions, put one way. A part knows its prompts and what makes a row of them.

Options are scored (`ChoicePart`) or answers written (`WrittenPart`); the examiner treats both alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qa.choices import ChoicePrompt, Item, pick
from qa.prompts import Message, PromptEncoder
from qa.records import Question

if TYPE_CHECKING:
    from jobs.evaluation.backends import Backend

Mark = Callable[[Question, str], tuple[str, str, bool]]  # (question, text) → (predicted, gold, correct)


class NotFinite(ValueError):  # noqa: N818 (says what it is)
    """A model gave a score that is no number."""


@dataclass(frozen=True)
class ChoicePart:
    """Multiple-choice questions whose options are scored. `rotation` tells by how many places theirs were moved."""

    task: str
    prompt: ChoicePrompt
    questions: tuple[Question, ...]
    rotation: int = 0

    @property
    def formulation(self) -> str:
        return self.prompt.name + (f", rotated {self.rotation}" if self.rotation else "")

    def items(self, encoder: PromptEncoder) -> list[Item]:
        return self.prompt.items(encoder, self.questions)

    @staticmethod
    def needs(item: Item) -> int:
        """Tokens of window that a question needs."""
        return len(item.prompt) + max(map(len, item.options))

    @staticmethod
    def costs(item: Item) -> int:
        """Tokens that are computed for a question: the last one of an option is only ever predicted."""
        return len(item.prompt) - item.head + sum(len(option) - 1 for option in item.options)

    def ask(self, backend: Backend, places: Sequence[int], items: Sequence[Item]) -> list[dict[str, Any]]:
        """What the rows say of the questions at `places`. Raises `NotFinite`."""
        questions = [self.questions[place] for place in places]
        scores = backend.option_logprobs(items)
        return [self._row(question, logprobs) for question, logprobs in zip(questions, scores, strict=True)]

    def _row(self, question: Question, logprobs: Sequence[float]) -> dict[str, Any]:
        if not all(math.isfinite(value) for value in logprobs):
            raise NotFinite(f"{question.id}: its scores are {list(logprobs)}")
        picked = pick(logprobs, question, self.prompt.formulation)
        return {
            "option_logprobs": tuple(logprobs),
            "predicted": question.labels[picked],
            "gold": question.answer,
            "correct": picked == question.gold,
        }


@dataclass(frozen=True)
class WrittenPart:
    """Questions that are answered in words, greedily.

    `messages` are each question's conversation and `opening` begins the assistant's turn; the answer ends before the
    first of `until`. `mark` tells what was answered, what is right and whether it matches; `sources` are the ids of the
    passages each prompt shows.
    """

    task: str
    formulation: str
    questions: tuple[Question, ...]
    messages: tuple[list[Message], ...]
    mark: Mark
    max_tokens: int
    opening: str = ""
    until: tuple[str, ...] = ()
    sources: tuple[tuple[str, ...], ...] = ()

    def items(self, encoder: PromptEncoder) -> list[Item]:
        opening = encoder.tokenize(self.opening) if self.opening else []
        return [Item(encoder.prompt(messages) + opening, []) for messages in self.messages]

    def needs(self, item: Item) -> int:
        """Tokens of window that a question needs."""
        return len(item.prompt) + self.max_tokens

    costs = needs

    def ask(self, backend: Backend, places: Sequence[int], items: Sequence[Item]) -> list[dict[str, Any]]:
        """What the rows say of the questions at `places`."""
        texts = backend.generate([item.prompt for item in items], self.max_tokens, self.until)
        return [self._row(place, text) for place, text in zip(places, texts, strict=True)]

    def _row(self, place: int, text: str) -> dict[str, Any]:
        predicted, gold, correct = self.mark(self.questions[place], text)
        shown = self.sources[place] if self.sources else ()
        return {"predicted": predicted, "gold": gold, "correct": correct, "sources": shown}


Part = ChoicePart | WrittenPart
