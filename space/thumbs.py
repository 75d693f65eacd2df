"""Thumbs under an answer, with a comment; kept only where the visitor says so and this copy has a place for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from space.feedback import COMMENT_CHARACTERS, Feedback
from space.state import AppState
from space.talk import Talk
from space.text import escape
from space.widgets import LIGHT, html

Frame = dict[Any, Any]


@dataclass(frozen=True)
class Panel:
    """The two buttons, and the form below them that the first press opens."""

    up: gr.Button
    down: gr.Button
    kind: gr.State
    form: gr.Column
    comment: gr.Textbox
    consent: gr.Checkbox
    thanks: gr.HTML

    def all(self) -> list[Any]:
        """Every component that a frame may change."""
        return list(vars(self).values())

    def closed(self, line: str = "", *, again: bool = True) -> Frame:
        """The frame without the form; `again` says whether the buttons can be pressed."""
        return {
            self.up: gr.update(interactive=again),
            self.down: gr.update(interactive=again),
            self.form: gr.update(visible=False),
            self.comment: "",
            self.consent: False,
            self.thanks: f'<p class="fn-note">{escape(line)}</p>' if line else "",
        }


def buttons() -> tuple[gr.Button, gr.Button]:
    """Up and down."""
    up, down = (gr.Button(name, size="sm", min_width=0, elem_classes="fn-act") for name in ("Helpful", "Not helpful"))
    return up, down


def panel(state: AppState, talk: gr.State, pressed: tuple[gr.Button, gr.Button]) -> Panel:
    """The form, wired: what it sends is the answer as the server knows it, not as a browser tells it."""
    kind = gr.State("up")
    with gr.Column(visible=False, elem_classes="fn-form") as form:
        comment = gr.Textbox(label="Comment, if you like", max_length=COMMENT_CHARACTERS, lines=2, max_lines=6)
        consent = gr.Checkbox(False, label=_consent(state.feedback))
        send = gr.Button("Send", size="sm", min_width=0, elem_classes="fn-quiet")
    parts = Panel(*pressed, kind, form, comment, consent, html(elem_classes="fn-line"))

    def opened(chosen: str) -> Frame:
        if not state.feedback.configured:
            return parts.closed(state.feedback.thumb(False, chosen, "", "", "", Talk().settings), again=False)
        return {kind: chosen, form: gr.update(visible=True)}

    def sent(talk: Talk, kind: str, comment: str, consent: bool) -> Frame:
        line = state.feedback.thumb(consent is True, kind, talk.question, talk.answer, str(comment), talk.settings)
        return parts.closed(line, again=False)

    for button, name in zip(pressed, ("up", "down"), strict=True):
        button.click(lambda name=name: opened(name), None, parts.all(), **LIGHT)
    send.click(sent, [talk, kind, comment, consent], parts.all(), **LIGHT)
    return parts


def _consent(feedback: Feedback) -> str:
    return (
        "Keep this question, its answer and my comment in the project's private data set "
        f"({feedback.repository}). Nothing that says who I am is kept."
    )
