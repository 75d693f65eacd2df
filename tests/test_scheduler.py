"""The scheduler: who is answered when, what a waiting visitor sees, and who is refused."""

from __future__ import annotations

import threading

import pytest

from qa.engine import PromptTooLong
from qa.job import PULSE, Job, News
from qa.scheduler import Limits, Refused
from qa.waiting_line import Pace
from tests.scheduler_engine import FakeEngine, Reader, part, serving, text_of, until


def test_an_answer_arrives_whole_and_ends_as_the_engine_said():
    with serving(tuned=FakeEngine()) as (scheduler, _):
        news = list(scheduler.submit("ann", [part("why", 4)]))
    assert text_of(news) == "why:1 why:2 why:3 why:4 "
    assert (news[-1].chunk.state, news[-1].chunk.finish, news[-1].chunk.tokens) == ("done", "stop", 4)


def test_first_come_first_served_with_places_from_one():
    engine = FakeEngine(parallel=1, held=True)
    with serving(tuned=engine) as (scheduler, _):
        jobs = [scheduler.submit(name, [part(name, 1)]) for name in ("ann", "ben", "cem")]
        engine.in_step()
        readings = [iter(job) for job in jobs[1:]]
        assert [next(reading) for reading in readings] == [News(0, None, 1, None), News(0, None, 2, None)]
        readings.clear()
        assert (scheduler.load().running, scheduler.load().waiting) == (1, 0)  # leaving an iteration drops its job


def test_places_move_up_and_the_order_is_kept():
    engine = FakeEngine(parallel=1, held=True)
    with serving(tuned=engine) as (scheduler, _):
        readers = [Reader(scheduler.submit("ann", [part("ann", 1)]))]
        engine.in_step()
        readers += [Reader(scheduler.submit(name, [part(name, 1)])) for name in ("ben", "cem")]
        until(lambda: any(new.place == 2 for new in readers[2].news), "the third sees place 2")
        engine.let(2)
        until(lambda: any(new.place == 1 for new in readers[2].news), "the third moves to place 1")
        engine.release()
        assert [text_of(reader.all()) for reader in readers] == ["ann:1 ", "ben:1 ", "cem:1 "]
        assert [new.place for new in readers[2].news if new.chunk is None][:1] == [2]


def test_no_more_answers_at_once_than_the_limit_although_slots_are_free():
    tuned, base = FakeEngine(held=True), FakeEngine()
    with serving(Limits(parallel=2), tuned=tuned, base=base) as (scheduler, _):
        for name in ("ann", "ben", "cem"):
            scheduler.submit(name, [part(name, 1, "base" if name == "ben" else "tuned")])
        tuned.in_step()
        tuned.let()
        tuned.in_step()
        assert (scheduler.load().running, scheduler.load().waiting) == (2, 1)


def test_two_parts_begin_together_and_are_told_apart():
    tuned, base = FakeEngine(parallel=1, held=True), FakeEngine(parallel=1)
    with serving(tuned=tuned, base=base) as (scheduler, _):
        first = Reader(scheduler.submit("ann", [part("only", 1)]))
        tuned.in_step()
        both = Reader(scheduler.submit("ben", [part("left", 2, "base"), part("right", 3, "tuned")]))
        until(lambda: {new.part for new in both.news} == {0, 1}, "both parts are told their place")
        assert base.steps == 0, "the base began before the other side had a slot"
        tuned.release()
        news = both.all()
        assert (text_of(news, 0), text_of(news, 1)) == ("left:1 left:2 ", "right:1 right:2 right:3 ")
        assert text_of(first.all()) == "only:1 "


def test_where_one_answer_is_written_at_once_a_comparison_runs_alone():
    engines = {"tuned": FakeEngine(parallel=1), "base": FakeEngine(parallel=1)}
    with serving(Limits(parallel=1), **engines) as (scheduler, _):
        news = list(scheduler.submit("ann", [part("a", 1, "base"), part("b", 1)]))
    assert (text_of(news, 0), text_of(news, 1)) == ("a:1 ", "b:1 ")


def test_a_visitor_has_one_running_and_one_waiting_and_holds_up_nobody():
    engine = FakeEngine(held=True)
    with serving(tuned=engine) as (scheduler, _):
        scheduler.submit("ann", [part("one")])
        scheduler.submit("ann", [part("two")])
        with pytest.raises(Refused, match="something under way and something waiting"):
            scheduler.submit("ann", [part("three")])
        scheduler.submit("ben", [part("other", 1)])
        until(lambda: scheduler.load().running == 2, "the other visitor overtakes the second question")
        assert scheduler.load().waiting == 1


def test_an_address_that_makes_up_sessions_is_bounded():
    engine = FakeEngine(held=True)
    with serving(Limits(per_address=3), tuned=engine) as (scheduler, _):
        for number in range(3):
            scheduler.submit(f"8.8.4.4/{number}", [part("more")])
        with pytest.raises(Refused, match="from your address"):
            scheduler.submit("8.8.4.4/4", [part("more")])
        scheduler.submit("8.8.8.8/4", [part("other")])


def test_a_full_queue_a_long_prompt_a_missing_model_and_a_closed_scheduler_are_refused():
    engine = FakeEngine(parallel=1, held=True)
    with serving(Limits(waiting=1), tuned=engine) as (scheduler, _):
        with pytest.raises(PromptTooLong, match="at most 399"):
            scheduler.submit("ann", [part("x" * 400)])
        with pytest.raises(Refused, match="not ready"):
            scheduler.submit("ann", [part("x", engine="base")])
        scheduler.submit("ann", [part("x")])
        engine.in_step()
        scheduler.submit("ben", [part("x")])
        with pytest.raises(Refused, match=r"^1 question is waiting already"):
            scheduler.submit("cem", [part("x")])
    with pytest.raises(Refused, match="closing"):
        scheduler.submit("dan", [part("x")])


def test_news_that_nobody_took_are_merged():
    engine = FakeEngine()
    with serving(tuned=engine) as (scheduler, _):
        job = scheduler.submit("ann", [part("why", 20)])
        until(lambda: not engine.busy and engine.steps, "the answer is written")
        news = list(job)
    assert text_of(news) == "".join(f"why:{number} " for number in range(1, 21))
    assert len(news) <= 3


def test_whoever_waits_hears_something_again_and_again(monkeypatch: pytest.MonkeyPatch):
    assert PULSE <= 0.5
    monkeypatch.setattr("qa.job.PULSE", 0.01)
    engine = FakeEngine(parallel=1, held=True)
    with serving(tuned=engine) as (scheduler, _):
        running = Reader(scheduler.submit("ann", [part("x", 1)]))
        engine.in_step()
        waiting = Reader(scheduler.submit("ben", [part("x", 1)]))
        until(lambda: len(running.news) > 5 and len(waiting.news) > 5, "signs of life without any news")
        assert {new.chunk.state for new in running.news if new.chunk} == {"reading"}
        assert {(new.chunk, new.place) for new in waiting.news} == {(None, 1)}


def test_the_expected_wait_comes_from_what_turns_took():
    pace = Pace()
    assert pace.wait([], [], 1, 4) is None
    pace.measured(30.0)
    assert pace.wait([10.0, 20.0], [], 1, 2) == 10.0  # the rest of the one that has run 20 of 30 seconds
    assert pace.wait([10.0, 20.0], [1], 1, 2) == 20.0
    assert pace.wait([10.0, 20.0], [1, 1], 1, 2) == 40.0
    assert pace.wait([10.0, 20.0], [2], 1, 2) == 50.0  # a comparison begins when both slots are free
    assert pace.wait([45.0], [], 1, 1) == 0.0
    assert pace.wait([10.0], [], 1, 2) == 0.0
    pace.measured(40.0)
    assert pace.seconds == 32.0


def test_a_wait_is_told_once_a_job_was_measured():
    engine = FakeEngine(parallel=1, held=True)
    with serving(Limits(parallel=1), tuned=engine) as (scheduler, clock):
        assert scheduler.expected_seconds is None
        first = Reader(scheduler.submit("ann", [part("one", 1)]))
        engine.in_step()
        clock.pass_(12)
        engine.let(2)
        first.all()
        assert scheduler.expected_seconds == 12.0
        scheduler.submit("ben", [part("two", 9)])
        until(lambda: scheduler.load().running == 1, "the second runs")
        clock.pass_(4)
        assert next(iter(scheduler.submit("cem", [part("three")]))) == News(0, None, 1, 8.0)


def test_an_idle_scheduler_sleeps_and_one_thread_computes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("qa.scheduler.PULSE", 0.001)
    engine = FakeEngine()
    with serving(tuned=engine) as (scheduler, _):
        for name in "abc":
            list(scheduler.submit(name, [part(name, 2)]))
        turns = []
        scheduler._sweep = lambda: turns.append(1)
        threading.Event().wait(0.05)
        assert len(turns) <= 1  # the turn that was under way
        assert engine.threads == {scheduler._thread.ident}


def places(*jobs: Job) -> list[tuple[int, float | None]]:
    """What each is told first; nobody takes the rest of its news."""
    iterators = [iter(job) for job in jobs]
    told = [next(iterator) for iterator in iterators]
    return [(new.place, new.wait) for new in told]


def test_a_visitors_second_question_waits_for_the_first_although_a_slot_is_free():
    engine = FakeEngine(held=True)
    with serving(tuned=engine) as (scheduler, clock):
        scheduler._pace.measured(60.0)
        scheduler.submit("ann", [part("one", 50)])
        engine.in_step()
        clock.pass_(10)
        assert places(scheduler.submit("ann", [part("two")])) == [(1, 50.0)]


def test_a_question_that_cannot_begin_yet_counts_for_nobody_else():
    engine = FakeEngine(parallel=1, held=True)
    with serving(Limits(parallel=1), tuned=engine) as (scheduler, clock):
        scheduler._pace.measured(60.0)
        scheduler.submit("ann", [part("one", 50)])
        engine.in_step()
        clock.pass_(10)
        jobs = [scheduler.submit(name, [part("next")]) for name in ("ann", "ben", "cem", "cem", "dan")]
        assert places(*jobs) == [(1, 50.0), (1, 50.0), (2, 110.0), (3, 170.0), (3, 170.0)]
