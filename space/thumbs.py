"""Thumbs under an answer, with a comment; kept only where the visitor says so and this copy has a place for it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import gradio as gr

from space.feedback import COMMENT_CHARACTERS, Feedback
from space.state import AppState
from space.talk import Talk
from space.text import escape
from space.visitors import Refused, Visitors, visitor_of
from space.widgets import LIGHT, html

MOST_VISITORS = 1000  # whose last thumb is remembered

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
            self.thanks: _note(line) if line else "",
        }


class Judged:
    """The answer that each visitor judged last, by its hash; beyond MOST_VISITORS the oldest is forgotten."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, visitor: str, talk: Talk) -> None:
        """Note a thumb. Raises `Refused` where there is nothing to judge, or nothing any more."""
        if not talk.answer:
            raise Refused("There is no answer to judge; ask a question first.")
        with self._lock:
            if self._last.get(visitor) == hash(talk):
                raise Refused("This answer has your thumb already; ask another question.")
            self._last[visitor] = hash(talk)
            self._last.move_to_end(visitor)
            while len(self._last) > MOST_VISITORS:
                self._last.popitem(last=False)


def buttons() -> tuple[gr.Button, gr.Button]:
    """Up and down."""
    up, down = (gr.Button(name, size="sm", min_width=0, elem_classes="fn-act") for name in ("Helpful", "Not helpful"))
    return up, down


def panel(state: AppState, talk: gr.State, pressed: tuple[gr.Button, gr.Button]) -> Panel:
    """The form, wired: what it sends is the answer as the server knows it, not as a browser tells it."""
    parts, send = _form(state.feedback, pressed)
    judged, senders = Judged(), Visitors(per_address=state.models.settings.rate)  # a thumb is no question

    def opened(chosen: str) -> Frame:
        if not state.feedback.configured:
            return parts.closed(state.feedback.thumb(False, chosen, "", "", "", Talk().settings), again=False)
        return {parts.kind: chosen, parts.form: gr.update(visible=True)}

    def sent(talk: Talk, kind: str, comment: str, consent: bool, request: gr.Request) -> Frame:
        try:
            visitor = visitor_of(request)
            senders.check(visitor)
            judged.add(visitor.key, talk)
        except Refused as refused:
            return {parts.thanks: _note(str(refused))}
        line = state.feedback.thumb(consent is True, kind, talk.question, talk.answer, str(comment), talk.settings)
        return parts.closed(line, again=False)

    for button, name in zip(pressed, ("up", "down"), strict=True):
        button.click(lambda name=name: opened(name), None, parts.all(), **LIGHT)
    send.click(sent, [talk, parts.kind, parts.comment, parts.consent], parts.all(), **LIGHT)
    return parts


def _form(feedback: Feedback, pressed: tuple[gr.Button, gr.Button]) -> tuple[Panel, gr.Button]:
    """The panel, and the button that sends it."""
    kind = gr.State("up")
    with gr.Column(visible=False, elem_classes="fn-form") as form:
        comment = gr.Textbox(label="Comment, if you like", max_length=COMMENT_CHARACTERS, lines=2, max_lines=6)
        consent = gr.Checkbox(False, label=_consent(feedback))
        send = gr.Button("Send", size="sm", min_width=0, elem_classes="fn-quiet")
    return Panel(*pressed, kind, form, comment, consent, html(elem_classes="fn-line")), send


def _note(line: str) -> str:
    return f'<p class="fn-note">{escape(line)}</p>'


def _consent(feedback: Feedback) -> str:
    return (
        "Keep this question, its answer and my comment in the project's private data set "
        f"({feedback.repository}). Nothing that says who I am is kept."
    )
