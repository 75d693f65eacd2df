"""What was picked in the evaluation, as the page reads it: the research questions as it can ask them, no others."""

from __future__ import annotations

from pathlib import Path

from jobs.card_facts import Run
from jobs.evaluation.report import write_items
from jobs.page_files import model_files
from jobs.published_items import published_items
from jobs.step import read_step
from qa.artifacts import ITEMS_FILE, Repositories
from qa.published_files import PublishedItem
from tests.runs import NAME, NAMESPACE, answer, copy_run

LETTER, CLOZE = {"formulation": "letter (chat)"}, {"formulation": "cloze (plain)"}


def run_with(folder: Path, *rows: object) -> Run:
    run = copy_run(folder)
    write_items(run / "evaluation" / "items.parquet", rows)
    return Run(run, Repositories(NAMESPACE, NAME), {"gguf": read_step(run / "gguf")})


def test_a_line_for_each_question_and_way_with_both_labels(tmp_path: Path) -> None:
    rows = [
        answer(model, number, model == "gguf", **way)
        for model in ("base", "adapter", "merged", "gguf")
        for way in (LETTER, CLOZE)
        for number in range(3)
    ]
    assert published_items(run_with(tmp_path, *rows)) == [
        PublishedItem(id=f"q{number:03d}", formulation=way["formulation"], base="B", tuned="A", answer="A")
        for way in (LETTER, CLOZE)
        for number in range(3)
    ]


def test_a_model_that_was_not_asked_has_no_label(tmp_path: Path) -> None:
    found = published_items(run_with(tmp_path, answer("base", 0, True), answer("gguf", 1, False)))
    assert [(item.id, item.base, item.tuned) for item in found] == [("q000", "A", ""), ("q001", "", "B")]


def test_other_tasks_solved_examples_and_open_questions_are_not_there(tmp_path: Path) -> None:
    rows = [
        answer("gguf", 0, True, task="arc_easy"),
        answer("gguf", 1, True, task="research_recent"),
        answer("gguf", 2, True, formulation="letter (chat, 5 shots)"),
        answer("gguf", 3, True, formulation="open (chat)"),
        answer("gguf", 4, True, formulation="chat (lm-eval)"),
        answer("merged", 5, True),
    ]
    run = run_with(tmp_path, *rows)
    assert published_items(run) == []


def test_the_file_has_a_line_for_each_and_is_absent_without_any(tmp_path: Path, monkeypatch: object) -> None:
    monkeypatch.setattr("jobs.page_files.about_text", lambda run: "about")
    run = run_with(tmp_path / "some", answer("gguf", 0, True), answer("gguf", 1, False))
    lines = model_files(run)[ITEMS_FILE].decode().splitlines()
    assert [PublishedItem.model_validate_json(line) for line in lines] == published_items(run)
    assert ITEMS_FILE not in model_files(run_with(tmp_path / "none", answer("merged", 0, True)))
