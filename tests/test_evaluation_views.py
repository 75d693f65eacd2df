"""What the Evaluate tab draws: figures as on the cards, rows and panels in which what others wrote is text."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.evaluation.figures import comparisons, results_of
from qa.artifacts import ArtifactError
from qa.published_files import PublishedItem
from qa.records import Answer, Question
from space.evaluate import Row, Run
from space.evaluate_tab import Everything, known
from space.evaluation_lines import live_lines, published_lines
from space.evaluation_table import FILTERS, frame, rows
from space.evaluation_views import points, published_panel, published_summary, run_status, summary
from space.models import NotReadyError
from space.published import headline, live_formulation, live_template
from tests.space_fakes import unloaded
from tests.space_world import HOSTILE, metrics, questions

PROMPT = "cloze (chat)"


def served(**changes: Any) -> SimpleNamespace:
    """As much of the models as the views read."""
    known = {"published": metrics(), "unpublished": "", "items": [], "questions": questions}
    return SimpleNamespace(**{**known, **changes})


def item(question: Question, base: str, tuned: str, formulation: str = PROMPT) -> PublishedItem:
    return PublishedItem(id=question.id, formulation=formulation, base=base, tuned=tuned, answer=question.answer)


def finished(picks: list[tuple[int, int]], formulation: str = "cloze", **changes: Any) -> Run:
    """A run over the first questions, with what base and fine-tuned model picked."""
    asked = tuple(Row(question, *pick) for question, pick in zip(questions(), picks, strict=False))
    return Run(asked, len(asked), formulation, "done", **changes)


def answers(model: str, picks: list[int]) -> list[Answer]:
    """The same picks as rows of evaluation."""
    return [
        Answer(
            model=model,
            task="research",
            formulation=PROMPT,
            row_id=question.id,
            document=question.document,
            prompt_sha256="",
            option_logprobs=tuple(-float(index != pick) for index in range(4)),
            predicted=question.labels[pick],
            gold=question.answer,
            correct=pick == question.gold,
            seconds=0.1,
        )
        for question, pick in zip(questions(), picks, strict=True)
    ]


@pytest.mark.parametrize(
    ("base", "tuned"),
    [
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]),  # better: 3 to 10
        ([0, 1, 2, 3, 0, 1, 2, 3, 0, 0], [1, 1, 1, 3, 3, 3, 2, 0, 1, 1]),
        ([0, 1, 2, 3, 0, 1, 2, 3, 0, 1], [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]),  # no answer changed
    ],
)
def test_the_same_picks_give_the_figures_of_the_card(base: list[int], tuned: list[int]) -> None:
    asked = {("research", question.id): question for question in questions()}
    theirs, ours = answers("base", base), answers("gguf", tuned)
    html = summary(finished(list(zip(base, tuned, strict=True))))
    items = [item(q, q.labels[b], q.labels[t]) for q, b, t in zip(questions(), base, tuned, strict=True)]
    full = published_summary(published_lines(served(items=items), "cloze"), PROMPT)
    for rows_of_model in (theirs, ours):
        figure = next(line for line in results_of(rows_of_model, asked) if line["metric"] == "acc_norm")
        value, low, high = (f"{100 * figure[name]:.0f}" for name in ("value", "low", "high"))
        for drawn in (html, full):
            said = f"{value} %, 95 % interval {low} to {high}</span>"
            assert f"{figure['correct']}<small> / {figure['n']}</small></b><span>{said}" in drawn.replace("\u00a0", " ")
    (compared,) = comparisons(ours, theirs, 17)
    assert f"Fine-tuned against base: {compared['verdict']}.</p>" in html.replace("\u00a0", " ")
    assert f"alone is right on {compared['gained']}, base alone on {compared['lost']}." in html


def test_a_status_says_where_the_run_is() -> None:
    run = finished([(0, 1)] * 3)
    running = run_status(Run(run.rows, 10, "cloze", left=2.44))
    assert "3 of 10 questions · about 5 s left</p>" in running
    assert "role=" not in running  # space/page.js speaks for it
    queued = run_status(Run((), 10, "cloze", "queued", place=2, wait=38.2))
    assert "Place 2 in the queue · about 40 s</p>" in queued
    assert "fn-queued fn-busy" in queued
    assert "Place 1 in the queue</p>" in run_status(Run((), 10, "cloze", "queued", place=1))
    between = run_status(Run(run.rows, 10, "cloze", "queued", place=1, wait=4.0))
    assert "3 of 10 questions · a visitor’s question goes first</p>" in between
    assert "fn-running fn-busy" in between  # no other state: it is not said aloud each time
    assert "Stopped after 3 of 10</p>" in run_status(Run(run.rows, 10, "cloze", "stopped"))
    assert "Done · 3 of 3 questions in 1.5 s</p>" in run_status(finished([(0, 1)] * 3, seconds=1.5))
    failed = run_status(Run((), 0, "letter", "failed", problem="Question <b> could not be scored."))
    assert "fn-failed" in failed
    assert failed.count("Question &lt;b&gt; could") == 1


def test_rows_show_what_documents_wrote_as_text_and_carry_what_is_sorted_and_filtered() -> None:
    html = rows(live_lines(finished([(0, 0), (1, 0), (2, 3)]), served()))
    assert html.count("<tr ") == 3
    assert "&lt;img src=x onerror=" in html
    assert HOSTILE not in html
    assert "<b>Which" not in html
    assert '<tr role="row" data-id="q0" data-number="1" data-base="1" data-tuned="1" data-differs="0">' in html
    assert '<tr role="row" data-id="q1" data-number="2" data-base="1" data-tuned="0" data-differs="1">' in html
    assert rows([]) == ""
    board = frame("Questions <of> this run")
    assert 'aria-label="Questions &lt;of&gt; this run"' in board
    assert board.count('scope="col"') == 5
    assert board.count('aria-sort="none"') == 4
    assert [f'data-filter="{key}"' in board for key, _ in FILTERS] == [True] * 4
    assert not {"`", "${", "{{"} & {sign for sign in ("`", "${", "{{") if sign in board}  # signs of Gradio's templates


def test_published_rows_are_those_of_this_copys_questions_put_the_same_way() -> None:
    first, second, third, fourth, *_ = questions()
    items = [
        item(first, "A", "B"),
        item(second, "B", "", "letter (chat)"),
        item(third, "", "C"),
        PublishedItem(id=fourth.id, formulation=PROMPT, base="A", tuned="A", answer="B"),  # the right one is D
        PublishedItem(id="q5", formulation=PROMPT, base="Z", tuned="A", answer="B"),  # there is no option Z
        PublishedItem(id="gone", formulation=PROMPT, base="A", tuned="A", answer="A"),
    ]
    models = served(items=items)
    found = published_lines(models, "cloze")
    assert [(line.number, line.question.id, line.base, line.tuned) for line in found] == [
        (1, "q0", 0, 1),
        (2, "q2", None, 2),
    ]
    assert [line.question.id for line in published_lines(models, "letter")] == ["q1"]
    assert published_lines(models, "cloze", "arc_easy") == []
    html = published_summary(found, PROMPT)
    assert "1<small> / 1</small>" in html
    assert "1<small> / 2</small>" in html
    assert "no answer published" in rows(found)
    assert "No answers are published for letter (chat)." in published_summary([], "letter (chat)")


def test_published_rows_are_written_once_for_each_prompt_and_set_until_what_is_published_changes(monkeypatch) -> None:
    written: list[int] = []
    monkeypatch.setattr("space.evaluate_tab.rows", lambda lines: written.append(len(lines)) or f"rows of {len(lines)}")
    asked = questions()
    models = served(items=[item(question, "A", "B") for question in asked], questions=lambda: asked)
    everything = Everything(models)
    for _ in range(3):
        figures, shown = everything.written("cloze", "")
        assert shown == "rows of 10"
        assert "10 questions, prompt: cloze (chat)." in figures
    assert everything.written("cloze", "research")[1] == "rows of 10"
    assert written == [10, 10]
    for number in range(3):
        assert everything.written("letter", f"made up {number}")[1] == "rows of 0"
    assert len(everything._written) == 2
    models.items = models.items[:4]
    assert everything.written("cloze", "")[1] == "rows of 4"
    models.questions = lambda: questions()[:3]
    assert everything.written("cloze", "")[1] == "rows of 3"


def test_what_is_known_grows_while_models_and_data_come() -> None:
    def nothing() -> list[Question]:
        raise NotReadyError("The test questions are still downloading.")

    early = served(published=None, unpublished="they are being fetched", questions=nothing)
    assert known(early) == (None, (), 0, "they are being fetched")
    assert published_lines(early, "cloze") == []
    both = [*questions(), questions()[0].model_copy(update={"id": "arc", "task": "arc_easy"})]
    later = served(questions=lambda: both, items=[item(both[0], "A", "A")])
    assert known(later) == ("cloze", (("research", 10), ("arc_easy", 1)), 1, "")


def test_the_running_figures_are_wilson_intervals() -> None:
    last = points([True, False, True, True])[-1]
    assert (last.value, round(last.low, 4), round(last.high, 4)) == (0.75, 0.3006, 0.9544)
    assert "<p>1 question, prompt: cloze (chat).</p>" in summary(finished([(0, 0)]))
    assert summary(Run((), 3, "letter")) == ""


def renamed(old: str, new: str) -> dict:
    """The published figures with another prompt in place of one of theirs."""
    return json.loads(json.dumps(metrics()).replace(old, new))


def test_the_live_template_is_that_of_the_headlines_task_first() -> None:
    both = renamed(PROMPT, "cloze (plain, 25 shots)")
    both["models"]["base"]["results"].insert(0, {"task": "arc_easy", "formulation": PROMPT, "metric": "acc"})
    assert [live_template(both, name) for name in ("cloze", "letter")] == ["plain", "chat"]
    assert live_template({"schema": 2, "models": [1]}, "cloze") == "chat"
    models = served(published=renamed("letter (chat)", "letter (chat, 1 shot)"))
    letter, cloze = (published_panel(models, prompt) for prompt in ("letter", "cloze"))
    assert "prompt: letter (chat, 1 shot).</p><p>The live run cannot ask this way.</p>" in letter
    assert letter.count("cannot ask this way") == 1
    assert "cannot ask this way" not in cloze


def test_the_published_headline_is_the_one_that_evaluation_names() -> None:
    result = headline(metrics())
    assert [(line.title, line.value, line.n) for line in result.lines] == [
        ("Base, full precision", 0.31, 200),
        ("Fine-tuned, as served here", 0.475, 200),
    ]
    assert (result.task, result.prompt, result.verdict[:21]) == ("research", PROMPT, "better by 16.5 points")
    with pytest.raises(ValueError, match="not in the known schema"):
        headline({"schema": 1, "models": []})
    hostile = {**metrics(), "headline": {"task": "<b>", "formulation": "letter (chat)", "metric": "acc"}}
    assert "<b>" not in published_panel(served(published=hostile), "letter")
    assert [live_formulation(found) for found in (metrics(), hostile, None)] == ["cloze", "letter", None]
    for prompt, asked in (("cloze (plain)", "cloze"), ("letter (chat, 5 shots)", None), ("chat (lm-eval)", None)):
        other = {**metrics(), "headline": {"task": "research", "formulation": prompt, "metric": "acc"}}
        assert live_formulation(other) == asked
        panel = published_panel(served(published=other), "cloze")
        assert ("cannot ask this way" in panel) == (asked is None)
    missing = served(published=None, unpublished="demo/x@main: <none>")
    assert "None to show: demo/x@main: &lt;none&gt;.</p>" in published_panel(missing, "letter")


def test_a_model_that_failed_is_why_no_result_is_shown(monkeypatch) -> None:
    def refuse(*_: Any) -> None:
        raise ArtifactError("demo/x: no such repository")

    models = unloaded().models
    monkeypatch.setattr(models, "_open", refuse)
    models._load("tuned", models._load_engine)
    assert known(models).why == "demo/x: no such repository"
    assert "None to show: demo/x: no such repository.</p>" in published_panel(models, "letter")
    models._fail("base", "demo/y: gone")
    assert known(models).why == "demo/x: no such repository"


def panel(figures: dict[str, Any], formulation: str) -> str:
    return published_panel(served(published=figures), formulation).replace("\u00a0", " ")


def test_the_published_panel_shows_the_selected_prompt_and_what_became_worse() -> None:
    cloze, letter = (panel(metrics(), prompt) for prompt in ("cloze", "letter"))
    assert (cloze.count("<table"), letter.count("<table")) == (1, 2)
    assert "59.0 %" not in cloze
    assert letter.index("47.5 %") < letter.index("59.0 %") < letter.index("no difference shown (4.0 points")
    for html in (cloze, letter):
        assert "<li>arc_easy, cloze (chat): worse by 9.0 points (95 % 2.0 to 16.0, p = 0.020).</li>" in html
        assert html.count("better by 16.5 points") == 1
    uneven = metrics()
    uneven["models"]["gguf"]["results"][1]["n"] = 199
    assert "200 / 199 questions of" in panel(uneven, "cloze")
    lost = metrics()
    lost["comparisons"][1] |= {"verdict": "worse by 4.0 points", "p_holm": 0.06}
    quoted = "worse by 4.0 points (Holm&#x27;s p = 0.060: one of 3 comparisons)"
    assert f"<li>research, letter (chat): {quoted}.</li>" in panel(lost, "cloze")
    assert panel(lost, "letter").count("worse by 4.0 points") == 1
    merged = {**lost, "comparisons": [{**line, "model": "merged"} for line in lost["comparisons"]]}
    assert "None to show" not in panel(merged, "letter")
    assert "not in the known schema" in panel({**lost, "comparisons": [{"task": "research"}]}, "letter")
