"""The benchmarks' own honesty: both sides answer alike, and the table says what was measured."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks import __main__ as command
from benchmarks import evaluate_against_lm_eval as bench
from benchmarks.paired import Usage
from benchmarks.scoring_sides import Exam, Result, contexts, examine
from jobs.errors import UserError
from tests.tiny import tiny_model

pytest.importorskip("lm_eval", reason="lm-eval is not installed")
ROWS = 10


@pytest.fixture(scope="module")
def exams(tmp_path_factory: pytest.TempPathFactory) -> list[Exam]:
    """Every setting of the benchmark on a tiny model, ten real questions each."""
    folder = tmp_path_factory.mktemp("bench")
    tiny_model(folder)
    questions, shots = bench.draw(str(bench.ARC), ROWS)
    return list(bench.settings(str(folder), questions, shots, ROWS))


@pytest.fixture
def threads() -> Iterator[None]:
    """The sides set torch's threads for a process of their own; here they share the tests'."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def made(answers: str, logprobs: Sequence[float], seconds: float, peak: int) -> bench.Run:
    scores = tuple((value,) for value in logprobs)
    result = Result(cpu_seconds=seconds, loaded_bytes=peak // 2, logprobs=scores, answers=tuple(answers))
    return bench.Run(result, Usage(cpu_seconds=99.0, peak_bytes=peak))


def shown(table: Any) -> list[list[str]]:
    """The cells of a table's rows, as printed."""
    output = io.StringIO()
    Console(file=output, width=200).print(table)
    return [line.split() for line in output.getvalue().splitlines()]


def test_the_settings_are_both_formulations_with_and_without_examples_on_one_core_and_all(exams: list[Exam]) -> None:
    put = {(exam.formulation, len(exam.shots)) for exam in exams}
    assert put == {("cloze", 0), ("cloze", 5), ("letter", 0), ("letter", 5)}
    assert {exam.threads for exam in exams} >= {1}
    assert all(exam.questions == exams[0].questions for exam in exams)
    assert not {question.id for question in exams[0].questions} & {shot.id for exam in exams for shot in exam.shots}


def test_lm_eval_reads_description_examples_and_question(exams: list[Exam]) -> None:
    five = next(exam for exam in exams if exam.formulation == "letter" and exam.shots)
    text, question, shot = contexts(five)[0], five.questions[0], five.shots[0]
    assert text.startswith(f"{bench.DESCRIPTION}{shot.question}\n{shot.labels[0]}. {shot.choices[0]}\n")
    assert f"\nAnswer: {shot.answer}\n\n{five.shots[1].question}\n" in text
    assert text.endswith(f"{question.labels[-1]}. {question.choices[-1]}\nAnswer:")
    bare = next(exam for exam in exams if exam.formulation == "cloze" and not exam.shots)
    assert contexts(bare)[0] == f"Question: {question.question}\nAnswer:"


@pytest.mark.parametrize("shots", [0, 5])
@pytest.mark.parametrize("formulation", ["cloze", "letter"])
@pytest.mark.usefixtures("threads")
def test_both_sides_give_the_same_answers(exams: list[Exam], formulation: str, shots: int) -> None:
    exam = next(exam for exam in exams if (exam.formulation, len(exam.shots)) == (formulation, shots))
    pair = bench.Pair(*(bench.Run(examine(side, exam), Usage(0, 0)) for side in ("ours", "lm_eval")))
    assert pair.equal == ROWS
    assert pair.difference < 1e-4
    assert len(set(pair.ours.result.answers)) > 1
    assert bench.disagreement([exam], [[pair]]) == ""


def test_the_table_shows_what_the_processes_took(exams: list[Exam]) -> None:
    output = io.StringIO()
    pairs = bench.run(exams[:1], 1, Console(file=output, width=200))
    assert output.getvalue().splitlines() == ["round 1 of 1: cloze (plain), threads: 1"]
    (pair,) = pairs[0]
    cells = shown(bench.table("", exams[:1], pairs))[-1]
    assert cells[:4] == ["cloze", "(plain)", "1", str(ROWS)]
    assert cells[4:6] == [f"{side.result.cpu_seconds / ROWS:.3f}" for side in (pair.theirs, pair.ours)]
    assert cells[8:10] == [f"{side.usage.peak_bytes / 1e6:.0f}" for side in (pair.theirs, pair.ours)]
    assert cells[-3:] == [str(ROWS), "of", str(ROWS)]
    for side in (pair.ours, pair.theirs):
        assert 0 < side.result.cpu_seconds < side.usage.cpu_seconds  # imports and loading are not counted
        assert 100e6 < side.result.loaded_bytes <= side.usage.peak_bytes


def test_rounds_are_summed_up_by_medians_and_the_worst_case(exams: list[Exam]) -> None:
    exam = exams[0].model_copy(update={"questions": exams[0].questions[:4]})
    ours = [made("ABCD", [-1.0, -2.0, -3.0, -4.0], seconds, 1_000_000_000) for seconds in (1.0, 2.0, 4.0)]
    theirs = [
        made("ABCD", [-1.0, -2.0, -3.0, -4.0], 8.0, 2_000_000_000),
        made("ABCA", [-1.0, -2.0, -3.5, -4.0], 8.0, 4_000_000_000),
        made("ABCD", [-1.0, -2.0, -3.0, -4.0], 8.0, 5_000_000_000),
    ]
    found = [bench.Pair(*sides) for sides in zip(ours, theirs, strict=True)]
    wanted = "cloze (plain) 1 4 2.000 0.500 4.00 (2.00–8.00) 4000 1000 0.25 2000 500 5.0e-01 3 of 4"
    assert shown(bench.table("", [exam], [found]))[-1] == wanted.split()
    assert bench.disagreement([exam], [found]) == (
        "answers differ from lm-eval's: cloze (plain), threads: 1 (1 of 4); "
        "log-probabilities differ by more than 1e-04: cloze (plain), threads: 1 (5.0e-01)"
    )


def test_the_same_answers_from_other_scores_are_refused(exams: list[Exam]) -> None:
    exam = exams[0].model_copy(update={"questions": exams[0].questions[:2]})
    near, far = (bench.Pair(made("AB", [0, 0], 1, 9), made("AB", [0, by], 1, 9)) for by in (0.9e-4, 1.1e-4))
    assert bench.disagreement([exam], [[near]]) == ""
    said = "log-probabilities differ by more than 1e-04: cloze (plain), threads: 1 (1.1e-04)"
    assert bench.disagreement([exam], [[near, far]]) == said


def test_a_differing_answer_ends_with_an_error(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def run(exams: Sequence[Exam], rounds: int, console: Console) -> list[list[bench.Pair]]:
        alike = [bench.Pair(made("AB", [0, 0], 1.0, 9), made("AB", [0, 0], 3.0, 9)) for _ in range(rounds)]
        other = bench.Pair(made("AB", [0, 0], 1.0, 9), made("AC", [0, 0], 3.0, 9))
        return [[other], *([alike] * (len(exams) - 1))]

    for name, put in {"run": run, "measure": lambda *_: None, "save_tokenizer": lambda *_: None}.items():
        monkeypatch.setattr(bench, name, put)
    with pytest.raises(SystemExit, match=r"answers differ from lm-eval's: cloze \(plain\), threads: 1 \(1 of 2\)"):
        bench.main(rows=2, rounds=1)
    printed = capsys.readouterr().out
    assert "1 of 2" in printed
    assert "2 of 2" in printed
    assert all(package in printed for package in ("torch", "transformers", "lm-eval 0.4.13"))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="test questions and --rows 4000; name fewer, or another --arc"):
        bench.draw(str(bench.ARC), 4000)
    with pytest.raises(UserError, match=f"--tokenizer {tmp_path}: .*name a folder with Qwen2.5's tokenizer"):
        bench.save_tokenizer(str(tmp_path), tmp_path / "copy")


@pytest.mark.parametrize("arguments", [["nothing"], ["evaluate", "--rows", "0"], ["evaluate", "--rounds", "two"]])
def test_a_wrong_command_line_is_refused(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit) as end:
        command.main()
    assert end.value.code == 2
    assert arguments[-1] in capsys.readouterr().err
