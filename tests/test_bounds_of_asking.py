"""What a question costs before it is taken on: who is counted, what is tokenised, and what no encoder can take."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qa.ask_settings import AskSettings
from qa.engine import Chunk
from qa.prompts import PromptEncoder
from qa.scheduler import News
from space.answering import Answer, follow
from space.ask import ask
from space.compare import compare
from space.evaluate import Run, evaluate
from space.state import AppState
from space.stopping import Cancel, Stops
from space.visitors import Refused, Visitor, Visitors
from tests.scheduler_engine import FakeEngine as HeldEngine
from tests.scheduler_engine import part, serving
from tests.space_fakes import VISITOR, FakeEngine, served

SETTINGS = AskSettings()


class Encoder(PromptEncoder):
    """Counts the texts that it makes tokens of; `fault` is raised instead, after `before` was called."""

    def __init__(self, fault: Exception | None = None, before=lambda: None) -> None:
        super().__init__(self.read, 1001, 1002)
        self.texts, self.fault, self.before = [], fault, before

    def read(self, text: str) -> list[int]:
        if self.fault:
            self.before()
            raise self.fault
        self.texts.append(text)
        return list(text.encode())


def asked(state: AppState, question: str = "What?", turns: object = ()) -> Answer:
    *_, last = ask(state, VISITOR, turns, question, SETTINGS, Cancel())
    return last


def run(state: AppState) -> Run:
    *_, last = evaluate(state, VISITOR, 2, "letter", 0, Cancel())
    return last


def rated(state: AppState, per_address: int) -> AppState:
    return replace(state, visitors=Visitors(per_address=per_address))


def test_stop_interrupts_before_any_more_news_is_taken() -> None:
    engine, stops = HeldEngine(held=True), Stops()
    with serving(tuned=engine) as (scheduler, _), stops.job("ann", "ask") as cancel:
        stream = follow(scheduler.submit("ann", [part("why", 50)]), 1, cancel)
        next(stream)
        engine.in_step()
        assert not engine.generations[0].interrupted
        assert stops.stop("ann", "ask")
        assert engine.generations[0].interrupted
        engine.release()
        assert [answer.state for _, answer in stream][-1] == "stopped"


def test_a_stop_that_came_first_is_not_lost() -> None:
    cancel, calls = Cancel(), []
    cancel.set()
    cancel.on_set(lambda: calls.append("late"))
    assert calls == ["late"]


def test_whoever_asks_too_often_costs_no_tokens() -> None:
    encoder = Encoder()
    state = rated(served(tuned=FakeEngine(encoder=encoder)), 1)
    assert asked(state).state == "done"
    read = len(encoder.texts)
    assert read
    assert "1 question came from your address" in asked(state, turns=[("a", "b")]).status
    assert len(encoder.texts) == read
    state.models.scheduler.close()


def test_being_refused_for_what_is_under_way_neither_counts_nor_costs_tokens() -> None:
    encoder = Encoder()
    state = rated(served(tuned=FakeEngine(encoder=encoder, hangs=True)), 3)
    cancel = Cancel()
    streams = [ask(state, VISITOR, [], "What?", SETTINGS, cancel) for _ in range(2)]
    for stream in streams:
        next(stream)
    read = len(encoder.texts)
    for _ in range(3):
        assert "something under way" in asked(state).status
        assert "something under way" in run(state).problem
        (pair,) = compare(state, VISITOR, "What?", SETTINGS, Cancel())
        assert "something under way" in pair.base.status
    assert len(encoder.texts) == read
    state.visitors.check(VISITOR)  # the third of three
    with pytest.raises(Refused):
        state.visitors.check(VISITOR)
    cancel.set()
    for stream in streams:
        list(stream)
    state.models.scheduler.close()


def test_a_full_line_of_evaluations_does_not_count() -> None:
    state = rated(served(base=FakeEngine(hangs=True)), 1)
    limits = replace(state.models.scheduler.limits, evaluations=0)
    state.models.scheduler._evaluations._limits = limits
    assert "0 evaluations are under way or waiting" in run(state).problem
    state.visitors.check(VISITOR)
    state.models.scheduler.close()


def test_a_model_that_is_replaced_while_it_reads_is_asked_anew() -> None:
    state = served(tuned=FakeEngine(words=("Old.",)))
    new = FakeEngine(words=("New.",))
    closed = RuntimeError("the model is closed")
    state.models.engines["tuned"].encoder = Encoder(closed, lambda: state.models.engines.update(tuned=new))
    assert asked(state).text == "New."
    state.models.engines["tuned"] = FakeEngine(encoder=Encoder(closed))
    failed = asked(state)
    assert (failed.state, failed.status) == ("failed", "The model could not read the question; ask again in a moment.")
    *_, pair = compare(state, VISITOR, "What?", SETTINGS, Cancel())
    assert pair.tuned.status == failed.status
    state.models.scheduler.close()


def test_half_a_surrogate_pair_becomes_a_question_mark() -> None:
    engine = FakeEngine()
    state = served(tuned=engine)
    assert asked(state, "What is \ud800?", [("a\udfff", "\ud800b")]).state == "done"
    assert [message["content"] for message in engine.begun[0].messages[1:]] == ["a?", "?b", "What is ??"]
    state.models.scheduler.close()


def test_settings_of_any_size_are_clamped() -> None:
    assert AskSettings.clamped(seed=10**400, max_tokens=-(10**400)) == replace(SETTINGS, seed=2**31 - 1, max_tokens=16)
    assert AskSettings.clamped(temperature=10**400).temperature == 1.5
    nonsense = {"temperature": float("nan"), "top_p": float("inf"), "seed": True, "top_k": "9"}
    assert AskSettings.clamped(**nonsense) == SETTINGS


def test_an_asker_waits_for_one_model_of_one_question_at_most() -> None:
    """The turns of an evaluation are scores of one model; what they add up to is rows of both."""
    base, tuned = FakeEngine(), FakeEngine()
    state = served(base=base, tuned=tuned)
    told, turns = [], state.models.scheduler._evaluations
    work = turns.work

    def counted() -> None:
        work()
        told.append((len(base.asked), len(tuned.asked)))

    turns.work = counted
    assert [len(last.rows) for last in [run(state)]] == [2]
    state.models.scheduler.close()
    assert told == [(1, 0), (1, 1), (2, 1), (2, 2)]


def test_an_evaluation_past_its_time_says_so_and_keeps_its_rows() -> None:
    now = [1000.0]
    late = FakeEngine(score=lambda option: now.__setitem__(0, now[0] + 120) or 0.0)  # eight minutes a question
    state = served(base=late)
    state.models.scheduler._evaluations._clock = state.models.scheduler._clock = lambda: now[0]
    *_, last = evaluate(state, Visitor("late", "8.8.8.8"), 10, "letter", 0, Cancel())
    state.models.scheduler.close()
    assert (last.state, 1 <= len(last.rows) < 10) == ("failed", True)
    assert last.problem.startswith("The evaluation was ended after 30 minutes")


class Told(list[News]):
    """A job whose news were made beforehand."""

    def __init__(self, *news: News) -> None:
        super().__init__(news)

    def cancel(self) -> None:
        """Nothing is under way."""


def test_who_begins_at_once_is_told_no_place() -> None:
    reading = News(0, Chunk("", "reading", 40, 0, 0))
    alone = follow(Told(News(0, None, 1, 0.0), reading), 1, Cancel())
    assert [state.status for _, state in alone][:2] == ["Starting", "Starting"]
    waiting = follow(Told(News(0, None, 1, 12.0), News(0, None, 1, 11.5), reading), 1, Cancel())
    assert [state.status for _, state in waiting][:2] == ["Starting", "Place 1 in the queue · about 15 s"]
