"""Figures of answers in words: matches, citations of the right passage, abstentions with and without it."""

from __future__ import annotations

import pytest

from jobs.evaluation.open_figures import cited_figures, open_figures
from qa.prompts import NOT_FOUND
from qa.records import Answer, Question
from qa.statistics import wilson

GOLD = "the pretrained weights"


def row(number: int, text: str, *, correct: bool = False, sources: tuple[str, ...] = ()) -> Answer:
    return Answer(
        model="base",
        task="research",
        formulation="sources (chat)" if sources else "open (chat)",
        row_id=f"q{number}",
        document=f"d{number}",
        prompt_sha256="0",
        predicted=text,
        gold=GOLD,
        correct=correct,
        seconds=0.1,
        sources=sources,
    )


ASKED = [Question(id=f"q{n}", question="?", answer_text=GOLD, document=f"d{n}", passage=f"p{n}") for n in range(4)]
OTHER = [question.model_copy(update={"task": "mine", "passage": "x"}) for question in ASKED]  # ids are a task's own
QUESTIONS = {(question.task, question.id): question for question in (*ASKED, *OTHER)}
SHOWN = [
    row(0, "The pretrained weights [1].", correct=True, sources=("p0", "x")),  # right, and the right passage
    row(1, "Pretrained weights [1, 2].", correct=True, sources=("x", "p1")),  # right, one passage too many
    row(2, "Adam [1]", sources=("x", "y", "p2")),  # wrong, and another passage
    row(3, "I don't find this in my sources.", sources=("p3", "x")),  # refused, although it is there
]


def test_open_answers() -> None:
    rows = [row(0, "Pretrained weights.", correct=True), row(1, "The weights"), row(2, ""), row(3, "I don't know.")]
    found = open_figures(rows)
    low, high = wilson(1, 4)
    assert found == {
        "exact_match": 0.25,
        "low": low,
        "high": high,
        "token_f1": pytest.approx((1 + 2 / 3) / 4),
        "rouge_l": pytest.approx((0.8 + 0.8) / 4),  # ROUGE keeps articles: 2 of 2 and 3 words, and 2 of 2 and 3
        "abstained": 0.5,
        "n": 4,
    }


def test_cited_answers() -> None:
    withheld = [row(0, NOT_FOUND), row(1, "The pretrained weights [1].", correct=False)]
    assert cited_figures(SHOWN, withheld, QUESTIONS) == {
        "n": 4,
        "exact_match": 0.5,  # the marks left aside
        "token_f1": 0.5,
        "citation_precision": pytest.approx((1 + 0.5) / 4),
        "citation_recall": 0.5,
        "refused": 0.25,
        "abstained": 0.5,
        "n_withheld": 2,
    }


def test_what_nobody_was_asked_has_no_figure() -> None:
    found = cited_figures([], [row(0, NOT_FOUND)], QUESTIONS)
    assert (found["n"], found["exact_match"], found["citation_recall"], found["refused"]) == (0, None, None, None)
    assert (found["n_withheld"], found["abstained"]) == (1, 1.0)
    assert cited_figures(SHOWN, [], QUESTIONS)["abstained"] is None
