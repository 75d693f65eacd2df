"""Evaluations: long work in pieces that gives way to whoever asks, one at a time, and ends when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from threading import Event

import pytest

from qa.evaluation_turns import PULSE, TURN
from qa.scheduler import Aborted, Limits, Queued, Refused, Scheduler
from tests.scheduler_engine import PATIENCE, FakeEngine, Reader, part, serving, text_of, until


@pytest.fixture(autouse=True)
def _quick_pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PULSE <= 0.5
    monkeypatch.setattr("qa.evaluation_turns.PULSE", 0.01)


def pieces(count: int, done: Callable[[int], object] = int) -> list[Callable[[threading.Event], object]]:
    return [lambda _, number=number: done(number) for number in range(count)]


def results(turns: Iterable) -> list:
    """All but the signs of life: how many of those there are is the machine's affair."""
    return [found for found in turns if not isinstance(found, Queued)]


class Evaluation(threading.Thread):
    """Runs an evaluation in a thread of its own, as a page does."""

    def __init__(self, scheduler: Scheduler, visitor: str, works: Iterable) -> None:
        super().__init__(daemon=True)
        self.cancel, self.found, self.error = threading.Event(), [], None
        self.turns = scheduler.evaluate(visitor, works, self.cancel)
        self.start()

    def run(self) -> None:
        try:
            for found in self.turns:
                self.found.append(found)
        except Exception as error:
            self.error = error

    @property
    def results(self) -> list:
        return results(self.found)

    @property
    def places(self) -> list[int]:
        return [found.place for found in self.found if isinstance(found, Queued)]

    def all(self) -> list:
        self.join(PATIENCE)
        assert not self.is_alive(), "the evaluation did not end"
        return self.results


def test_every_piece_runs_in_order_on_the_thread_that_owns_the_engines():
    threads = set()
    with serving(tuned=FakeEngine()) as (scheduler, _):
        works = pieces(3, lambda number: threads.add(threading.get_ident()))
        assert results(scheduler.evaluate("ann", works, Event())) == [None, None, None]
        assert threads == {scheduler._thread.ident}
        assert results(scheduler.evaluate("ann", pieces(2), Event())) == [0, 1]


def test_whoever_asks_goes_first_and_the_evaluation_says_so():
    engine, order = FakeEngine(held=True), []
    with serving(tuned=engine) as (scheduler, _):
        reader = Reader(scheduler.submit("ann", [part("why", 2)]))
        engine.in_step()
        evaluation = Evaluation(scheduler, "ben", pieces(2, lambda number: order.append(engine.steps)))
        until(lambda: 1 in evaluation.places, "it is told that it waits")
        assert not evaluation.results
        assert next(found.wait for found in evaluation.found if isinstance(found, Queued)) == TURN
        engine.release()
        assert text_of(reader.all()) == "why:1 why:2 "
        assert evaluation.all() == [None, None]
    assert order == [3, 3]  # after the three steps of the answer


def test_a_piece_that_has_waited_its_turn_goes_first_once():
    engine = FakeEngine(held=True)
    with serving(tuned=engine) as (scheduler, clock):
        reader = Reader(scheduler.submit("ann", [part("why", 90)]))
        engine.in_step()
        evaluation = Evaluation(scheduler, "ben", pieces(2))
        until(lambda: evaluation.places, "it waits")
        clock.pass_(TURN - 1)
        engine.let(3)
        until(lambda: engine.steps == 4, "three steps are done")
        assert evaluation.results == []
        clock.pass_(1)
        engine.let()
        until(lambda: evaluation.results == [0], "its first piece is done while an answer is written")
        engine.let(3)
        until(lambda: engine.steps == 8, "three steps more are done")
        assert evaluation.results == [0]
        assert not reader.job.ended
        reader.job.cancel()
        engine.release()
        assert evaluation.all() == [0, 1]


def test_one_evaluation_at_a_time_and_the_others_know_their_place():
    gate, entered = Event(), Event()

    def slow(cancel: threading.Event) -> str:
        entered.set()
        assert gate.wait(PATIENCE)
        return "slow"

    with serving(tuned=FakeEngine()) as (scheduler, _):
        first = Evaluation(scheduler, "ann", [slow, slow])
        assert entered.wait(PATIENCE)
        second = Evaluation(scheduler, "ben", pieces(1))
        until(lambda: second.places, "the second waits")
        third = Evaluation(scheduler, "cem", pieces(1))
        until(lambda: third.places, "the third waits")
        assert (second.places[0], third.places[0], scheduler.load().evaluations) == (2, 3, 3)
        second.cancel.set()
        second.all()
        assert isinstance(second.error, Aborted)
        until(lambda: third.places[-1] == 2, "the third moves up")
        gate.set()
        assert (first.all(), third.all()) == (["slow", "slow"], [0])


def test_an_expected_wait_is_told_once_an_evaluation_was_measured():
    engine, gate, entered = FakeEngine(), Event(), Event()

    def slow(cancel: threading.Event) -> None:
        entered.set()
        assert gate.wait(PATIENCE)

    with serving(tuned=engine) as (scheduler, clock):
        Evaluation(scheduler, "ann", [lambda _: clock.pass_(60)]).all()
        Evaluation(scheduler, "ann", [slow])
        assert entered.wait(PATIENCE)
        clock.pass_(20)
        second = Evaluation(scheduler, "ben", pieces(1))
        until(lambda: second.found, "the second waits")
        assert second.found[0] == Queued(2, 40.0)
        gate.set()
        second.all()


def test_cancelling_ends_it_at_once_and_tells_the_piece():
    told, entered, left = Event(), Event(), Event()

    def deaf(cancel: threading.Event) -> None:
        entered.set()
        assert cancel.wait(PATIENCE)
        told.set()
        assert left.wait(PATIENCE)  # as a computation that takes its time to end

    with serving(tuned=FakeEngine()) as (scheduler, _):
        evaluation = Evaluation(scheduler, "ann", [deaf, *pieces(3)])
        assert entered.wait(PATIENCE)
        evaluation.cancel.set()
        assert evaluation.all() == []
        assert isinstance(evaluation.error, Aborted)
        assert told.wait(PATIENCE)
        assert scheduler.load().evaluations == 0
        left.set()
        assert results(scheduler.evaluate("ann", pieces(1), Event())) == [0]


def test_leaving_the_iteration_ends_the_piece_and_lets_the_next_evaluation_on():
    entered, cancel = Event(), Event()

    def endless(event: threading.Event) -> None:
        entered.set()
        assert event.wait(PATIENCE)

    engine = FakeEngine(held=True)
    with serving(tuned=engine) as (scheduler, clock):
        scheduler.submit("ann", [part("why", 50)])
        engine.in_step()
        turns = scheduler.evaluate("ben", [endless], cancel)
        assert next(turns) == Queued(1, TURN)
        clock.pass_(TURN)
        engine.let()
        assert entered.wait(PATIENCE)
        turns.close()
        assert cancel.is_set()
        engine.release()
        assert list(scheduler.evaluate("cem", pieces(1), Event()))[-1] == 0


def test_what_a_piece_raises_rises_in_the_evaluation_and_the_thread_goes_on():
    def broken(cancel: threading.Event) -> None:
        raise KeyError("no such option")

    with serving(tuned=FakeEngine()) as (scheduler, _):
        with pytest.raises(KeyError, match="no such option"):
            list(scheduler.evaluate("ann", [broken], Event()))
        assert text_of(list(scheduler.submit("ann", [part("why", 1)]))) == "why:1 "


def test_an_evaluation_counts_as_one_of_two_things_but_lets_its_visitor_ask():
    engine, gate, entered = FakeEngine(held=True), Event(), Event()

    def slow(cancel: threading.Event) -> None:
        entered.set()
        assert gate.wait(PATIENCE)

    with serving(tuned=engine) as (scheduler, _):
        evaluation = Evaluation(scheduler, "ann", [slow, *pieces(1)])
        assert entered.wait(PATIENCE)
        reader = Reader(scheduler.submit("ann", [part("why", 1)]))
        with pytest.raises(Refused, match="something under way"):
            scheduler.submit("ann", [part("more")])
        with pytest.raises(Refused, match="something under way"):
            next(scheduler.evaluate("ann", pieces(1), Event()))
        gate.set()
        engine.release()
        assert text_of(reader.all()) == "why:1 "
        assert evaluation.all() == [None, 0]


def test_an_evaluation_that_nobody_listens_to_is_dropped():
    with serving(tuned=FakeEngine()) as (scheduler, clock):
        turns = scheduler.evaluate("ann", pieces(9), Event())
        assert next(found for found in turns if not isinstance(found, Queued)) == 0
        other = Evaluation(scheduler, "ben", pieces(1))
        until(lambda: other.places, "the other waits for it")
        clock.pass_(16)
        assert other.all() == [0]
        with pytest.raises(Aborted):
            next(turns)


def test_closing_the_scheduler_ends_evaluations():
    entered = Event()

    def endless(event: threading.Event) -> None:
        entered.set()
        assert event.wait(PATIENCE)

    with serving(tuned=FakeEngine()) as (scheduler, _):
        running, waiting = Evaluation(scheduler, "ann", [endless]), Evaluation(scheduler, "ben", pieces(1))
        assert entered.wait(PATIENCE)
        scheduler.close()
        running.all()
        waiting.all()
        assert isinstance(running.error, Aborted)
        assert isinstance(waiting.error, Aborted)
        with pytest.raises(Refused, match="closing"):
            next(scheduler.evaluate("cem", pieces(1), Event()))


def test_the_line_of_evaluations_is_bounded_and_nobody_waits_for_ever():
    entered = Event()

    def endless(event: threading.Event) -> None:
        entered.set()
        assert event.wait(PATIENCE)

    limits = Limits(evaluations=2, patience=100.0, evaluation_deadline=300.0)
    with serving(limits, tuned=FakeEngine()) as (scheduler, clock):
        running = Evaluation(scheduler, "ann", [endless])
        assert entered.wait(PATIENCE)
        waiting = Evaluation(scheduler, "ben", pieces(1))
        until(lambda: waiting.places, "the second waits")
        for refused in (lambda: next(scheduler.evaluate("cem", pieces(1), Event())),
                        lambda: scheduler.check("cem", evaluation=True)):  # fmt: skip
            with pytest.raises(Refused, match=r"^2 evaluations are under way or waiting"):
                refused()
        scheduler.check("cem")
        clock.pass_(100)
        scheduler.check("cem")  # looks at the others' times too, since the thread that owns the engines computes
        waiting.all()
        assert isinstance(waiting.error, Refused)
        assert "waited too long" in str(waiting.error)
        clock.pass_(200)
        scheduler.check("cem")
        running.all()
        assert "ended after 5 minutes" in str(running.error)
