"""Which questions an evaluation asks, what damaged rows get, and the signs that a model is broken."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.config import Evaluation
from jobs.errors import UserError
from jobs.evaluation_figures import canaries, prompts_differ
from jobs.evaluation_rows import read_rows
from qa.choices import choice_ids
from qa.prompts import PromptEncoder
from qa.records import Answer, Question, RecordError
from tests.tiny_questions import make_dataset, make_question, write_questions


def test_the_plain_template_is_lm_evals() -> None:
    question = make_question(random.Random(1), 1, "arc_easy")
    encoder = PromptEncoder(lambda text: list(text.encode()), 300, 301)
    prompt, options = choice_ids(encoder, question, "cloze", "plain")
    assert bytes(prompt).decode() == f"Question: {question.question}\nAnswer:"
    assert [bytes(option).decode() for option in options] == [f" {choice}" for choice in question.choices]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"answer": "Z"}, r"row 3 \(research/choice/2\): answer 'Z' is not among the labels"),
        ({"labels": ["A", "A", "B"], "choices": ["x", "y", "z"], "answer": "A"}, "labels repeat"),
        ({"choices": ["x", " "], "labels": ["A", "B"], "answer": "A"}, "a choice is empty"),
        ({"question": ""}, "field 'question'"),
    ],
)
def test_a_damaged_row_is_named(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    draw = random.Random(2)
    rows = [make_question(draw, number, "research") for number in range(3)]
    write_questions(tmp_path / "research_qa" / "test.parquet", rows, **changes)
    with pytest.raises(RecordError, match=reason):
        read_rows(tmp_path, Evaluation(), 0)


def test_absent_tasks_are_left_out_or_refused(tmp_path: Path) -> None:
    make_dataset(tmp_path, 10)
    rows = read_rows(tmp_path, Evaluation(), 0)
    assert rows.absent == ("arc_challenge", "arc_easy")
    assert len(rows.choice) == 10
    with pytest.raises(UserError, match="no test questions of task arc_easy; there are: research"):
        read_rows(tmp_path, Evaluation(tasks=("research", "arc_easy")), 0)
    with pytest.raises(UserError, match="there are: nothing"):
        read_rows(tmp_path / "nowhere", Evaluation(), 0)
    (tmp_path / "research_qa" / "test.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match="not readable as Parquet"):
        read_rows(tmp_path, Evaluation(), 0)


def test_the_limit_draws_with_the_seed(tmp_path: Path) -> None:
    make_dataset(tmp_path, 40, free=5)
    few = [read_rows(tmp_path, Evaluation(limit=6), seed) for seed in (1, 1, 2)]
    assert [len(rows.choice) for rows in few] == [6, 6, 6]
    assert len(few[0].open) == 5
    assert few[0] == few[1]
    assert few[0].choice != few[2].choice


def answers_for(questions: list[Question], labels: Iterator[str], digest: str = "0") -> list[Answer]:
    return [
        Answer(
            model="m",
            task="research",
            formulation="letter (chat)",
            row_id=question.id,
            document=question.document,
            prompt_sha256=digest,
            option_logprobs=tuple(-1.0 - place for place in range(len(question.choices))),
            predicted=(label := next(labels)),
            gold=question.answer,
            correct=label == question.answer,
            seconds=0.1,
        )
        for question in questions
    ]


def test_canaries_are_silent_for_a_good_model_and_sing_for_a_broken_one() -> None:
    draw = random.Random(4)
    questions = [make_question(draw, number * 5 + 1, "research") for number in range(60)]
    known = {question.id: question for question in questions}
    good = answers_for(questions, (question.answer for question in questions))
    assert canaries("m", good, known) == []
    always = answers_for(questions, iter("A" * 60))
    assert any("always A" in line for line in canaries("m", always, known))
    assert any("no better than chance" in line for line in canaries("m", always, known))
    never = answers_for(questions, ("A" if question.answer == "B" else question.answer for question in questions))
    assert canaries("m", never, known) == ["m, research, letter (chat): the answer is never B"]
    tied = [answer.model_copy(update={"option_logprobs": (-1.0, -1.0, -2.0)}) for answer in good]
    assert any("tie in 60 of 60" in line for line in canaries("m", tied, known))
    other = answers_for(questions, (question.answer for question in questions), digest="1")
    assert prompts_differ({"base": good, "gguf": other}) == ["gguf: 60 prompts have other token ids than base's"]
