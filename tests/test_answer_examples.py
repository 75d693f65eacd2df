"""Answers to the example questions: those of the served file under the page's settings, and nobody else's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs import answer_examples as step
from jobs.config_file import CONFIGS, load_config
from jobs.errors import UserError
from jobs.pipeline_steps import steps
from jobs.step import file_sha256
from qa.ask_settings import AskSettings
from qa.engine import Chunk, Engine
from qa.prompts import ask_messages
from qa.published_files import Examples
from tests.runs import EXAMPLES, NAME, tiny_run

SERVED = f"{NAME}-Q4_K_M.gguf"


def read(folder: Path) -> Examples:
    return Examples.model_validate_json((folder / step.FILE).read_text(encoding="utf-8"))


def test_the_answers_are_those_of_the_served_file_under_the_pages_settings() -> None:
    found = read(tiny_run() / "examples")
    path = tiny_run() / "gguf" / SERVED
    assert (found.file, found.sha256, found.settings) == (SERVED, file_sha256(path), AskSettings())
    assert found.match(path)
    assert not found.match(tiny_run() / "gguf" / f"{NAME}-F16.gguf")
    answers = {answer.question: answer for answer in found.answers}
    assert set() < answers.keys() <= set(EXAMPLES)
    with Engine.load(path) as engine:
        for question in EXAMPLES:
            *_, last = chunks = list(engine.stream(ask_messages(question), **AskSettings().as_dict()))
            text = "".join(chunk.text for chunk in chunks)
            assert (question in answers) == bool(text.strip())  # a random model may say nothing
            if text.strip():
                told = answers[question]
                assert (told.answer, told.tokens, told.finish) == (text, last.tokens, last.finish)


def test_done_once_it_is_not_done_again_until_another_question_is_asked(tmp_path: Path) -> None:
    gguf, out = tiny_run() / "gguf", tmp_path / "examples"
    record, worked = step.answer_examples(gguf, out, questions=EXAMPLES[:1])
    assert worked
    assert record.figures["questions"] == record.figures["answered"] == 1
    assert record.figures["tokens"] == read(out).answers[0].tokens
    assert not step.answer_examples(gguf, out, questions=EXAMPLES[:1])[1]
    more, worked = step.answer_examples(gguf, out, questions=EXAMPLES)
    assert worked
    assert (more.figures["questions"], more.figures["answered"]) == (2, len(read(out).answers))


def test_a_question_that_the_model_says_nothing_to_is_left_out(tmp_path: Path, monkeypatch: Any) -> None:
    def stream(_: Engine, messages: Any, **settings: Any) -> Iterator[Chunk]:
        assert settings.pop("reuse") is False
        assert settings == AskSettings().as_dict()
        silent = messages == ask_messages(EXAMPLES[0])
        yield Chunk("" if silent else "Two", "writing", 9, 9, 0 if silent else 1)
        yield Chunk("" if silent else " matrices.", "done", 9, 9, 0 if silent else 2, "stop")

    monkeypatch.setattr(Engine, "stream", stream)
    record, _ = step.answer_examples(tiny_run() / "gguf", tmp_path / "examples", questions=EXAMPLES)
    assert (record.figures["questions"], record.figures["answered"], record.figures["tokens"]) == (2, 1, 2)
    (answer,) = read(tmp_path / "examples").answers
    assert (answer.question, answer.answer, answer.tokens) == (EXAMPLES[1], "Two matrices.", 2)


def test_a_folder_of_another_step_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"merged: made by merge, not by export; name the folder of the GGUF files"):
        step.answer_examples(tiny_run() / "merged", tmp_path / "examples", questions=EXAMPLES)
    assert not (tmp_path / "examples").exists()


@pytest.mark.parametrize(
    ("questions", "words"),
    [
        (["What?", " What? "], "asked twice"),
        ([" "], "blank"),
        (["x" * 601], "at most 600 characters"),
        ([f"What is {number}?" for number in range(9)], "at most 8 items"),
    ],
)
def test_a_question_that_cannot_be_an_example_is_one_line(questions: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="examples") as fault:
        load_config(CONFIGS / "tiny.yaml", [f"examples.questions={json.dumps(questions)}"])
    assert words in str(fault.value)
    with pytest.raises(UserError, match=f"^--questions: .*{words}"):
        step.main([str(tiny_run() / "gguf"), "--out", str(tmp_path / "x"), "--questions", *questions])


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(tiny_run() / "gguf"), "--out", str(tmp_path / "x"), "--questions", *EXAMPLES]
    step.main(words)
    step.main(words)
    said = f"answered: {len(read(tmp_path / 'x').answers)} of 2 questions\n"
    assert capsys.readouterr().out == f"{said}already {said}"


def test_the_loop_answers_them_after_the_export_and_before_the_evaluation(tmp_path: Path) -> None:
    config = load_config(CONFIGS / "tiny.yaml")
    folders = [folder for _, folder, _ in steps(config, tmp_path)]
    assert folders.index("ladder") < folders.index("examples") < folders.index("evaluation")
    none = load_config(CONFIGS / "tiny.yaml", ["examples.questions=[]"])
    assert "examples" not in [folder for _, folder, _ in steps(none, tmp_path)]
    assert len(config.examples.questions) == len(load_config(CONFIGS / "qwen2.5-3b.yaml").examples.questions) == 4
