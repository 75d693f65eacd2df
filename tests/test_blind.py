"""Blind comparison without a browser: nothing shown depends on whose answer it is, and each comparison has one vote."""

from __future__ import annotations

import itertools
import random
import threading
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import gradio as gr
import pytest

from qa.ask_settings import AskSettings
from space import blind, compare_views
from space.answering import Answer
from space.blind import PACE, SIDES, Comparison, Comparisons, VoteError, arranged, paced, toss, veiled
from space.compare import Pair
from space.compare_frames import Column, CompareTab, Parts, chosen
from space.feedback import Tally
from space.state import AppState
from tests.space_fakes import served, unloaded

DONE = (Answer("First words", "done", "Done · 2 tokens", 2, 1.0), Answer("Others", "cut", "Cut · 1 token", 1, 0.5))
FINISHED = Comparison("What is it?", AskSettings.greedy(), DONE, ("tuned", "base"), blind=True)


def writing(text: str, tokens: int) -> Answer:
    return Answer(text, "writing", f"Writing · {tokens} tokens · 7.3 per second", tokens, tokens / 7)


def test_the_coin_falls_on_both_sides() -> None:
    assert {toss() for _ in range(200)} == {SIDES, SIDES[::-1]}


def test_columns_follow_the_coin() -> None:
    pair = Pair(base=DONE[0], tuned=DONE[1])
    assert arranged(pair, ("base", "tuned")) == DONE
    assert arranged(pair, ("tuned", "base")) == DONE[::-1]


def test_what_is_shown_has_no_counts_and_no_times() -> None:
    states = [
        (Answer("", "reading", "Reading 64 of 112 tokens"), writing("Now", 1)),
        (writing("abc", 3), writing("abcdef", 5)),
        (writing("abc", 3), DONE[0]),
        (DONE[0], DONE[1]),
        (Answer("a", "stopped", "Stopped · 1 token", 1, 0.1), Answer("", "stopped", "Stopped before the first word")),
    ]
    for both in states:
        for shown in veiled(*both):
            assert (shown.tokens, shown.seconds) == (0, 0.0)
            assert not any(sign.isdigit() for sign in shown.status)


def test_both_columns_have_as_many_characters_until_the_shorter_answer_is_whole() -> None:
    assert [shown.text for shown in veiled(writing("abc", 3), writing("abcdef", 5))] == ["abc", "abc"]
    early = veiled(writing("ab", 1), Answer("abcd", "done", "Done", 2, 1))
    assert [(shown.text, shown.state) for shown in early] == [("ab", "writing"), ("ab", "writing")]
    late = veiled(writing("abcdef", 3), Answer("abcd", "done", "Done", 2, 1))
    assert [(shown.text, shown.state) for shown in late] == [("abcdef", "writing"), ("abcd", "done")]
    assert [shown.state for shown in veiled(writing("a", 1), Answer("", "reading", "Reading"))] == ["reading"] * 2


def test_a_place_in_the_queue_is_told() -> None:
    queued = Answer("", "queued", "Place 2 in the queue · about 40 s", place=2, wait=40.0)
    assert [shown.status for shown in veiled(queued, queued)] == [queued.status] * 2


def streamed(base: str, tuned: str, models: tuple[blind.Side, blind.Side]) -> list[Comparison]:
    """A comparison as the machine makes it: base's token first in every round, each token of its own length."""
    rng, clock = random.Random(0), itertools.count()
    now = Pair(Answer("", "reading", "Reading"), Answer("", "reading", "Reading"))
    texts, found = {"base": base, "tuned": tuned}, []
    while not now.finished:
        for side in SIDES:
            answer = getattr(now, side)
            if answer.finished:
                continue
            text = texts[side][: len(answer.text) + rng.randint(1, 5)]
            state = "done" if text == texts[side] else "writing"
            now = replace(now, **{side: Answer(text, state, state.capitalize(), next(clock), 1.0)})
            found.append(Comparison("q", AskSettings.greedy(), arranged(now, models), models, blind=True))
    return found


def test_the_order_of_the_stream_does_not_tell_who_was_served_first() -> None:
    """The text of both columns grows in the same frame, by as much: swapping the models swaps the columns, no more."""
    frames = streamed("a" * 40, "b" * 40, SIDES)
    swapped = streamed("a" * 40, "b" * 40, SIDES[::-1])
    assert [now.shown for now in frames] == [now.shown[::-1] for now in swapped]
    lengths = [tuple(len(answer.text) for answer in now.shown) for now in frames]
    together = [pair for pair in lengths if 40 not in pair]
    assert len(together) > 5
    assert all(first == second for first, second in together)


def test_frames_are_paced_and_the_last_one_is_whole() -> None:
    frames = streamed("a" * 40, "b" * 60, SIDES)
    ticks = itertools.count(0.0, PACE / 4)
    times: list[float] = []

    def clock() -> float:
        times.append(next(ticks))
        return times[-1]

    shown = list(paced(iter(frames), clock))
    assert shown[-1] == frames[-1]
    assert 3 < len(shown) < len(frames) / 2
    assert all(before.shown != after.shown for before, after in pairwise(shown[:-1]))
    open_ones = [replace(now, blind=False) for now in frames]
    assert list(paced(iter(open_ones), clock)) == open_ones


def test_a_vote_counts_for_the_model_behind_the_column() -> None:
    comparisons = Comparisons()
    wanted = {"first": "tuned", "second": "base", "tie": "tie", "bad": "bad"}
    for ballot, choice in wanted.items():
        comparisons.put("visitor", FINISHED)
        voted = comparisons.vote("visitor", ballot)
        assert (voted.choice, voted.hidden, voted.shown) == (choice, False, DONE)
    assert comparisons.tally("visitor") == Tally(base=1, tuned=1, ties=2)
    assert comparisons.tally("somebody else") == Tally()
    assert FINISHED.of("tuned") == DONE[0]


@pytest.mark.parametrize(
    ("comparison", "reason"),
    [
        (None, "no finished comparison"),
        (replace(FINISHED, blind=False), "Only blind comparisons"),
        (replace(FINISHED, answers=(DONE[0], writing("a", 1))), "Only blind comparisons"),
        (replace(FINISHED, answers=(DONE[0], Answer("a", "stopped", "Stopped"))), "Only blind comparisons"),
        (replace(FINISHED, vote="first"), "has your vote already"),
    ],
)
def test_a_vote_without_a_finished_blind_comparison_is_refused(comparison: Comparison | None, reason: str) -> None:
    comparisons = Comparisons()
    comparisons.put("visitor", comparison)
    with pytest.raises(VoteError, match=reason):
        comparisons.vote("visitor", "first")
    with pytest.raises(VoteError, match="no finished comparison"):
        comparisons.vote("stranger", "first")
    assert comparisons.tally("visitor") == Tally()


def test_a_ballot_of_somebody_elses_making_is_refused() -> None:
    comparisons = Comparisons()
    comparisons.put("visitor", FINISHED)
    with pytest.raises(VoteError, match="no such vote"):
        comparisons.vote("visitor", "tuned")
    assert comparisons.get("visitor") == FINISHED


def test_of_many_votes_at_once_one_counts() -> None:
    comparisons, refused, start = Comparisons(), [], threading.Barrier(8)
    comparisons.put("visitor", FINISHED)

    def vote() -> None:
        start.wait()
        try:
            comparisons.vote("visitor", "first")
        except VoteError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=vote) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 7
    assert comparisons.tally("visitor") == Tally(tuned=1)


def test_only_so_many_sessions_are_remembered(monkeypatch) -> None:
    monkeypatch.setattr(blind, "MOST_SESSIONS", 3)
    comparisons = Comparisons()
    for number in range(5):
        comparisons.put(str(number), FINISHED)
        comparisons.put("0", FINISHED)  # who comes back is not the oldest
    assert [comparisons.get(str(number)) is not None for number in range(5)] == [True, False, False, True, True]


def asked_by(session: str) -> gr.Request:
    return gr.Request(SimpleNamespace(headers={}, client=None), session_hash=session)


def drawn_by(state: AppState) -> CompareTab:
    """A tab whose components are their own names."""
    columns = tuple(Column(*(f"{name} {number}" for name in Column.__dataclass_fields__)) for number in (1, 2))
    parts = Parts(**{**{name: name for name in Parts.__dataclass_fields__}, "columns": columns})
    return CompareTab(gr.Blocks(), state, parts)


def test_marks_without_a_comparison_change_nothing() -> None:
    """An empty frame is an error of Gradio's."""
    tab = drawn_by(unloaded())
    assert tab.mark(True, asked_by("nobody")) == {"note": gr.skip()}
    tab.comparisons.put("visitor", FINISHED)
    assert "fn-only" not in str(tab.mark(False, asked_by("visitor")))
    assert {"marked 1", "marked 2"} <= tab.mark(True, asked_by("visitor")).keys()


def test_answers_of_the_same_words_stay_formatted() -> None:
    same = replace(FINISHED, answers=(replace(DONE[0], text="**One** word"), replace(DONE[1], text="**One**\nword")))
    assert compare_views.marked_texts(same) is None
    assert compare_views.marked_texts(FINISHED) is not None


def test_what_keeps_both_from_being_asked_is_said_once() -> None:
    tab = drawn_by(unloaded())
    nobody = SimpleNamespace(target=None)
    frames = list(tab.run("What?", False, False, 0, 200, 0, None, nobody, asked_by("visitor")))
    last = {name: value for frame in frames for name, value in frame.items()}
    assert "The base model is still waiting" in last["note"]
    assert (last["line 1"], last["line 2"], last["said"]) == ("", "", "")
    other = (replace(DONE[0], text="", state="failed", status="One"), replace(DONE[1], state="failed", status="Two"))
    assert compare_views.refusal(other) == compare_views.refusal(DONE) == ""
    assert "One" in compare_views.said(other)


def test_the_link_of_a_blind_comparison_comes_with_the_vote_and_is_blind() -> None:
    tab = drawn_by(unloaded())
    tab.comparisons.put("visitor", FINISHED)
    before = compare_views.acts(FINISHED)
    after = tab.vote("tie", False, asked_by("visitor"))["acts"]
    assert ('"fn-share"' in before, '"fn-shared"' in before) == (False, True)
    assert '&amp;length=200&amp;blind=1"' in after
    assert "blind=1" not in compare_views.acts(replace(FINISHED, blind=False))


@pytest.mark.parametrize("temperature", [0, 0.8])
def test_both_models_answer_at_the_length_that_was_chosen(temperature: float) -> None:
    settings = chosen(temperature, 64, 7)
    assert (settings.temperature, settings.max_tokens, settings.seed) == (temperature, 64, 7)
    assert chosen(temperature, 9999, 7).max_tokens == 300


def test_an_answer_without_a_word_says_so_behind_the_veil_too() -> None:
    empty = replace(DONE[0], text="", status="Done · the model wrote nothing")
    assert [shown.status for shown in veiled(empty, DONE[1])] == [empty.status, "Cut at its limit"]


def test_refused_comparisons_evict_nobody(monkeypatch) -> None:
    monkeypatch.setattr(blind, "MOST_SESSIONS", 1)
    state = served()
    tab = drawn_by(state)
    tab.comparisons.put("voter", FINISHED)

    def ask(question: str, session: str) -> None:
        list(tab.run(question, True, False, 0, 200, 0, None, SimpleNamespace(target=None), asked_by(session)))

    ask("", "stranger")
    assert tab.comparisons.get("voter") == FINISHED
    ask("", "voter")
    assert tab.comparisons.get("voter") is None  # the page has put the refusal in its place
    ask("What?", "stranger")
    assert tab.comparisons.get("stranger").votable
    state.models.scheduler.close()
