"""Questions → training rows: prompt and completion as messages, in typed columns that read back as written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa.prompts import Message, PromptEncoder, ask_messages, letter_messages
from qa.records import Question

if TYPE_CHECKING:
    from datasets import Features


def prompt_of(question: Question) -> list[Message]:
    """The messages before the answer: options shown for a multiple-choice question."""
    if question.choices:
        return letter_messages(question.question, question.choices, question.labels)
    return ask_messages(question.question)


def completion_of(question: Question) -> list[Message]:
    """The assistant's turn: the label of the right option, or the answer in words."""
    return [{"role": "assistant", "content": question.answer if question.choices else question.answer_text}]


def token_length(question: Question, encoder: PromptEncoder) -> int:
    """Tokens of prompt and completion together, as training sees them."""
    return len(encoder.prompt(prompt_of(question))) + len(encoder.completion(completion_of(question)[0]["content"]))


def features() -> Features:
    """Types of the columns: those of `Question`, then `prompt` and `completion`, lists of messages."""
    from datasets import Features, List, Value

    text, message = Value("string"), {"role": Value("string"), "content": Value("string")}
    columns: dict[str, Any] = dict.fromkeys(Question.model_fields, text)
    columns |= {"choices": List(text), "labels": List(text), "prompt": List(message), "completion": List(message)}
    return Features(columns)


def write_parquet(path: Path, questions: Iterable[Question]) -> None:
    """One split as a Parquet file. It must have a row: `datasets` reads no split without one."""
    import pyarrow
    from pyarrow import parquet

    rows = [question.model_dump(mode="json") | _messages(question) for question in questions]
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=features().arrow_schema), path)


def _messages(question: Question) -> dict[str, Any]:
    return {"prompt": prompt_of(question), "completion": completion_of(question)}
