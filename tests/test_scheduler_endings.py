"""How jobs end: stopped, left, too late, unheard or failed, and that every slot is given back."""

from __future__ import annotations

import gc
import random
import threading

import pytest

from qa.job import News
from qa.scheduler import Limits, Scheduler
from tests.scheduler_engine import FakeClock, FakeEngine, Reader, part, serving, text_of, until


def test_cancelling_a_running_job_does_not_wait_for_the_engine_and_keeps_the_counts():
    engine = FakeEngine(held=True)
    with serving(tuned=engine) as (scheduler, _):
        job = scheduler.submit("ann", [part("why", 50)])
        reader = Reader(job)
        engine.let(3)
        until(lambda: text_of(reader.news) == "why:1 why:2 ", "two words are read")
        job.cancel()
        last = reader.all()[-1]
        assert (last.chunk.finish, last.chunk.tokens, last.chunk.state) == ("cancelled", 2, "done")
        assert engine.generations, "the slot is still taken while the engine computes"
        assert scheduler.load().running == 0
        engine.let(2)
        until(lambda: engine.free == 4, "the slot is given back")


def test_cancelling_a_waiting_job_takes_it_out_of_the_queue():
    engine = FakeEngine(parallel=1, held=True)
    with serving(tuned=engine) as (scheduler, _):
        scheduler.submit("ann", [part("one")])
        engine.in_step()
        job, behind = scheduler.submit("ben", [part("two")]), scheduler.submit("cem", [part("three")])
        job.cancel()
        job.cancel()
        assert [(new.chunk.finish, new.chunk.tokens) for new in job] == [("cancelled", 0)]
        assert next(iter(behind)).place == 1


def test_leaving_the_iteration_frees_the_slot_even_while_the_lock_is_taken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("qa.job.PULSE", 0.01)
    engine = FakeEngine(held=True)
    with serving(tuned=engine) as (scheduler, _):
        iteration = iter(scheduler.submit("ann", [part("why", 50)]))
        next(iteration)
        with scheduler._lock:  # as where the garbage collector closes it in the middle of the scheduler's own work
            iteration.close()
        del iteration
        gc.collect()
        engine.let(3)
        until(lambda: engine.free == 4 and scheduler.load().running == 0, "the slot is given back")


def test_the_deadline_keeps_what_was_written():
    engine = FakeEngine(held=True)
    with serving(tuned=engine) as (scheduler, clock):
        reader = Reader(scheduler.submit("ann", [part("why", 50)]))
        engine.let(3)
        until(lambda: text_of(reader.news) == "why:1 why:2 ", "two words are read")
        clock.pass_(121)
        engine.let(2)
        news = reader.all()
    assert (news[-1].finish, news[-1].part) == ("deadline", 0)
    assert text_of(news).startswith("why:1 why:2 ")


def test_waiting_ends_with_patience_and_unheard_jobs_end_with_silence():
    engine = FakeEngine(parallel=1, held=True)
    with serving(Limits(patience=600, deadline=5000), tuned=engine) as (scheduler, clock):
        first = Reader(scheduler.submit("ann", [part("one", 900)]))
        engine.in_step()
        patient = Reader(scheduler.submit("ben", [part("two")]))
        until(lambda: patient.news and first.news, "both readers are there")
        unheard = scheduler.submit("cem", [part("three")])
        clock.pass_(16)
        engine.let(2)
        until(lambda: unheard.ended, "the unheard job is dropped")
        assert not patient.job.ended
        assert not first.job.ended
        clock.pass_(600)
        engine.let(2)
        assert patient.all()[-1] == News(0, None, finish="deadline")


def test_an_engine_that_fails_fails_its_jobs_and_the_others_go_on(caplog: pytest.LogCaptureFixture):
    tuned, base = FakeEngine(held=True), FakeEngine(held=True)
    with serving(tuned=tuned, base=base) as (scheduler, _):
        lost = Reader(scheduler.submit("ann", [part("secret words", 9)]))
        both = Reader(scheduler.submit("ben", [part("left", 9), part("right", 9, "base")]))
        kept = Reader(scheduler.submit("cem", [part("other", 2, "base")]))
        for engine in (tuned, base):  # one step, which may have begun before all were there
            engine.let()
        until(lambda: scheduler.load().running == 3, "all are begun")
        tuned.errors.append(RuntimeError("llama_decode returned -1"))
        tuned.release()
        base.release()
        assert [new.finish for new in lost.all()][-1] == "failed"
        assert {new.part for new in both.all() if new.finish == "failed"} == {0, 1}
        assert text_of(kept.all()) == "other:1 other:2 "
        assert text_of(list(scheduler.submit("dan", [part("again", 1)]))) == "again:1 "
    assert "llama_decode returned -1" in caplog.text
    assert "secret words" not in caplog.text


def test_an_engine_that_fails_serves_those_who_come_after(caplog: pytest.LogCaptureFixture):
    engine = FakeEngine(held=True)
    with serving(tuned=engine) as (scheduler, _):
        failing = [Reader(scheduler.submit(name, [part(name, 9)])) for name in ("ann", "ben")]
        engine.let()
        until(lambda: scheduler.load().running == 2, "both are begun")
        engine.errors.append(RuntimeError("llama_decode returned -1"))
        engine.in_step()
        engine.let()
        assert [reader.all()[-1].finish for reader in failing] == ["failed", "failed"]
        later = [Reader(scheduler.submit(name, [part(name, 2)])) for name in "abcd"]
        engine.release()
        assert [text_of(reader.all()) for reader in later] == [f"{name}:1 {name}:2 " for name in "abcd"]
        assert caplog.text.count("an engine failed") == 1


def test_a_job_that_cannot_begin_fails_and_frees_its_other_side():
    tuned, base = FakeEngine(refusals=[RuntimeError("no slot")]), FakeEngine()
    with serving(tuned=tuned, base=base) as (scheduler, _):
        news = list(scheduler.submit("ann", [part("left", 9, "base"), part("right", 9)]))
        assert {new.part for new in news if new.finish == "failed"} == {0, 1}
        until(lambda: base.free == 4, "the other side is free")


def test_an_engine_that_cannot_recover_does_not_hang_the_others():
    broken, base = FakeEngine(errors=[ValueError("gone"), ValueError("gone")]), FakeEngine()
    with serving(tuned=broken, base=base) as (scheduler, _):
        assert [new.finish for new in scheduler.submit("ann", [part("x", 9)])][-1] == "failed"
        assert text_of(list(scheduler.submit("ben", [part("y", 1, "base")]))) == "y:1 "
        broken.generations.clear()


def test_what_was_submitted_before_the_start_is_answered_and_closing_unstarted_ends_it():
    clock, engine = FakeClock(), FakeEngine()
    scheduler = Scheduler({"tuned": engine}, Limits(), clock)
    job, other = scheduler.submit("ann", [part("early", 1)]), scheduler.submit("ben", [part("late", 1)])
    other.cancel()
    scheduler.start()
    assert text_of(list(job)) == "early:1 "
    scheduler.close()
    scheduler.close()
    unstarted = Scheduler({"tuned": engine}, Limits(), clock)
    job = unstarted.submit("ann", [part("never", 1)])
    unstarted.close()
    assert [new.chunk.finish for new in job] == ["cancelled"]


def test_two_hundred_visitors_who_behave_as_people_do_leave_every_slot_free():
    chance = random.Random(7)
    engines = {"tuned": FakeEngine(), "base": FakeEngine(parallel=2)}
    problems: list[str] = []
    with serving(Limits(waiting=400), **engines) as (scheduler, clock):

        def visit(number: int) -> None:
            name, words = f"v{number}", chance.randint(1, 60)
            sides = chance.choice([["tuned"], ["base"], ["base", "tuned"]])
            leaves, cancels = chance.random() < 0.2, chance.random() < 0.2
            try:
                job = scheduler.submit(name, [part(f"{name}-{side}", words, side) for side in sides])
                texts = ["" for _ in sides]
                for new in job:
                    texts[new.part] += new.chunk.text if new.chunk else ""
                    if leaves and any(texts):
                        break
                    if cancels and any(texts):
                        job.cancel()
                for side, text in zip(sides, texts, strict=True):
                    whole = "".join(f"{name}-{side}:{count} " for count in range(1, words + 1))
                    assert whole.startswith(text), f"{name} was told {text!r}"
            except Exception as error:  # a thread's assertion is lost otherwise
                problems.append(repr(error))

        threads = [threading.Thread(target=visit, args=(number,)) for number in range(200)]
        for number, thread in enumerate(threads):
            thread.start()
            if number % 20 == 0:
                clock.pass_(chance.choice([1, 130]))
            if number % 50 == 0:
                engines["base"].errors.append(RuntimeError("a fault"))
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads)
        assert not problems
        until(lambda: (engines["tuned"].free, engines["base"].free) == (4, 2), "every slot is free")
