"""Blind comparison without a browser: nothing shown depends on whose answer it is, and each comparison has one vote."""

from __future__ import annotations

import itertools
import random
import threading
from dataclasses import replace
from itertools import pairwise

import pytest

from qa.ask_settings import AskSettings
from space import blind
from space.answering import Answer
from space.blind import PACE, SIDES, Comparison, Comparisons, VoteError, arranged, paced, toss, veiled
from space.compare import Pair
from space.feedback import Tally

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
