"""What the loop says of a finished evaluation."""

from __future__ import annotations

from jobs.step import StepRecord
from jobs.summary import describe, verdicts
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


def test_the_headline_and_every_difference_are_said() -> None:
    first, other = verdicts(metrics())
    assert first.startswith("fine-tuned (Q4) against base, research, cloze (chat), acc_norm: better by 16.5 points")
    assert other.startswith("fine-tuned (Q4) against base, arc_easy, cloze (chat), acc_norm: worse by 9.0 points")
