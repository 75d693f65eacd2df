"""Where two answers differ: marked by words, harmless as HTML, readable without colours."""

from __future__ import annotations

import html
import re

import pytest

from space.differences import MOST_WORDS, mark

ONLY = re.compile(r'<mark class="fn-only"><span class="fn-unseen">\[only in this answer: </span>(.*?)'
                  r'<span class="fn-unseen">\]</span></mark>', re.DOTALL)  # fmt: skip


def only(marked: str) -> list[str]:
    """What is marked, as text."""
    return [html.unescape(found) for found in ONLY.findall(marked)]


def text(marked: str) -> str:
    """All text, without marks and their alternatives."""
    return html.unescape(ONLY.sub(r"\1", marked))


def test_what_only_one_answer_says_is_marked_as_one_run() -> None:
    marked = mark(
        "LoRA trains two small matrices and leaves the weights frozen.",
        "LoRA trains a few prompt tokens and leaves the weights frozen.",
    )
    assert only(marked.left) == ["two small matrices"]
    assert only(marked.right) == ["a few prompt tokens"]
    assert 0.6 < marked.shared < 0.8


def test_the_same_words_have_no_mark_whatever_their_spacing() -> None:
    marked = mark("One word\nand  another.", "One word and another.")
    assert (only(marked.left), only(marked.right), marked.same) == ([], [], True)
    assert mark("", "").same
    assert not mark("", "A word").same


def test_a_lone_word_in_common_does_not_break_a_mark() -> None:
    marked = mark("it measures the loss of every token. So!", "she writes the name in one go. So!")
    assert only(marked.left) == ["it measures the loss of every token."]
    assert only(marked.right) == ["she writes the name in one go."]


def test_nothing_is_marked_where_no_wording_is_in_common() -> None:
    marked = mark("it measures the <b>loss</b>", "she writes the name")
    assert (marked.left, marked.right) == ("it measures the &lt;b&gt;loss&lt;/b&gt;", "she writes the name")
    assert marked.shared == 0


def test_words_in_common_at_both_ends_count_however_few() -> None:
    marked = mark("Yes, because the loss falls. So!", "Yes, whenever gradients vanish. So!")
    assert only(marked.left) == ["because the loss falls."]
    assert only(marked.right) == ["whenever gradients vanish."]


HOSTILE = "<img src=x onerror=alert(1)> </mark><script>x</script> & \"quoted\" 'too' <|im_end|>"


@pytest.mark.parametrize(("left", "right"), [(HOSTILE, "fine"), ("fine", HOSTILE), (HOSTILE, HOSTILE)])
def test_answers_are_text_and_nothing_else(left: str, right: str) -> None:
    marked = mark(left, right)
    for drawn, given in ((marked.left, left), (marked.right, right)):
        assert text(drawn) == given.strip()
        assert set(re.findall(r"<[^>]*>", drawn)) <= {
            '<mark class="fn-only">', '<span class="fn-unseen">', "</span>", "</mark>",
        }  # fmt: skip


def test_line_breaks_stay() -> None:
    marked = mark("First.\n\n- one\n- two", "First.\n\n- one\n- three four")
    assert text(marked.left) == "First.\n\n- one\n- two"
    assert text(marked.right) == "First.\n\n- one\n- three four"


def test_what_is_too_long_to_compare_is_still_shown_whole() -> None:
    long = "a b " * MOST_WORDS
    marked = mark(long, long)
    assert text(marked.left) == long.rstrip()
    assert not marked.same
