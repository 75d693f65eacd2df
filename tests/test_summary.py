"""What the loop says of a finished evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.step import StepRecord, write_json
from jobs.summary import announce, describe, print_summary, verdicts
from tests.space_world import metrics

FIGURES = {"order": ["base", "gguf"], "choice_questions": 1200, "open_questions": 34, "left_out": {}, "skipped": {}}


def evaluated(**figures: object) -> str:
    return describe(StepRecord(step="evaluate", arguments={}, inputs={}, figures=FIGURES | figures))


def test_an_evaluation_is_told_with_what_could_not_be_asked_and_what_looks_broken() -> None:
    assert evaluated(warnings=[]) == "2 models on 1,234 questions"
    lost = evaluated(warnings=["base: …"], left_out={"arc_easy": 2}, skipped={"gguf": 1})
    assert (
        lost == "2 models on 1,234 questions; 3 could not be asked; 1 sign of something broken (report.md lists them)"
    )


@pytest.mark.parametrize(
    ("step", "figures", "said"),
    [
        ("collect", {"passages": 40, "documents": 3, "rejected": 1700}, "40 passages of 3 documents, 1,700 rejected"),
        ("write_questions", {"questions": 9, "rejected": 1}, "9 questions, 1 rejected"),
        (
            "build_dataset",
            {"rows": {"research_qa": {"train": 7, "validation": 2, "test": 1}}, "dropped": 17},
            "rows train 7, validation 2, test 1, 17 rejected",
        ),
        ("collect", {"passages": 40, "documents": 3, "rejected": 0}, "40 passages of 3 documents"),
    ],
)
def test_a_step_that_refuses_says_how_many_and_where(
    step: str, figures: dict, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    record = StepRecord(step=step, arguments={}, inputs={}, figures=figures)
    assert describe(record) == said
    announce("1 x", Path("run/x"), record, new=False)
    where = " (run/x/rejected.parquet)" if "rejected" in said else ""
    assert capsys.readouterr().out == f"1 x → run/x (done already): {said}{where}\n"


def test_the_headline_and_every_difference_are_said() -> None:
    first, other = verdicts(metrics())
    assert first.startswith("fine-tuned (Q4) against base, research, cloze (chat), acc_norm: better by 16.5 points")
    assert other.startswith("fine-tuned (Q4) against base, arc_easy, cloze (chat), acc_norm: worse by 9.0 points")


def test_a_difference_that_does_not_stand_among_the_others_says_so() -> None:
    figures = metrics()
    figures["comparisons"][2]["p_holm"] = 0.06
    first, other = verdicts(figures)
    assert "Holm" not in first
    assert other.endswith(" (Holm's p = 0.060: one of 3 comparisons)")


def test_names_are_shown_as_they_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A task goes by the name of its file, which may look like the terminal's markup."""
    figures = metrics()
    for line in [figures["headline"], *figures["comparisons"], *figures["models"]["base"]["results"]]:
        line["task"] = "[bold]x[/red]"
    (tmp_path / "evaluation").mkdir()
    write_json(tmp_path / "evaluation" / "metrics.json", figures)
    print_summary([], tmp_path)
    shown = capsys.readouterr().out
    assert "against base, [bold]x[/red], cloze" in " ".join(shown.split())
    assert shown.count("[bold]x[/red]") >= 4
