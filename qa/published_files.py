"""What a model's repository publishes for the page: answers to examples, and what was picked in the evaluation."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field

from qa.ask_settings import QUESTION_CHARACTERS, AskSettings
from qa.records import Record

MOST_EXAMPLES = 16
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ExampleAnswer(Record):
    """A question and what the published file answered. `seconds` are of the machine that wrote it."""

    question: str = Field(min_length=1, max_length=QUESTION_CHARACTERS)
    answer: str = Field(min_length=1, max_length=8_000)
    tokens: int = Field(ge=1)
    seconds: float = Field(ge=0, allow_inf_nan=False)
    finish: Literal["stop", "length"]


class Examples(Record):
    """Answers that one GGUF file wrote under one setting: they show at once, as long as that file is the one served."""

    format: Literal[1] = Field(alias="schema")
    file: str = Field(min_length=1)
    sha256: str = Field(pattern=_SHA256.pattern)
    settings: AskSettings
    answers: Annotated[tuple[ExampleAnswer, ...], Field(max_length=MOST_EXAMPLES)]

    def match(self, path: Path) -> bool:
        """Whether the model in `path` wrote these. In the Hub's cache a file's SHA-256 is its blob's name."""
        if path.name != PurePosixPath(self.file).name:
            return False
        blob = path.resolve().name
        return self.sha256 == (blob if _SHA256.fullmatch(blob) else _sha256(path))

    def answer(self, question: str) -> ExampleAnswer | None:
        """The published answer to exactly this question."""
        return next((example for example in self.answers if example.question == question), None)


class PublishedItem(Record):
    """The labels that base and published GGUF picked for one test question; empty where one was not measured."""

    id: str = Field(min_length=1)
    formulation: str = Field(min_length=1)
    base: str = ""
    tuned: str = ""
    answer: str = Field(min_length=1)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
