"""Questions → training rows: prompt and completion as messages, in typed columns that read back as written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa.prompts import Message, PromptEncoder, ask_messages, letter_messages
from qa.records import Passage, Question, Split

if TYPE_CHECKING:
    from datasets import Features


@dataclass(frozen=True)
class TrainingRow:
    """A question as it is put, and what is answered: `completion` is the assistant's turn."""

    question: Question
    prompt: list[Message]
    completion: str


Rows = dict[Split, list[TrainingRow]]  # of one configuration


def row_of(question: Question) -> TrainingRow:
    """The row that asks a question without sources."""
    return TrainingRow(question, prompt_of(question), completion_of(question)[0]["content"])


def prompt_of(question: Question) -> list[Message]:
    """The messages before the answer: options shown for a multiple-choice question."""
    if question.choices:
        return letter_messages(question.question, question.choices, question.labels)
    return ask_messages(question.question)


def completion_of(question: Question) -> list[Message]:
    """The assistant's turn: the label of the right option, or the answer in words."""
    return [{"role": "assistant", "content": question.answer if question.choices else question.answer_text}]


def row_length(row: TrainingRow, encoder: PromptEncoder) -> int:
    """Tokens of prompt and completion together, as training sees them."""
    return len(encoder.prompt(row.prompt)) + len(encoder.completion(row.completion))


def token_length(question: Question, encoder: PromptEncoder) -> int:
    """Tokens of the row that asks a question without sources."""
    return row_length(row_of(question), encoder)


def features() -> Features:
    """Types of the columns: those of `Question`, then `prompt` and `completion`, lists of messages."""
    from datasets import Features, List, Value

    text, message = Value("string"), {"role": Value("string"), "content": Value("string")}
    columns: dict[str, Any] = dict.fromkeys(Question.model_fields, text)
    columns |= dict.fromkeys(("choices", "labels", "sources"), List(text))
    return Features(columns | {"prompt": List(message), "completion": List(message)})


def passage_features() -> Features:
    """Types of the columns of `passages`: those of `Passage`, then `split`, the side that its document is on."""
    from datasets import Features, Value

    columns: dict[str, Any] = dict.fromkeys(Passage.model_fields, Value("string"))
    return Features(columns | {"start": Value("int64"), "end": Value("int64"), "split": Value("string")})


def write_rows(path: Path, rows: Iterable[TrainingRow]) -> None:
    """One split as a Parquet file. There must be a row: `datasets` reads no split without one."""
    _write(path, [row.question.model_dump(mode="json") | _messages(row) for row in rows], features())


def write_passages(path: Path, passages: Iterable[Passage], sides: dict[str, Split]) -> None:
    """The passages as a Parquet file, each with the side of its document."""
    _write(path, [row.model_dump(mode="json") | {"split": sides[row.document]} for row in passages], passage_features())


def _write(path: Path, rows: list[dict[str, Any]], types: Features) -> None:
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=types.arrow_schema), path)


def _messages(row: TrainingRow) -> dict[str, Any]:
    return {"prompt": row.prompt, "completion": [{"role": "assistant", "content": row.completion}]}
