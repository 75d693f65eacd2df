"""Random questions and a dataset folder of them, as build_dataset writes it. Not a test: test modules import it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.rows import row_of, write_rows
from qa.records import Question
from tests.tiny import TEXT

WORDS = TEXT.split()


def make_question(draw: random.Random, number: int, task: str, *, free: bool = False) -> Question:
    """Three to five options, letters or numbers; three questions to a document."""
    count = draw.choice([3, 4, 4, 4, 5])
    labels = tuple("12345"[:count]) if number % 5 == 0 else tuple("ABCDE"[:count])
    choices = tuple(f"{place} " + " ".join(draw.sample(WORDS, draw.randint(1, 8))) for place in range(count))
    gold = draw.randrange(count)
    return Question(
        id=f"{task}/{'open' if free else 'choice'}/{number}",
        question=" ".join(draw.sample(WORDS, 10)) + "?",
        choices=() if free else choices,
        labels=() if free else labels,
        answer="" if free else labels[gold],
        answer_text=choices[gold],
        task=task,
        document=f"{task}/document {number // 3}",
    )


def write_questions(path: Path, questions: list[Question], **changes: Any) -> None:
    """As build_dataset writes them: the columns of Question, and the training columns beside."""
    path.parent.mkdir(parents=True, exist_ok=True)
    training = {"prompt": [{"role": "user", "content": "…"}], "completion": [{"role": "assistant", "content": "…"}]}
    rows = [question.model_dump(mode="json") | training for question in questions]
    rows[-1] |= changes
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_parquet(path: Path, questions: Iterable[Question]) -> None:
    """Questions of one split as rows that can be trained on, without sources."""
    write_rows(path, map(row_of, questions))


def make_dataset(folder: Path, choices: int, free: int = 0, arc: int = 0) -> Path:
    draw = random.Random(2)
    questions = [make_question(draw, number, "research") for number in range(choices)]
    questions += [make_question(draw, number, "research", free=True) for number in range(free)]
    write_questions(folder / "research_qa" / "test.parquet", questions)
    if arc:
        write_questions(
            folder / "arc" / "test.parquet", [make_question(draw, number, "arc_easy") for number in range(arc)]
        )
    return folder
