"""The page's shell: header, what is being loaded, the four tabs in order, and the foot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from space import about_tab, api, ask_tab, compare_tab, evaluate_tab, views
from space.late import Late
from space.models import Models
from space.share import parse
from space.state import AppState
from space.widgets import LIGHT, MAX_QUEUE, html

TABS = (
    ("ask", "Ask", ask_tab),
    ("compare", "Compare", compare_tab),
    ("evaluate", "Evaluate", evaluate_tab),
    ("about", "About", about_tab),
)
SCRIPT = (Path(__file__).parent / "page.js").read_text(encoding="utf-8")


def build(state: AppState) -> gr.Blocks:
    """The page and its endpoints; nothing is launched or loaded."""
    settings, late = state.models.settings, []
    with gr.Blocks(title=settings.title, analytics_enabled=False) as page:
        api.add(page, state)  # first: an event of the page would take an endpoint's name
        html(views.header(settings.title, settings.subject))
        panel = html(views.loading(state.models.parts()), elem_id="fn-loading")
        retry = gr.Button("Try again", visible=False, size="sm", elem_classes="fn-quiet")
        with gr.Tabs(elem_classes="fn-tabs") as tabs:
            for name, title, module in TABS:
                with gr.Tab(title, id=name):
                    late += module.build(page, state)
        foot = html(views.credits([]))
        late.append(Late(foot, lambda: views.credits(_credits(state.models))))
        _watch(page, state.models, panel, retry, late)
        page.load(_tab_of, None, tabs, **LIGHT)
        page.load(None, None, None, js=SCRIPT)
    page.queue(max_size=MAX_QUEUE, default_concurrency_limit=1)
    _rest_when_idle(page)
    return page


def _tab_of(request: gr.Request) -> Any:
    return gr.Tabs(selected=parse(request.query_params).tab)


def _credits(models: Models) -> list[Any]:
    return [models.credits[role] for role in ("tuned", "base") if role in models.credits]


def _rest_when_idle(page: gr.Blocks) -> None:
    """Look into the queue 50 times a second, not 1,000: that took 7–19 % of a core with nobody there."""
    page._queue.sleep_when_free = 0.02
    page._queue.progress_update_sleep_when_free = 0.1


def _watch(page: gr.Blocks, models: Models, panel: gr.HTML, retry: gr.Button, late: list[Late]) -> None:
    """Show how far the models are, once a second until nothing more will happen, and what they bring along."""
    timer = gr.Timer(1.0)

    def look() -> tuple[Any, ...]:
        settled, parts = models.settled, models.parts()
        brought = [part.show() for part in late]
        return (
            views.loading(parts),
            gr.update(visible=settled and models.refused),
            gr.Timer(active=not settled),
            *brought,
        )

    def again() -> tuple[Any, ...]:
        wait = models.start()
        told = views.loading(models.parts()) + views.status("stopped", wait)
        return told, gr.update(visible=bool(wait)), gr.Timer(active=not wait)

    shown = [panel, retry, timer]
    brought = [part.component for part in late]
    page.load(look, None, [*shown, *brought], **LIGHT)
    timer.tick(look, None, [*shown, *brought], **LIGHT)
    retry.click(again, None, shown, **LIGHT)
