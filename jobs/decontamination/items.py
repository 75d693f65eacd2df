"""What is compared: a training row, a test item in words, and a copy that was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from jobs.shingles import shingles_of, words_of
from qa.records import Question

Method = Literal["exact", "coverage", "near_duplicate"]
METHODS: tuple[Method, ...] = ("exact", "coverage", "near_duplicate")
TRIVIAL = 5  # words; what is shorter ("What is LoRA?") stands in many texts that are no copies of it
SHINGLE = 2  # words; on ARC, 3 find 89 of 100 copies with a tenth of the words changed, and 2 find all


@dataclass(frozen=True)
class Row:
    """A training row: `config` and `id` name it, `text` is all that a model would read, `question` what it asks."""

    id: str
    config: str
    text: str
    question: Question


@dataclass(frozen=True)
class Copy:
    """A training row that is a copy of a test item, by one method; `score` is a share or similarity up to 1."""

    row: str
    config: str
    test: str
    item: str
    method: Method
    score: float
    row_text: str
    item_text: str


class Wording:
    """The words of a question and of its options, in an order that does not depend on theirs."""

    def __init__(self, question: Question) -> None:
        self._answer = question.answer_text
        self.asked = tuple(words_of(question.question))
        self.options = sorted(tuple(words_of(choice)) for choice in question.choices)
        self.given = (*self.asked, *(word for choice in question.choices for word in words_of(choice)))
        self.whole = (*self.asked, *(word for option in self.options for word in option))

    @property
    def texts(self) -> set[tuple[str, ...]]:
        """The question alone, and with its options in either order; none of a question without words."""
        return {words for words in (self.asked, self.given, self.whole) if words}

    @cached_property
    def asked_shingles(self) -> set[str]:
        return shingles_of(self.asked, SHINGLE)

    @cached_property
    def whole_shingles(self) -> set[str]:
        """Of the question and of each option by itself."""
        return self.asked_shingles.union(*(shingles_of(option, SHINGLE) for option in self.options))

    @cached_property
    def answered_shingles(self) -> set[str]:
        """Of the question and of its answer in words."""
        return self.asked_shingles | shingles_of(words_of(self._answer), SHINGLE)


@dataclass(frozen=True)
class Item:
    """A test item, with the name of its test set."""

    test: str
    question: Question
    wording: Wording


def stands_alone(ngram: int) -> int:
    """Words from which a multiple-choice question is looked for without its options by coverage: `ngram` runs.

    With fewer, an opening that many share ("Which of the following is an example of a") is half of them: on ARC, half
    of what coverage found was such rows. A shorter one is looked for whole.
    """
    return 2 * ngram - 1


def items_of(tests: Mapping[str, Sequence[Question]]) -> list[Item]:
    """Every item of every test set, in order."""
    return [Item(name, question, Wording(question)) for name, test in tests.items() for question in test]


def shown(question: Question) -> str:
    """A question with its options on one line, for people."""
    return " | ".join((question.question, *question.choices))
