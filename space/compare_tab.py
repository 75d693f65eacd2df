"""The Compare tab: both models side by side, what differs marked; blind if wished, with a vote and its reveal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from qa.ask_settings import MOST_TOKENS, AskSettings
from space import compare_views
from space.answering import WAITING
from space.blind import Ballot, Comparison
from space.compare_frames import Column, CompareTab, Parts, chosen
from space.late import Late
from space.share import View, parse
from space.state import AppState
from space.text import LATEX
from space.widgets import ASK, LIGHT, heavy, html, question_box, wire_stop

BALLOTS: tuple[tuple[Ballot, str], ...] = (
    ("first", "1 is better"),
    ("second", "2 is better"),
    ("tie", "Equally good"),
    ("bad", "Both bad"),
)
TO_ADDRESS_BAR = """() => {
  const [link, answers] = [".fn-share", ".fn-both"].map((name) => document.querySelector(`#fn-comparison ${name}`));
  const stale = answers && !location.search.includes("blind=1"); // an open view's, beside answers that await a vote
  if (link || stale) history.replaceState(null, "", link ? link.href : "?tab=compare");
}"""


def build(page: gr.Blocks, state: AppState) -> list[Late]:
    """Build the tab; nothing in it waits for the models."""
    with gr.Column(elem_id="fn-comparison"):
        box, go, stop = question_box("Compare")
        blind, marks = _choices()
        settings = temperature, length, seed = _settings()
        hint = html(compare_views.HINT, elem_classes="fn-maybe")
        with gr.Row(elem_classes="fn-sides"):
            columns = _column(state, 0), _column(state, 1)
        said, acts = html(elem_classes="fn-line fn-unseen"), html(elem_classes="fn-maybe")
        ballots, buttons, consent = _ballots(state)
        note, result = html(elem_classes="fn-line"), html(elem_classes="fn-maybe")
        timer, view = gr.Timer(1.0, active=False), gr.State(View())
    parts = Parts(stop, temperature, length, seed, timer, hint, columns, said, acts, ballots, note, result)
    tab = CompareTab(page, state, parts)
    inputs = [box, blind, marks, *settings, view]
    run = gr.on([box.submit, go.click, timer.tick], tab.run, inputs, parts.all(), **heavy(ASK))
    run.then(None, None, None, js=TO_ADDRESS_BAR)
    for (ballot, _), button in zip(BALLOTS, buttons, strict=True):
        voted = button.click(tab.voter(ballot), consent, parts.all(), **LIGHT)
        voted.then(None, None, None, js=TO_ADDRESS_BAR)
    marks.input(tab.mark, marks, parts.all(), **LIGHT)
    wire_stop(state, "compare", stop)
    page.load(_of_address, None, [box, blind, view, timer, *settings], **LIGHT)
    return []


def _choices() -> tuple[gr.Checkbox, gr.Checkbox]:
    with gr.Row(elem_classes="fn-choices"):
        return (
            gr.Checkbox(False, label="Blind vote", min_width=0),
            gr.Checkbox(False, label="Mark differences (as plain text)", min_width=0),
        )


def _settings() -> tuple[gr.Number, gr.Number, gr.Number]:
    usual = AskSettings.greedy()
    with gr.Accordion("Settings", open=False, elem_classes="fn-settings"), gr.Row(elem_classes="fn-controls"):
        return (
            gr.Number(usual.temperature, label="Temperature", info="0 to 1.5; 0 takes the likeliest word", step=0.1),
            gr.Number(usual.max_tokens, label="Length", info=f"tokens of an answer, 16 to {MOST_TOKENS}", precision=0),
            gr.Number(usual.seed, label="Seed", info="the same for both models", precision=0),
        )


def _column(state: AppState, number: int) -> Column:
    empty = Comparison("", AskSettings.greedy(), (WAITING, WAITING))
    with gr.Column(min_width=280):
        head = html(compare_views.heads(state.models.settings, empty)[number])
        text = gr.Markdown(elem_classes="fn-answer", latex_delimiters=LATEX)
        return Column(head, text, html(elem_classes="fn-answer", visible=False), html(elem_classes="fn-below"))


def _ballots(state: AppState) -> tuple[gr.Column, list[gr.Button], gr.Checkbox]:
    feedback = state.feedback
    with gr.Column(visible=False, elem_classes="fn-ballots") as ballots:
        html('<h2 class="fn-ask-vote">Which answer is better?</h2>')
        with gr.Row(elem_classes="fn-votes"):
            buttons = [gr.Button(label, min_width=0) for _, label in BALLOTS]
        consent = gr.Checkbox(False, label="Keep my vote for research", visible=feedback.configured, min_width=0)
        html(compare_views.consent(feedback.repository))
    return ballots, buttons, consent


def _of_address(request: gr.Request) -> tuple[Any, ...]:
    """Fill in what a shared link says; its question is asked once the models are there."""
    view = parse(request.query_params, AskSettings.greedy())
    if view.tab != "compare" or not view.question:
        return (gr.skip(),) * 7
    found = view.settings
    settings = chosen(found.temperature, found.max_tokens, found.seed)
    view = replace(view, settings=settings)
    fields = settings.temperature, settings.max_tokens, settings.seed
    return view.question, view.blind, view, gr.Timer(active=True), *fields
