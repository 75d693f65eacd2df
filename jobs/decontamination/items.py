"""What is compared: a training row, a test item in words, and a copy that was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from jobs.excerpts import content_words
from jobs.shingles import shingles_of, words_of
from jobs.telling import telling
from qa.records import Question, Split

Method = Literal["exact", "coverage", "near_duplicate", "evidence"]
ASKED: tuple[Method, ...] = ("exact", "coverage", "near_duplicate")  # these compare questions
METHODS: tuple[Method, ...] = (*ASKED, "evidence")
TRIVIAL = 5  # words; what is shorter ("What is LoRA?") stands in many texts that are no copies of it
SHINGLE = 2  # words; on ARC, 3 find 89 of 100 copies with a tenth of the words changed, and 2 find all


@dataclass(frozen=True)
class Row:
    """A training row: `config` and `id` name it, `text` is all that a model would read, `question` what it asks."""

    id: str
    config: str
    text: str
    question: Question
    split: Split = "train"  # or validation, whose rows are compared with the test sets


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
    split: Split = "train"


class Wording:
    """The words of a question and of its options, in an order that does not depend on theirs."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self.own = bool(question.passage)  # made from a passage, by patterns or a teacher
        self.asked = tuple(words_of(question.question))
        self.options = sorted(tuple(words_of(choice)) for choice in question.choices)
        self.given = (*self.asked, *(word for choice in question.choices for word in words_of(choice)))
        self.whole = (*self.asked, *(word for option in self.options for word in option))

    @property
    def texts(self) -> set[tuple[str, ...]]:
        """The question alone, and with its options in either order; none of a question without words."""
        return {words for words in (self.asked, self.given, self.whole) if words}

    @cached_property
    def evidence(self) -> tuple[str, ...]:
        return tuple(words_of(self._question.evidence))

    @cached_property
    def names(self) -> set[str]:
        """The words of the question's names and numbers; its first word is one where it is a content word."""
        found = {word for name in telling(self._question.question) for word in words_of(name)}
        return found | (set(self.asked[:1]) & self.about)

    def differs(self, other: Wording) -> bool:
        """Whether one question has a name or number that the other lacks."""
        return not (self.names <= set(other.asked) and other.names <= set(self.asked))

    @cached_property
    def about(self) -> set[str]:
        """The content words of the question."""
        return content_words(self._question.question)

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
        return self.asked_shingles | shingles_of(words_of(self._question.answer_text), SHINGLE)


@dataclass(frozen=True)
class Item:
    """A test item, with the name of its test set."""

    test: str
    question: Question
    wording: Wording


def stands_alone(ngram: int) -> int:
    """Words from which a multiple-choice question is looked for without its options by coverage: `ngram` runs.

    With fewer, an opening that many share ("Which of the following is an example of a") is half of them: on ARC, half
    of what coverage found was such rows. A shorter one is looked for together with its options.
    """
    return 2 * ngram - 1


def items_of(tests: Mapping[str, Sequence[Question]]) -> list[Item]:
    """Every item of every test set, in order."""
    return [Item(name, question, Wording(question)) for name, test in tests.items() for question in test]


def shown(question: Question) -> str:
    """A question with its options on one line, for people."""
    return " | ".join((question.question, *question.choices))
