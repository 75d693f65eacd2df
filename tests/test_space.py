"""What happens behind the tabs, without a browser: generators and views over a fake engine."""

from __future__ import annotations

import itertools
import json
import threading

import pytest

from qa.choices import choice_ids, pick
from qa.engine import PromptTooLong
from space.answering import MAX_CHARACTERS, QuestionError, answer, check_question
from space.ask import ask
from space.compare import compare
from space.evaluate import Run, draw, evaluate
from space.evaluation_views import points, published_panel, run_status, summary, table
from space.models import Models
from space.published import headline, live_formulation, live_template
from space.settings import Settings
from space.text import per_second, seconds
from tests.space_fakes import ENCODER, FakeEngine, served
from tests.space_world import HOSTILE, metrics, questions


def test_questions_are_bounded_whoever_sends_them() -> None:
    assert check_question("  What is LoRA?\n") == "What is LoRA?"
    for wrong in ("", "   ", None, 7, ["What?"], "x" * (MAX_CHARACTERS + 1)):
        with pytest.raises(QuestionError):
            check_question(wrong)
    with pytest.raises(QuestionError, match=r"^The question must be text\.$"):
        check_question(7)


def test_ask_streams_what_is_written_and_says_where_it_is() -> None:
    engine = FakeEngine()
    states = list(ask(served(tuned=engine), " What is LoRA? ", threading.Event()))
    assert [state.text for state in states[1:4]] == ["", "Two ", "Two small "]
    assert [state.text for state in states[4:]] == ["Two small matrices."] * 2
    assert [state.state for state in states] == ["waiting", "reading", "writing", "writing", "writing", "done"]
    assert states[1].status == "Reading 32 of 40 tokens"
    assert states[-1].status.startswith("Done · 3 tokens · ")
    assert engine.log[0] == "asked What is LoRA? at 0.3"
    assert engine.log[-1] == "freed"


def test_an_answer_can_be_stopped_cut_and_left() -> None:
    engine, cancel = FakeEngine(), threading.Event()
    stream = ask(served(tuned=engine), "What?", cancel)
    texts = [next(stream).text for _ in range(3)]
    cancel.set()
    last = list(stream)[-1]
    assert (texts[-1], last.text, last.state, last.status) == ("Two ", "Two ", "stopped", "Stopped · 1 token")
    *_, whole = ask(served(), "What?", threading.Event())
    *_, cut = ask(served(tuned=FakeEngine(ending="length")), "What?", threading.Event())
    assert cut.state == "cut"
    tokens, pace, spent = cut.status.split(" · ")
    assert (tokens, pace[-10:], spent) == ("Cut at 3 tokens", "per second", "under 0.1 s")
    assert [part[-6:] for part in whole.status.split(" · ")[1:]] == [part[-6:] for part in (tokens, pace, spent)]
    left = ask(served(tuned=engine), "What?", threading.Event())
    next(left)
    engine.log.clear()
    left.close()
    assert engine.log == ["freed"]


def test_an_answer_ends_at_its_deadline_and_frees_the_engine() -> None:
    engine, ticks = FakeEngine(words=("a",) * 200), iter(range(1000))
    options = {"temperature": 0.0, "cancel": threading.Event(), "deadline": 20, "clock": lambda: next(ticks)}
    states = list(answer(engine, "What?", **options))
    assert states[-1].state == "cut"
    assert states[-1].status == "Cut at the time limit · 19 tokens · 0.5 per second · 21 s"
    assert states[-1].seconds == 21
    assert engine.log[-1] == "freed"


def test_what_fails_says_so() -> None:
    def status(models: Models, question: str = "What?") -> tuple[str, str]:
        (last,) = list(ask(models, question, threading.Event()))[-1:]
        return last.state, last.status

    assert status(served(), "") == ("failed", "Type a question first.")
    assert "601 characters" in status(served(), "x" * 601)[1]
    assert "shorten it" in status(served(tuned=FakeEngine(error=PromptTooLong("2100 tokens"))))[1]
    assert "ask again" in status(served(tuned=FakeEngine(error=RuntimeError("llama_decode returned 1"))))[1]
    waiting = Models(Settings.read({}))
    assert "fine-tuned model is still waiting" in status(waiting)[1]


def test_compare_takes_turns_and_frees_both() -> None:
    log: list[str] = []
    base, tuned = FakeEngine(("a", "b"), log=log, name="base "), FakeEngine(("c", "d", "e"), log=log, name="tuned ")
    pairs = list(compare(served(base=base, tuned=tuned), "What?", threading.Event()))
    written = [entry for entry in log if entry.startswith(("base ", "tuned "))]
    assert written == ["base a", "tuned c", "base b", "tuned d", "tuned e"]
    assert (pairs[-1].base.text, pairs[-1].tuned.text, pairs[-1].finished) == ("ab", "cde", True)
    assert "asked What? at 0.0" in log
    left = compare(served(base=base, tuned=tuned), "What?", threading.Event())
    for _ in range(6):
        next(left)
    log.clear()
    left.close()
    assert log == ["freed", "freed"]
    refused = list(compare(served(), " ", threading.Event()))
    assert [pair.base.state for pair in refused] == ["failed"]


def test_evaluate_asks_the_published_questions_of_both_models() -> None:
    always_a, always_b = (FakeEngine(score=lambda option, best=best: -abs(best - ord(option))) for best in b"AB")
    runs = list(evaluate(served(base=always_a, tuned=always_b), 4, "letter", 0, threading.Event()))
    assert [len(run.rows) for run in runs] == [0, 1, 2, 3, 4]
    last = runs[-1]
    assert (last.state, last.total, last.left) == ("done", 4, 0.0)
    assert [row.question for row in last.rows] == draw(questions(), 4, 0)
    assert {row.base for row in last.rows} == {0}
    assert {row.tuned for row in last.rows} == {1}
    assert [row.base_right for row in last.rows] == [row.question.answer == "A" for row in last.rows]
    assert draw(questions(), 4, 0) == draw(questions(), 4, 0) != draw(questions(), 4, 1)
    everything = draw(questions(), 25, 0)
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


def test_evaluate_stops_and_refuses() -> None:
    cancel = threading.Event()
    stream = evaluate(served(), 10, "letter", 0, cancel)
    seen = [next(stream) for _ in range(3)]
    cancel.set()
    rest = list(stream)
    assert [len(run.rows) for run in seen] == [0, 1, 2]
    assert [(run.state, len(run.rows)) for run in rest] == [("stopped", 2)]
    assert "Stopped after 2 of 10<" in run_status(rest[-1])
    assert "<p>2 questions, prompt: letter (chat).</p>" in summary(rest[-1])
    for engines in ({"base": FakeEngine(busy=True)}, {"tuned": FakeEngine(busy=True)}):
        cancel = threading.Event()
        stream = evaluate(served(**engines), 3, "letter", 0, cancel)
        next(stream)
        threading.Timer(0.1, cancel.set).start()
        assert [(run.state, len(run.rows)) for run in stream] == [("stopped", 0)]
    wrong = [(number, "letter", 0) for number in (0, 26, -3, 2.5, None)]
    wrong += [(3, "essay", 0), (3, "cloze", -1), (3, "cloze", 0.5)]
    for number, formulation, sample in wrong:
        (run,) = evaluate(served(), number, formulation, sample, threading.Event())
        assert (run.state, run.rows, summary(run), table(run)) == ("failed", (), "", "")
        assert "whole number" in run_status(run) or "letter or cloze" in run_status(run)
    failing = FakeEngine(score=lambda option: (_ for _ in ()).throw(RuntimeError("llama_decode returned 1")))
    *_, run = evaluate(served(base=failing), 3, "letter", 0, threading.Event())
    assert run.state == "failed"
    assert "draw another sample" in run.problem


def renamed(old: str, new: str) -> dict:
    """The published figures with another prompt in place of one of theirs."""
    return json.loads(json.dumps(metrics()).replace(old, new))


def test_what_is_asked_live_is_put_as_the_published_figures_were() -> None:
    plain = FakeEngine()
    models = served(tuned=plain)
    models.published = renamed("cloze (chat)", "cloze (plain)")
    *_, run = evaluate(models, 2, "cloze", 0, threading.Event())
    question = run.rows[0].question
    assert bytes(plain.asked[0][0]).decode() == f"Question: {question.question}\nAnswer:"
    assert [bytes(option).decode() for option in plain.asked[0][1]] == [f" {choice}" for choice in question.choices]
    assert "<p>2 questions, prompt: cloze (plain).</p>" in summary(run)
    *_, run = evaluate(models, 2, "letter", 0, threading.Event())
    assert (run.prompt, plain.asked[-1][0][0]) == ("letter (chat)", ENCODER.im_start)
    models.published = None
    *_, run = evaluate(models, 2, "cloze", 0, threading.Event())
    assert run.prompt == "cloze (chat)"


def test_the_live_template_is_that_of_the_headlines_task_first() -> None:
    both = renamed("cloze (chat)", "cloze (plain, 25 shots)")
    both["models"]["base"]["results"].insert(0, {"task": "arc_easy", "formulation": "cloze (chat)", "metric": "acc"})
    assert [live_template(both, name) for name in ("cloze", "letter")] == ["plain", "chat"]
    assert live_template({"schema": 2, "models": [1]}, "cloze") == "chat"
    models = served()
    models.published = renamed("letter (chat)", "letter (chat, 1 shot)")
    letter, cloze = (published_panel(models, prompt) for prompt in ("letter", "cloze"))
    assert "prompt: letter (chat, 1 shot).</p><p>The live run cannot ask this way.</p>" in letter
    assert letter.count("cannot ask this way") == 1
    assert "cannot ask this way" not in cloze


def finished_run() -> Run:
    *_, run = evaluate(served(), 10, "letter", 0, threading.Event())
    return run


def test_the_table_shows_what_documents_wrote_as_text() -> None:
    html = table(finished_run())
    assert html.count('<td class="fn-question">') == 10
    assert "&lt;img src=x onerror=" in html
    assert HOSTILE not in html
    assert "<b>Which" not in html


def test_figures_of_a_run_are_wilson_intervals_and_a_verdict() -> None:
    last = points([True, False, True, True])[-1]
    assert (last.value, round(last.low, 4), round(last.high, 4)) == (0.75, 0.3006, 0.9544)
    html = summary(finished_run())
    assert "3<small> / 10</small>" in html
    assert "30 %, interval 11 to 60" in html
    assert "no difference shown" in html
    assert "10 questions, prompt: letter (chat)." in html


def test_the_published_headline_is_the_one_that_evaluation_names() -> None:
    result = headline(metrics())
    assert [(line.title, line.value, line.n) for line in result.lines] == [
        ("Base, full precision", 0.31, 200),
        ("GGUF, as served here", 0.475, 200),
    ]
    assert (result.task, result.prompt, result.verdict[:21]) == ("research", "cloze (chat)", "better by 16.5 points")
    with pytest.raises(ValueError, match="not in the known schema"):
        headline({"schema": 1, "models": []})
    models = served()
    models.published = {**metrics(), "headline": {"task": "<b>", "formulation": "letter (chat)", "metric": "acc"}}
    assert "<b>" not in published_panel(models, "letter")
    assert [live_formulation(found) for found in (metrics(), models.published, None)] == ["cloze", "letter", None]
    for prompt, asked in (("cloze (plain)", "cloze"), ("letter (chat, 5 shots)", None), ("chat (lm-eval)", None)):
        other = {**metrics(), "headline": {"task": "research", "formulation": prompt, "metric": "acc"}}
        assert live_formulation(other) == asked
        models.published = other
        assert ("cannot ask this way" in published_panel(models, "cloze")) == (asked is None)
    models.published, models.unpublished = None, "demo/x@main: <none>"
    assert "None to show: demo/x@main: &lt;none&gt;" in published_panel(models, "letter")


def test_the_published_panel_shows_the_selected_prompt_and_what_became_worse() -> None:
    models = served()
    models.published = metrics()
    cloze, letter = (published_panel(models, prompt) for prompt in ("cloze", "letter"))
    assert (cloze.count("<table"), letter.count("<table")) == (1, 2)
    assert "59.0 %" not in cloze
    assert letter.index("47.5 %") < letter.index("59.0 %") < letter.index("no difference shown (4.0 points")
    for panel in (cloze, letter):
        assert "<li>arc_easy, cloze (chat): worse by 9.0 points (95 % 2.0 to 16.0, p = 0.020).</li>" in panel
        assert panel.count("better by 16.5 points") == 1
    assert "200 questions of" in cloze
    uneven = metrics()
    uneven["models"]["gguf"]["results"][1]["n"] = 199
    models.published = uneven
    assert "200 / 199 questions of" in published_panel(models, "cloze")
    lost = metrics()
    lost["comparisons"][1] |= {"verdict": "worse by 4.0 points", "p_holm": 0.06}
    models.published = lost
    quoted = "worse by 4.0 points (Holm&#x27;s p = 0.060: one of 3 comparisons)"
    assert f"<li>research, letter (chat): {quoted}.</li>" in published_panel(models, "cloze")
    assert published_panel(models, "letter").count("worse by 4.0 points") == 1
    models.published = {**lost, "comparisons": [{**line, "model": "merged"} for line in lost["comparisons"]]}
    assert "None to show" not in published_panel(models, "letter")
    models.published = {**lost, "comparisons": [{"task": "research"}]}
    assert "not in the known schema" in published_panel(models, "letter")


def test_numbers_are_rounded_as_people_read_them() -> None:
    assert [seconds(value) for value in (0.0, 0.04, 0.1, 2.44, 9.97, 3600)] == [
        *("under 0.1 s", "under 0.1 s", "0.1 s", "2.4 s", "10 s", "3,600 s"),
    ]
    assert [per_second(value) for value in (7.25, 99.94, 99.96, 3943.7)] == [
        *("7.2 per second", "99.9 per second", "100 per second", "3,944 per second"),
    ]
    ticks = (number / 1000 for number in itertools.count())
    options = {"temperature": 0.0, "cancel": threading.Event(), "clock": lambda: next(ticks)}
    *_, last = answer(FakeEngine(), "What?", **options)
    assert last.status == "Done · 3 tokens · 333 per second · under 0.1 s"
    run = Run((), 3, "letter", left=0.02)
    assert "0 of 3 questions · under 0.1 s left" in run_status(run)
