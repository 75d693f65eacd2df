"""The Ask tab: a conversation with the fine-tuned model, examples that answer at once, and thumbs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from qa.ask_settings import EXAMPLES, MOST_TOKENS, AskSettings
from space import thumbs
from space.late import Late
from space.share import View, parse
from space.state import AppState
from space.talk import Talk
from space.talk_stream import Parts, runner
from space.text import LATEX
from space.views import status
from space.widgets import ASK, LIGHT, heavy, html, question_field, wire_stop

TO_ADDRESS_BAR = """() => {
  const talk = document.getElementById("fn-conversation"), link = talk?.querySelector(".fn-share");
  if (!link || !talk.offsetParent) return;
  const alone = talk.querySelectorAll(".fn-asked").length === 1; // a link cannot hold a conversation
  history.replaceState(null, "", alone ? link.href : location.pathname);
}"""
FROM_ADDRESS_BAR = """() => {
  history.replaceState(null, "", location.pathname);
  [...document.querySelectorAll(".fn-box textarea")].find((box) => box.offsetParent)?.focus();
}"""


def build(page: gr.Blocks, state: AppState) -> list[Late]:
    """Build the tab; returns the examples, which become the published ones once those are there."""
    shown, retry, new = _conversation(state)
    refusal = html(elem_classes="fn-line fn-refusal")
    box, go, _ = question_field("Ask")
    row, examples = _examples()
    settings = temperature, length, seed = _settings()
    timer, view = gr.Timer(1.0, active=False), gr.State(View())
    parts = Parts(
        **shown, refusal=refusal, box=box, examples=row, temperature=temperature, length=length, seed=seed, timer=timer
    )
    talk = parts.talk
    run = runner(page, state, parts, retry, examples)
    triggers = [box.submit, go.click, retry.click, timer.tick, *(button.click for button in examples)]
    asking = gr.on(triggers, run, [box, talk, view, *settings, *examples], parts.all(), **heavy(ASK))
    asking.then(None, None, None, js=TO_ADDRESS_BAR)
    new.click(parts.cleared, None, parts.all(), **LIGHT).then(None, None, None, js=FROM_ADDRESS_BAR)
    wire_stop(state, "ask", parts.stop)
    page.load(_of_address, None, [box, view, timer, refusal, *settings], **LIGHT)
    return [Late(button, _example(state, number)) for number, button in enumerate(examples)]


def _conversation(state: AppState) -> tuple[dict[str, Any], gr.Button, gr.Button]:
    """The conversation's components by their names in `Parts`; and the buttons Retry and New conversation."""
    with gr.Column(elem_id="fn-conversation", elem_classes="fn-talk"):
        talk = gr.State(Talk())
        earlier = gr.Markdown(elem_classes="fn-answer fn-earlier", latex_delimiters=LATEX)
        asked = html(elem_classes="fn-asking")
        with gr.Row(elem_classes="fn-byline"):  # above the answer: below it, Stop would run away from the pointer
            line = html(elem_classes="fn-line")
            stop = gr.Button("Stop", interactive=False, size="sm", min_width=0, elem_classes="fn-stop fn-quiet")
        text = gr.Markdown(elem_classes="fn-answer fn-now", latex_delimiters=LATEX)
        with gr.Row(elem_classes="fn-after", visible=False) as after:
            acts = html()
            retry = gr.Button("Retry", size="sm", min_width=0, elem_id="fn-retry", elem_classes="fn-act")
            opinion = thumbs.buttons()
            new = gr.Button("New conversation", size="sm", min_width=0, elem_classes="fn-act fn-new")
        panel = thumbs.panel(state, talk, opinion)
        raws = html(elem_classes="fn-raws")
    shown = {"talk": talk, "earlier": earlier, "asked": asked, "text": text, "line": line, "acts": acts}
    return {**shown, "raws": raws, "after": after, "stop": stop, "panel": panel}, retry, new


def _examples() -> tuple[gr.Row, list[gr.Button]]:
    with gr.Row(elem_classes="fn-examples") as row:
        return row, [
            gr.Button(text, size="sm", min_width=0, elem_id=f"fn-example-{number}", elem_classes="fn-example")
            for number, text in enumerate(EXAMPLES)
        ]


def _settings() -> tuple[gr.Number, gr.Number, gr.Number]:
    """Temperature, length and seed. What is out of bounds comes back as the nearest value that is not."""
    usual = AskSettings()
    with gr.Accordion("Settings", open=False, elem_classes="fn-settings"), gr.Row(elem_classes="fn-controls"):
        return (
            gr.Number(usual.temperature, label="Temperature", info="0 to 1.5; 0 takes the likeliest word", step=0.1),
            gr.Number(usual.max_tokens, label="Length", info=f"tokens of an answer, 16 to {MOST_TOKENS}", precision=0),
            gr.Number(usual.seed, label="Seed", info="the same seed gives the same answer", precision=0),
        )


def _of_address(request: gr.Request) -> tuple[Any, ...]:
    """Fill in what a shared link says; its question is asked once the model is there."""
    view = parse(request.query_params)
    if view.tab != "ask" or not view.question:
        return (gr.skip(),) * 7
    chosen = view.settings
    waiting = status("waiting", "The question of this link is asked as soon as the model is ready")
    return view.question, view, gr.Timer(active=True), waiting, chosen.temperature, chosen.max_tokens, chosen.seed


def _example(state: AppState, number: int) -> Callable[[], Any]:
    def show() -> Any:
        questions = published_questions(state) or EXAMPLES
        there = number < len(questions)
        return gr.update(value=questions[number] if there else "", visible=there)

    return show


def published_questions(state: AppState) -> Sequence[str]:
    """The questions whose answers were published with the model."""
    found = state.models.examples
    return [example.question for example in found.answers] if found else []
