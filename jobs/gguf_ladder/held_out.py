"""Text of the test split on which two files of a model are compared, as token ids.

Questions with their answers, as training would have put them, and where passages are given those of documents that
have test questions and none in another split. Half of the tokens are passages, where there are enough. All of it is
held out of fine-tuning and of the importance matrix, which read the training split; what a base model read in its own
pretraining cannot be held out here.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from jobs.errors import UserError
from jobs.gguf_export.reference import read_test_questions
from jobs.rows import completion_of, prompt_of
from jobs.training_rows import CONFIGS
from qa.prompts import PromptEncoder
from qa.records import Passage, Question, read_records

LENGTH = 512  # tokens of a text; what is beyond is left out
PASSAGES = "passages.jsonl"
T = TypeVar("T")


@dataclass(frozen=True)
class Text:
    """Token ids of which those from index `first` on are predicted; texts of one `document` are no independent ones."""

    ids: tuple[int, ...]
    first: int
    document: str

    @property
    def predicted(self) -> int:
        """How many tokens are predicted."""
        return len(self.ids) - self.first


@dataclass(frozen=True)
class HeldOut:
    """What is held out: texts of passages and of questions with answers, and multiple-choice questions to be asked."""

    passages: tuple[Text, ...]
    answered: tuple[Text, ...]
    choice: tuple[Question, ...]

    @property
    def texts(self) -> tuple[Text, ...]:
        """All texts, passages first."""
        return (*self.passages, *self.answered)

    @property
    def tokens(self) -> int:
        """How many tokens are predicted in all of them."""
        return sum(text.predicted for text in self.texts)


def read_held_out(
    dataset: Path, passages: Path | None, encoder: PromptEncoder, *, tokens: int, questions: int, seed: int
) -> HeldOut:
    """Texts of about `tokens` predicted tokens and at most so many multiple-choice `questions`, drawn with the seed.

    `dataset` is a folder that build_dataset made, `passages` one that collect made. Raises `UserError` naming the data
    set where it has no test questions of multiple choice.
    """
    test = read_test_questions(dataset)
    choice = [question for question in test if question.choices]
    if not choice:
        raise UserError(f"{dataset}: its test split has no multiple-choice question to ask; build another data set")
    read = _test_passages(passages, dataset, test) if passages else ()
    plain = _take((_passage(row, encoder) for row in _shuffled(read, seed)), tokens // 2)
    rest = tokens - sum(text.predicted for text in plain)
    answered = _take((_answered(row, encoder) for row in _shuffled(test, seed)), rest)
    return HeldOut(plain, answered, tuple(_shuffled(choice, seed)[:questions]))


def _test_passages(folder: Path, dataset: Path, test: Iterable[Question]) -> Iterator[Passage]:
    """Passages of the test questions' documents, without those that any other split asks about."""
    documents = {question.document for question in test} - _read_elsewhere(dataset)
    return (row for row in read_records(folder / PASSAGES, Passage) if row.document in documents)


def _read_elsewhere(dataset: Path) -> set[str]:
    """Documents with questions in the training or validation split."""
    import pyarrow.parquet

    files = [dataset / config / f"{split}.parquet" for config in CONFIGS for split in ("train", "validation")]
    tables = [pyarrow.parquet.read_table(path, columns=["document"]) for path in files if path.is_file()]
    return {name for table in tables for name in table["document"].to_pylist()}


def _passage(passage: Passage, encoder: PromptEncoder) -> Text:
    """A passage as plain text; its first token is predicted from nothing, so it is not asked for."""
    return Text(tuple(encoder.tokenize(passage.text)[:LENGTH]), 1, passage.document)


def _answered(question: Question, encoder: PromptEncoder) -> Text:
    """A question and its answer as training puts them, but for the system prompt, which is the same in every one."""
    messages = prompt_of(question)
    ids = encoder.prompt(messages) + encoder.completion(completion_of(question)[0]["content"])
    return Text(tuple(ids[:LENGTH]), len(encoder.turns(messages[:1])), question.document)


def _shuffled(items: Iterable[T], seed: int) -> list[T]:
    drawn = list(items)
    random.Random(seed).shuffle(drawn)
    return drawn


def _take(texts: Iterable[Text], tokens: int) -> tuple[Text, ...]:
    """As many texts as predict so many tokens; the last one is cut where they are reached."""
    taken: list[Text] = []
    for text in texts:
        if tokens <= 0:
            break
        if text.predicted > 0:
            cut = text.ids[: text.first + tokens]
            taken.append(Text(cut, text.first, text.document))
            tokens -= taken[-1].predicted
    return tuple(taken)
