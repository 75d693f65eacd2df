"""What happens behind the tabs, without a browser: generators over a fake engine and the real scheduler."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator

import pytest

from qa.ask_settings import AskSettings
from qa.choices import choice_ids, pick
from qa.engine import Chunk
from qa.scheduler import News
from space.answering import Answer, follow
from space.ask import ask
from space.compare import compare
from space.evaluate import MOST_QUESTIONS, Run, draw, evaluate
from space.state import AppState
from space.stopping import Cancel
from space.visitors import Visitor
from tests.space_fakes import ENCODER, PROMPT, VISITOR, FakeEngine, served, unloaded
from tests.space_world import metrics, questions

SETTINGS = AskSettings()
FAILED = "The model failed on this question; ask again, or put it in other words."


class FakeJob:
    """News that were made beforehand; `cancelled` counts who ended it."""

    def __init__(self, *news: News) -> None:
        self.news, self.cancelled = news, 0

    def __iter__(self) -> Iterator[News]:
        return iter(self.news)

    def cancel(self) -> None:
        self.cancelled += 1


def asked(state: AppState, question: object = "What?", turns: object = (), settings: AskSettings = SETTINGS) -> Answer:
    *_, last = ask(state, VISITOR, turns, question, settings, Cancel())
    return last


def until(stream: Iterator, reached: Callable[[object], bool]) -> object:
    """The first of the states that is so."""
    return next(state for state in stream if reached(state))


def writing(count: int, text: str = "a ") -> Chunk:
    return Chunk(text, "writing", PROMPT, PROMPT, count)


def test_the_states_of_an_answer_follow_the_schedulers_news() -> None:
    ticks = iter(range(100))
    job = FakeJob(
        News(0, None, 3, None),
        News(0, None, 2, 38.2),
        News(0, None, 1, 140.0),
        News(0, Chunk("", "reading", PROMPT, 0, 0)),
        News(0, Chunk("", "reading", PROMPT, 32, 0)),
        News(0, writing(1, "Two ")),
        News(0, writing(3, "small ")),
        News(0, Chunk("words", "done", PROMPT, PROMPT, 4, "stop")),
    )
    states = [state for _, state in follow(job, 1, Cancel(), lambda: next(ticks))]
    assert [state.state for state in states] == [
        *("queued", "queued", "queued", "waiting", "reading", "writing", "writing", "done"),
    ]
    assert [state.status for state in states] == [
        "Place 3 in the queue",
        "Place 2 in the queue · about 40 s",
        "Place 1 in the queue · about 3 minutes",
        "Starting",
        "Reading 32 of 40 tokens",
        "Writing · 1 token",
        "Writing · 3 tokens · 2.0 per second",
        "Done · 4 tokens · 1.5 per second · 4.0 s",
    ]
    assert [(state.place, state.wait) for state in states[:4]] == [(3, None), (2, 38.2), (1, 140.0), (0, None)]
    assert [state.text for state in states[4:]] == ["", "Two ", "Two small ", "Two small words"]
    assert [state.finished for state in states] == [False] * 7 + [True]


@pytest.mark.parametrize(
    ("news", "state", "status"),
    [
        (
            News(0, Chunk("", "done", PROMPT, PROMPT, 3, "length")),
            "cut",
            "Cut at 3 tokens, the Length in Settings · 1.0 per second · 2.0 s",
        ),
        (News(0, Chunk("", "done", PROMPT, PROMPT, 3, "cancelled")), "stopped", "Stopped · 3 tokens · 1.0 per second"),
        (
            News(0, writing(3, "b"), finish="deadline"),
            "cut",
            "Cut at the time limit · 3 tokens · 1.0 per second · 2.0 s",
        ),
        (News(0, None, finish="failed"), "failed", FAILED),
    ],
)
def test_the_ends_of_an_answer(news: News, state: str, status: str) -> None:
    ticks = iter([0, 0, 2])
    job = FakeJob(News(0, Chunk("", "reading", PROMPT, 8, 0)), News(0, writing(1)), news)
    *_, (_, last) = follow(job, 1, Cancel(), lambda: next(ticks))
    assert (last.state, last.status) == (state, status)


def test_an_answer_that_never_began_says_so() -> None:
    waited = FakeJob(News(0, None, 9, 500.0), News(0, None, finish="deadline"))
    *_, (_, last) = follow(waited, 1, Cancel())
    assert (last.state, last.status[:43]) == ("failed", "Nothing was written within the time limit: ")
    stopped = FakeJob(News(0, Chunk("", "done", PROMPT, 0, 0, "cancelled")))
    *_, (_, last) = follow(stopped, 1, Cancel())
    assert (last.state, last.status) == ("stopped", "Stopped before the first word")
    silent = Chunk("", "done", PROMPT, PROMPT, 0, "stop")
    *_, (_, last) = follow(FakeJob(News(0, silent)), 1, Cancel())
    assert last.status == "Done · the model wrote nothing"
    gone = [(number, state.state) for number, state in follow(FakeJob(), 2, Cancel())]
    assert gone == [(0, "stopped"), (1, "stopped")]


def test_ask_streams_what_is_written_and_frees_its_slot() -> None:
    engine = FakeEngine()
    texts = [state.text for state in ask(served(tuned=engine), VISITOR, [], " What? ", SETTINGS, Cancel())]
    assert all(longer.startswith(shorter) for shorter, longer in itertools.pairwise(texts))
    assert texts[-1] == "Two small matrices."
    assert (engine.log[0], engine.log[-1], engine.free) == ("asked What? at 0.3", "freed", 4)
    assert engine.begun[0].settings == SETTINGS.as_dict()
    assert asked(served()).status.startswith("Done · 3 tokens · ")
    assert asked(served(tuned=FakeEngine(ending="length"))).state == "cut"


def test_an_answer_can_be_stopped_and_left() -> None:
    engine = FakeEngine(hangs=True)
    state, cancel = served(tuned=engine), Cancel()
    stream = ask(state, VISITOR, [], "What?", SETTINGS, cancel)
    until(stream, lambda now: now.text == "Two small matrices.")
    cancel.set()
    *_, last = stream
    assert (last.text, last.state, last.tokens) == ("Two small matrices.", "stopped", 3)
    left = ask(state, VISITOR, [], "What else?", SETTINGS, Cancel())
    until(left, lambda now: now.tokens == 3)
    left.close()
    state.models.scheduler.close()
    assert (engine.free, state.models.scheduler.load().running) == (4, 0)
    assert [generation.interrupted for generation in engine.begun] == [True, True]


def test_what_fails_says_so(caplog: pytest.LogCaptureFixture) -> None:
    assert (asked(served(), "").state, asked(served(), "").status) == ("failed", "Type a question first.")
    assert "601 characters" in asked(served(), "x" * 601).status
    assert "shorten it" in asked(served(tuned=FakeEngine(n_ctx=64))).status
    broken = served(tuned=FakeEngine(error=RuntimeError("llama_decode returned 1")))
    assert "ask again" in asked(broken, "a secret question").status
    assert "llama_decode returned 1" in caplog.text
    assert "secret" not in caplog.text
    assert "fine-tuned model is still waiting" in asked(unloaded()).status
    often = served()
    state = AppState(often.models, often.library, often.feedback, type(often.visitors)(per_address=1))
    assert [asked(state).state for _ in range(2)] == ["done", "failed"]
    assert "1 question came from your address" in asked(state).status


def test_a_visitor_has_one_running_and_one_waiting() -> None:
    state = served(tuned=FakeEngine(hangs=True))
    cancel = Cancel()
    first, second = (ask(state, VISITOR, [], "What?", SETTINGS, cancel) for _ in range(2))
    until(first, lambda now: now.tokens == 3)
    waiting = until(second, lambda now: now.state == "queued")
    assert (waiting.state, waiting.place, waiting.status) == ("queued", 1, "Place 1 in the queue")
    assert "something under way and something waiting" in asked(state).status
    other = ask(state, Visitor("another", "127.0.0.1"), [], "And?", SETTINGS, cancel)
    assert until(other, lambda now: now.tokens == 3).state == "writing"  # the queue is not held up by the second
    cancel.set()
    assert [list(stream)[-1].state for stream in (first, second, other)] == ["stopped"] * 3


def test_compare_asks_both_the_same_and_ends_with_both() -> None:
    base, tuned = FakeEngine(("a", "b")), FakeEngine(("c", "d", "e"))
    settings = AskSettings(temperature=0.7, seed=11)
    *_, last = compare(served(base=base, tuned=tuned), VISITOR, " What? ", settings, Cancel())
    assert (last.base.text, last.tuned.text, last.finished) == ("ab", "cde", True)
    assert (last.base.tokens, last.tuned.tokens) == (2, 3)
    (hers,), (his,) = base.begun, tuned.begun
    assert hers.messages == his.messages
    assert hers.settings == his.settings == settings.as_dict()
    refused = list(compare(served(), VISITOR, " ", settings, Cancel()))
    assert [(pair.base.state, pair.tuned.status) for pair in refused] == [("failed", "Type a question first.")]


def test_compare_stops_both_and_one_may_fail_alone() -> None:
    both = {"base": FakeEngine(hangs=True), "tuned": FakeEngine(hangs=True)}
    state, cancel = served(**both), Cancel()
    stream = compare(state, VISITOR, "What?", AskSettings.greedy(), cancel)
    until(stream, lambda pair: pair.base.tokens == pair.tuned.tokens == 3)
    cancel.set()
    *_, last = stream
    assert (last.base.state, last.tuned.state, last.finished) == ("stopped", "stopped", True)
    waiting = unloaded()
    (pair,) = compare(waiting, VISITOR, "What?", AskSettings.greedy(), Cancel())
    assert "base model is still waiting" in pair.tuned.status


def evaluated(state: AppState, number: object = 4, formulation: object = "letter", sample: object = 0) -> list[Run]:
    return list(evaluate(state, VISITOR, number, formulation, sample, Cancel()))


def test_evaluate_asks_the_published_questions_of_both_models() -> None:
    always_a, always_b = (FakeEngine(score=lambda option, best=best: -abs(best - ord(option))) for best in b"AB")
    runs = [run for run in evaluated(served(base=always_a, tuned=always_b)) if run.state != "queued"]
    assert [len(run.rows) for run in runs] == [0, 1, 2, 3, 4]
    last = runs[-1]
    assert (last.state, last.total, last.left) == ("done", 4, 0.0)
    assert [row.question for row in last.rows] == draw(questions(), 4, 0)
    assert [(row.base, row.tuned) for row in last.rows] == [(0, 1)] * 4
    assert {row.base_logprobs for row in last.rows} == {(0.0, -1.0, -2.0, -3.0)}
    assert [row.base_right for row in last.rows] == [row.question.answer == "A" for row in last.rows]
    assert draw(questions(), 4, 0) == draw(questions(), 4, 0) != draw(questions(), 4, 1)
    everything = draw(questions(), MOST_QUESTIONS, 0)
    assert sorted(everything, key=questions().index) == questions() != everything  # drawn, not sorted back


def test_cloze_weighs_options_by_their_length() -> None:
    question = questions()[1]
    options = choice_ids(ENCODER, question, "cloze").options
    assert bytes(options[3]).decode() == "They are not there"
    sums = [-15.0, -15.6, -16.2, -16.8]  # the longest option costs most in all, least for a character
    assert pick(sums, question, "letter") == 0
    assert pick(sums, question, "cloze") == 3
    prompt, labels, _ = choice_ids(ENCODER, question, "letter")
    assert [bytes(label).decode() for label in labels] == ["A", "B", "C", "D"]
    assert b"D. They are not there" in bytes(token for token in prompt if token < 256)


@pytest.mark.parametrize("side", ["base", "tuned"])
def test_an_evaluation_stops_in_the_middle_of_a_question(side: str) -> None:
    cancel = Cancel()
    stream = evaluate(served(**{side: FakeEngine(hangs=True)}), VISITOR, 3, "letter", 0, cancel)
    next(stream)
    threading.Timer(0.1, cancel.set).start()
    *_, last = stream
    assert (last.state, last.rows, last.left) == ("stopped", (), None)


def test_an_evaluation_stops_between_questions_and_keeps_its_rows() -> None:
    cancel = Cancel()
    stream = evaluate(served(), VISITOR, 10, "letter", 0, cancel)
    until(stream, lambda run: len(run.rows) == 2)
    cancel.set()
    assert [(run.state, len(run.rows)) for run in stream] == [("stopped", 2)]


def test_evaluations_wait_for_one_another_and_know_their_place() -> None:
    state, cancel = served(base=FakeEngine(hangs=True)), Cancel()
    first = evaluate(state, VISITOR, 3, "letter", 0, cancel)
    next(first)
    held = threading.Thread(target=lambda: list(first))
    held.start()
    second = evaluate(state, Visitor("another", "127.0.0.1"), 3, "letter", 0, Cancel())
    waiting = until(second, lambda run: run.state == "queued" and run.place)
    assert (waiting.place, waiting.wait, waiting.rows) == (2, None, ())
    second.close()
    cancel.set()
    held.join()
    state.models.scheduler.close()
    assert state.models.scheduler.load().evaluations == 0


def test_evaluate_refuses_what_it_cannot_do(caplog: pytest.LogCaptureFixture) -> None:
    wrong = [(number, "letter", 0) for number in (0, 26, -3, 2.5, None, "4", True)]
    wrong += [(3, "essay", 0), (3, ["letter"], 0), (3, "cloze", -1), (3, "cloze", 0.5)]
    for number, formulation, sample in wrong:
        (run,) = evaluated(served(), number, formulation, sample)
        assert (run.state, run.rows) == ("failed", ())
        assert "whole number" in run.problem or "letter or cloze" in run.problem
    failing = FakeEngine(score=lambda option: (_ for _ in ()).throw(RuntimeError("llama_decode returned 1")))
    *_, run = evaluated(served(base=failing))
    assert run.state == "failed"
    assert "draw another sample" in run.problem
    assert "could not be scored" in caplog.text
    (run,) = evaluated(unloaded())
    assert "test questions are still waiting" in run.problem


def test_what_is_asked_live_is_put_as_the_published_figures_were() -> None:
    plain = FakeEngine()
    state = served(tuned=plain)
    state.models.published = json.loads(json.dumps(metrics()).replace("cloze (chat)", "cloze (plain)"))
    run = evaluated(state, 2, "cloze")[-1]
    question = run.rows[0].question
    assert bytes(plain.asked[0][0]).decode() == f"Question: {question.question}\nAnswer:"
    assert [bytes(option).decode() for option in plain.asked[0][1]] == [f" {choice}" for choice in question.choices]
    assert run.prompt == "cloze (plain)"
    assert evaluated(state, 2, "letter")[-1].prompt == "letter (chat)"
    assert plain.asked[-1][0][0] == ENCODER.im_start
    state.models.published = None
    assert evaluated(state, 2, "cloze")[-1].prompt == "cloze (chat)"
