"""The records that steps exchange, validated when read: passages, questions and answers.

A file of records is JSON Lines, one record a line. Whatever is wrong with it is one `RecordError` that names the file,
the row and the field, so that a person can mend it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class RecordError(ValueError):
    """A record that cannot be used: says where it stands and which field is wrong."""


class Record(BaseModel):
    """Base of all records: immutable, and closed against unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False)


class Passage(Record):
    """Whole paragraphs of one document. `start` and `end` are character offsets into the document's extracted text."""

    id: str = Field(min_length=1)
    document: str = Field(min_length=1)
    title: str
    section: str = ""
    text: str = Field(min_length=1)
    source: str = ""
    licence: str = ""
    date: str = ""
    start: int = Field(ge=0)
    end: int = Field(gt=0)

    @model_validator(mode="after")
    def _offsets_in_order(self) -> Self:
        if self.end <= self.start:
            raise ValueError(f"end {self.end} is not after start {self.start}")
        return self


class Question(Record):
    """One question, open (no choices) or multiple-choice with the row's own labels.

    `answer` is the label of the right choice, empty for an open question; `answer_text` is the answer in words.
    `document` is the unit of splitting and of clustered statistics: a document's name, or the ARC row's own id.
    `evidence` stands verbatim in the passage `passage`; both are empty for questions not made from passages, and
    evidence alone for the kind `not_in_text`, which its passage does not answer. `date` is the document's own.
    `closed_book` tells whether a model without the passage answered it. `sources` are the ids of the passages that the
    row's prompt shows, in order, where it shows some.
    """

    id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    choices: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    answer: str = ""
    answer_text: str = Field(min_length=1)
    kind: str = "fact"
    task: str = "research"
    document: str = Field(min_length=1)
    passage: str = ""
    evidence: str = ""
    source: str = ""
    licence: str = ""
    date: str = ""
    closed_book: Literal["", "right", "wrong"] = ""
    sources: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _choices_hold_together(self) -> Self:
        if len(self.choices) != len(self.labels):
            raise ValueError(f"{len(self.choices)} choices but {len(self.labels)} labels")
        if not self.choices:
            return self
        if len(self.choices) < 2:
            raise ValueError("a multiple-choice question needs at least 2 choices")
        if not all(label.strip() for label in self.labels):
            raise ValueError(f"labels: one is blank: {list(self.labels)}")
        if len({label.strip() for label in self.labels}) != len(self.labels):
            raise ValueError(f"labels repeat: {list(self.labels)}")
        if self.answer not in self.labels:
            raise ValueError(f"answer {self.answer!r} is not among the labels {list(self.labels)}")
        return self

    @property
    def gold(self) -> int:
        """Index of the right choice; only for multiple-choice questions."""
        return self.labels.index(self.answer)

    @classmethod
    def from_arc(cls, row: dict[str, Any], *, task: str, source: str, licence: str) -> Question:
        """A row of ARC's schema: `id`, `question`, `choices{text,label}`, `answerKey`; any number of options."""
        try:
            texts, labels = tuple(row["choices"]["text"]), tuple(row["choices"]["label"])
            key = str(row["answerKey"]).strip()
            if len(texts) != len(labels):
                raise RecordError(f"row {row['id']!r}: {len(texts)} choices but {len(labels)} labels")
            if key not in labels:
                raise RecordError(f"row {row['id']!r}: answerKey {key!r} is not among the labels {list(labels)}")
            return cls(
                id=f"{task}/{row['id']}",
                question=row["question"].strip(),
                choices=tuple(text.strip() for text in texts),
                labels=labels,
                answer=key,
                answer_text=texts[labels.index(key)].strip(),
                kind="science",
                task=task,
                document=f"{task}/{row['id']}",
                source=source,
                licence=licence,
            )
        except (KeyError, TypeError, AttributeError) as error:
            name = row.get("id", "?") if isinstance(row, dict) else "?"
            raise RecordError(f"row {name!r}: not in ARC's schema ({error!r})") from error
        except ValidationError as error:
            raise RecordError(f"row {row['id']!r}: {_first_fault(error)}") from error

    @classmethod
    def from_mmlu(cls, row: dict[str, Any], *, task: str, number: int, source: str, licence: str) -> Question:
        """A row of MMLU's schema: `question`, `choices`, `answer` as an index; it has no id, so `number` names it.

        The options stay as they are, spaces and all: lm-eval scores and shows them so.
        """
        try:
            texts, right = tuple(row["choices"]), row["answer"]
            labels = tuple(ascii_uppercase[: len(texts)])
            if right not in range(len(labels)):
                raise RecordError(f"answer {right!r} is not an index into {len(texts)} choices")
            return cls(
                id=f"{task}/{number}",
                question=row["question"].strip(),
                choices=texts,
                labels=labels,
                answer=labels[right],
                answer_text=texts[right],
                kind="exam",
                task=task,
                document=f"{task}/{number}",
                source=source,
                licence=licence,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise RecordError(f"not in MMLU's schema ({error!r})") from error
        except ValidationError as error:
            raise RecordError(_first_fault(error)) from error


class Answer(Record):
    """One model's answer to one question, as evaluation writes it and the report reads it.

    `option_logprobs` are natural logarithms, summed over an option's tokens, in the order shown, and `predicted` and
    `gold` are labels as shown: the row's own order and labels, or those after a rotation. `sources` are the ids of the
    passages that the prompt gave, in order; `seconds` are wall time.
    """

    model: str
    task: str
    formulation: str
    row_id: str
    document: str
    prompt_sha256: str
    option_logprobs: tuple[float, ...] = ()
    predicted: str
    gold: str
    correct: bool
    seconds: float = Field(ge=0)
    sources: tuple[str, ...] = ()


R = TypeVar("R", bound=Record)


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    field = ".".join(str(part) for part in fault["loc"])
    reason = fault["msg"].removeprefix("Value error, ")
    return f"field {field!r}: {reason}" if field else reason


def parse_record(values: dict[str, Any], kind: type[R], where: str) -> R:
    """Validate one record's values. Raises `RecordError` naming `where` and the field."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise RecordError(f"{where}: {_first_fault(error)}") from error


def read_records(path: Path, kind: type[R]) -> Iterator[R]:
    """Read a JSON Lines file of `kind`, one record at a time. Raises `RecordError` naming file, row and field."""
    try:
        lines = path.open("rb")  # bytes: a line that is not UTF-8 is then a fault of its row
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror})") from error
    with lines:
        for row, line in enumerate(lines, start=1):
            try:
                yield kind.model_validate_json(line)
            except ValidationError as error:
                raise RecordError(f"{path}, row {row}: {_first_fault(error)}") from error


def write_records(path: Path, records: Iterable[Record]) -> int:
    """Write records as JSON Lines, whole or not at all (temporary file, then rename). Returns how many."""
    partial, written = path.with_name(path.name + ".partial"), 0
    with partial.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record.model_dump(mode="json"), ensure_ascii=False) + "\n")
            written += 1
    partial.replace(path)
    return written
