"""What the tabs share: plain HTML, the question box, a Stop button's wire, and the options of their events."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any, TypeVar

import gradio as gr

from space.listeners import is_listening
from space.state import AppState

MAX_QUEUE = 128
PLACEHOLDER = "Ask about a method or paper"
# People wait in the scheduler, which tells them their place; Gradio's own queue must never be the narrower one.
ASK = {"concurrency_id": "ask", "concurrency_limit": 64}
EVALUATE = {"concurrency_id": "evaluate", "concurrency_limit": 64}
LIGHT = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}

T = TypeVar("T")


def heavy(group: dict[str, Any]) -> dict[str, Any]:
    """Options of an event that works on the models; `group` is ASK or EVALUATE."""
    return {**group, "api_visibility": "private", "show_progress": "hidden", "trigger_mode": "once"}


def heard(page: gr.Blocks, request: gr.Request, stream: Generator[T]) -> Iterator[T]:
    """The stream, closed early once its visitor's browser has not read the page's news for a while."""
    with closing(stream):
        for piece in stream:
            if not is_listening(page, request.session_hash):
                return
            yield piece


def html(value: str = "", **options: Any) -> gr.HTML:
    """HTML that the style sheets of space/css alone draw."""
    return gr.HTML(value, apply_default_css=False, **options)


def question_box(button: str) -> tuple[gr.Textbox, gr.Button, gr.Button]:
    """The field for a question with its button, and a Stop button in that one's place while something runs."""
    box, go, row = question_field(button)
    with row:
        stop = gr.Button("Stop", interactive=False, scale=1, min_width=72, elem_classes="fn-stop")
    return box, go, stop


def question_field(button: str) -> tuple[gr.Textbox, gr.Button, gr.Row]:
    """The field for a question with its button, and the row they are in."""
    with gr.Row(elem_classes="fn-ask", equal_height=True) as row:
        box = gr.Textbox(
            label="Your question",
            show_label=False,
            placeholder=PLACEHOLDER,
            lines=1,  # Enter sends only with one line
            max_lines=5,
            scale=8,
            min_width=220,
            elem_classes="fn-box",
            html_attributes=gr.InputHTMLAttributes(autocomplete="off", enterkeyhint="send"),
        )
        go = gr.Button(button, variant="primary", scale=1, min_width=84)
    return box, go, row


def wire_stop(state: AppState, tab: str, stop: gr.Button) -> None:
    """The button ends a running job within llama.cpp's abort; the job's own last frame says so.

    Gradio's `cancels` and an output here would race with frames under way: a late "Writing" over the "Stopped".
    """

    def end(request: gr.Request) -> None:
        state.stops.stop(str(request.session_hash), tab)

    stop.click(end, **LIGHT)
