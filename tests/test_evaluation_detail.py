"""One question opened in full: options, picks and scores, what was published, and why a pick may differ from it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from qa.published_files import PublishedItem
from qa.records import Question
from space.evaluate import Row, Run
from space.evaluation_detail import ANOTHER, QUANTISED, ROUNDED, detail
from space.evaluation_lines import live_lines
from tests.space_world import metrics, questions


def served(*items: PublishedItem) -> SimpleNamespace:
    """As much of the models as the views read."""
    return SimpleNamespace(published=metrics(), items=list(items), questions=questions)


def item(question: Question, base: str, tuned: str, formulation: str = "cloze (chat)") -> PublishedItem:
    return PublishedItem(id=question.id, formulation=formulation, base=base, tuned=tuned, answer=question.answer)


def test_an_opened_question_shows_options_picks_and_scores() -> None:
    question = questions()[1].model_copy(
        update={"evidence": "They <i>are</i> learned.", "source": "https://a.test/?x=1&y=2", "date": "2026-01-02"}
    )
    row = Row(question, 0, 1, (-15.0, -32.0, -33.0, -36.0), (-30.0, -15.0, -33.0, -36.0))
    (line,) = live_lines(Run((row,), 1, "cloze", "done"), served(item(question, "B", "B")))
    html = detail(line, "cloze", live=True)
    assert html.index("A. They are frozen") < html.index("D. They are not there")
    assert 'B. They are learned <span class="fn-tag fn-gold-tag">right answer</span></th>' in html
    assert html.count("right answer") == 1
    assert '<td class="fn-score" data-title="Base">−1.000</td>' in html  # of 15 characters
    assert "−1.000" not in detail(line, "letter", live=True)
    assert "−15.000" in detail(line, "letter", live=True)
    assert "<blockquote>They &lt;i&gt;are&lt;/i&gt; learned.</blockquote>" in html
    assert 'href="https://a.test/?x=1&amp;y=2" target="_blank" rel="noopener noreferrer"' in html
    assert "Published picks: Base B, Fine-tuned B." in html
    assert (QUANTISED in html, ROUNDED in html) == (True, False)
    other = live_lines(Run((Row(question, 1, 2),), 1, "cloze", "done"), served(item(question, "", "B")))
    html = detail(other[0], "cloze", live=True)
    assert "Published picks: Fine-tuned B." in html
    assert (QUANTISED in html, ANOTHER in html, "log-probabilities" in html) == (False, True, False)
    assert "Published picks" not in detail(other[0], "cloze", live=False)


@pytest.mark.parametrize(
    ("formulation", "scores", "reason"),
    [
        ("letter", (-1.0, -1.04, -9.0, -9.0), ROUNDED),
        ("letter", (-1.0, -1.06, -9.0, -9.0), ANOTHER),
        ("cloze", (-15.0, -16.04, -33.0, -36.0), ROUNDED),  # of 15 and 16 characters
        ("cloze", (-15.0, -16.10, -33.0, -36.0), ANOTHER),
    ],
)
def test_a_near_tie_is_claimed_only_where_the_scores_are_close(formulation, scores, reason: str) -> None:
    question = questions()[1].model_copy(update={"choices": ["a" * 15, "b" * 16, "c", "d"]})
    row = Row(question, 0, 0, scores, scores)
    published = item(question, "A", "B", f"{formulation} (chat)")
    (line,) = live_lines(Run((row,), 1, formulation, "done"), served(published))
    html = detail(line, formulation, live=True)
    assert [text in html for text in (ROUNDED, ANOTHER)] == [text == reason for text in (ROUNDED, ANOTHER)]


def test_only_an_address_of_the_web_becomes_a_link() -> None:
    for source in ("javascript:alert(1)", "data:text/html,x", 'https:"><img>', "paper.pdf"):
        question = questions()[1].model_copy(update={"source": source})
        (line,) = live_lines(Run((Row(question, 0, 0),), 1, "letter", "done"), served())
        html = detail(line, "letter", live=True)
        assert "<a " not in html
        assert "<img>" not in html
