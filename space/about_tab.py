"""The About tab: what this copy runs, what its model is, and how to use it from a program or to make a copy."""

from __future__ import annotations

from typing import Any

import gradio as gr

from space import about_views as views
from space.late import Late
from space.state import AppState
from space.text import LATEX
from space.views import status
from space.widgets import LIGHT, html


def build(page: gr.Blocks, state: AppState) -> list[Late]:
    """Add the tab's components. Returns those that the models bring along; the papers are watched here."""
    settings = state.models.settings
    facts = html(views.facts(state), elem_id="fn-facts")
    again = gr.Button("Load the papers again", visible=False, size="sm", elem_classes="fn-quiet")
    words = gr.Markdown(elem_id="fn-about", elem_classes="fn-answer", latex_delimiters=LATEX)
    programs = html(views.programs(views.UNKNOWN_ADDRESS, settings.title), elem_id="fn-programs")
    html(views.variables(settings), elem_id="fn-variables")
    _watch_papers(page, state, facts, again)

    def here(request: gr.Request) -> str:
        return views.programs(views.address_of(request.headers, request.url.scheme), settings.title)

    page.load(here, None, programs, **LIGHT)
    return [Late(facts, lambda: views.facts(state)), Late(words, lambda: views.about(state))]


def _watch_papers(page: gr.Blocks, state: AppState, facts: gr.HTML, again: gr.Button) -> None:
    """Look once a second until the papers have settled; where they failed, offer to try anew."""
    timer, library = gr.Timer(1.0), state.library

    def look() -> tuple[Any, ...]:
        button = gr.update(visible=library.phase == "failed")
        return views.facts(state), button, gr.Timer(active=not library.settled)

    def load_again() -> tuple[Any, ...]:
        wait = library.start()
        return views.facts(state) + status("stopped", wait), gr.update(visible=bool(wait)), gr.Timer(active=not wait)

    shown = [facts, again, timer]
    page.load(look, None, shown, **LIGHT)
    timer.tick(look, None, shown, **LIGHT)
    again.click(load_again, None, shown, **LIGHT)
