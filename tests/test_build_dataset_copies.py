"""What training must hold no copy of: own held-out questions, and the test sets that are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.errors import UserError
from qa.records import SPLITS
from tests.dataset_world import SIDES, build, one_each, question, questions_folder
from tests.tiny import tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer(folder)
    return str(folder)


def test_copies_of_held_out_questions_leave_training_and_validation(tmp_path: Path, tokenizer: str) -> None:
    options = {"labels": ("A", "B"), "answer": "A"}
    asked = "Which optimiser keeps a running mean of the gradient and of its square for every weight"
    questions = one_each(
        question("a", "What does retrieval read before the model writes its answer?"),
        question("a", f"{asked}?", choices=("Adam", "SGD"), **options),
        question("b", "what  does retrieval READ before the model writes its answer"),
        question("b", f"{asked}?!", choices=("SGD", "adam"), **options),
        question("c", f"{asked}??", choices=("Adam", "sgd"), **options),
        question("c", f"{asked}", choices=("sgd", "Adam"), **options),
    )
    rows, dropped, figures = build(questions_folder(tmp_path / "q", questions, SIDES), tmp_path / "out", tokenizer)
    first, second, third, fourth, fifth, sixth = (row.id for row in questions[3:])
    assert {split: [row["id"] for row in rows[split]] for split in SPLITS} == {
        "train": [questions[0].id],
        "validation": [questions[1].id, third],
        "test": [questions[2].id, fifth],
    }
    assert dropped == {
        first: f"exact copy of {third} in research/validation, score 1.00",
        second: f"exact copy of {fifth} in research/test, score 1.00",
        fourth: f"exact copy of {fifth} in research/test, score 1.00",
        sixth: f"asked already in its split: {fifth}",
    }
    assert figures["dropped_by_stage"] == {"decontamination": 3, "duplicate": 1}
    assert figures["decontamination"] == {
        "train_rows": 3,
        "dropped": 3,
        "tests": {
            "research/test": {"items": 2, "rows_dropped": 1},
            "research/validation": {"items": 2, "rows_dropped": 1},
        },
    }
    report = json.loads((tmp_path / "out" / "decontamination.json").read_text())
    assert {(copy["row"], copy["item"], copy["split"]) for copy in report["dropped"]} == {
        (first, third, "train"),
        (second, fifth, "train"),
        (fourth, fifth, "validation"),
    }
    assert {test["name"]: test["validation_rows_dropped"] for test in report["tests"]} == {
        "research/test": 1,
        "research/validation": 0,
    }
    assert report["train_rows"] == 3


def test_a_scored_file_is_kept_out_of_training(tmp_path: Path, tokenizer: str) -> None:
    asked = "What does a mixture of experts send every token to, and how many of its layers?"
    row = {"id": "x", "question": asked, "choices": {"text": ["a few", "all"], "label": ["A", "B"]}, "answerKey": "A"}
    exam = tmp_path / "exam.jsonl"
    exam.write_text(json.dumps(row) + "\n")
    copied = question("a", asked.upper())
    source = questions_folder(tmp_path / "q", one_each(copied), SIDES)
    for place, given in (("against", {"decontamination": {"against": (str(exam),)}}), ("evaluated", {})):
        given |= {"evaluated": ("research", "research_recent", str(exam))} if place == "evaluated" else {}
        _, dropped, figures = build(source, tmp_path / place, tokenizer, **given)
        assert dropped == {copied.id: "exact copy of exam/x in exam/test, score 1.00"}
        assert figures["decontamination"]["tests"]["exam/test"] == {"items": 1, "rows_dropped": 1}
    exam.write_text(json.dumps(row | {"question": "Why is the sky blue in the morning and red at night?"}) + "\n")
    assert build(source, tmp_path / "evaluated", tokenizer, evaluated=(str(exam),))[1] == {}  # the file is an input


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (
            "unheard",
            "task unheard: no such test set to keep training apart from; name one of arc_challenge, arc_easy, mmlu:",
        ),
        ("mmlu:machine_learning", "cais/mmlu: the Hub does not answer"),
        ("arc_easy", "allenai/ai2_arc: the Hub does not answer"),
        ("none.jsonl", "none.jsonl: no such file or folder"),
        ("bare.jsonl", r"bare.jsonl: none of 1 row of task .* can be asked; the first, bare.jsonl, row 1: .*schema"),
        ("empty.jsonl", r"empty.jsonl: task .* holds no row"),
    ],
)
def test_a_test_set_that_cannot_be_had_is_named(task: str, said: str, tmp_path: Path, tokenizer: str) -> None:
    source = questions_folder(tmp_path / "q", one_each(), SIDES)
    (tmp_path / "bare.jsonl").write_text('{"question": "Which?", "options": []}\n')
    (tmp_path / "empty.jsonl").write_text("")
    task = str(tmp_path / task) if task.endswith(".jsonl") else task
    with pytest.raises(UserError, match=said):
        build(source, tmp_path / "out", tokenizer, decontamination={"against": (task,)})
    assert not (tmp_path / "out").exists()
