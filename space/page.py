"""The page: components, and which generator feeds which. What happens is in ask, compare, evaluate and models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from qa.choices import Formulation
from space import api, views
from space.ask import EXAMPLES, ask
from space.compare import compare
from space.evaluate import DEFAULT_QUESTIONS, evaluate
from space.evaluation_views import plot, published_panel, run_status, summary, table
from space.models import Models
from space.published import live_formulation
from space.stopping import Stops
from space.text import LATEX, safe_markdown

MAX_QUEUE = 16
ASK = {"concurrency_id": "ask", "concurrency_limit": 1}
EVALUATE = {"concurrency_id": "evaluate", "concurrency_limit": 1}
LIGHT = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class AppState:
    """What all visitors share."""

    models: Models
    stops: Stops = field(default_factory=Stops)


def build(state: AppState) -> gr.Blocks:
    """The page and its endpoints; nothing is launched or loaded."""
    with gr.Blocks(title="Footnote", analytics_enabled=False) as page:
        _html(views.HEADER)
        panel = _html(views.loading(state.models.parts()), elem_id="fn-loading")
        retry = gr.Button("Try again", visible=False, size="sm", elem_classes="fn-quiet")
        with gr.Tabs(elem_classes="fn-tabs"):
            with gr.Tab("Ask", id="ask"):
                _ask_tab(page, state)
            with gr.Tab("Compare", id="compare"):
                _compare_tab(state)
            with gr.Tab("Evaluate", id="evaluate"):
                result, prompt = _evaluate_tab(state)
        foot = _html(views.credits([]))
        _watch(page, state.models, panel, retry, [foot, result], prompt)
        api.add(state.models, ASK, EVALUATE)
    page.queue(max_size=MAX_QUEUE, default_concurrency_limit=1)
    _rest_when_idle(page)
    return page


def _html(value: str = "", **options: Any) -> gr.HTML:
    """HTML that page.css alone styles."""
    return gr.HTML(value, apply_default_css=False, **options)


def _credits(models: Models) -> list[Any]:
    return [models.credits[role] for role in ("tuned", "base") if role in models.credits]


def _rest_when_idle(page: gr.Blocks) -> None:
    """Look into the queue 50 times a second, not 1,000: that took 7–19 % of a core with nobody there."""
    page._queue.sleep_when_free = 0.02
    page._queue.progress_update_sleep_when_free = 0.1


def _watch(
    page: gr.Blocks, models: Models, panel: gr.HTML, retry: gr.Button, late: list[gr.HTML], prompt: gr.Radio
) -> None:
    """Show how far the models are, once a second until nothing more will happen; `late` is what they bring along.

    The Evaluate tab's `prompt` becomes the published headline's, unless the visitor has chosen one already.
    """
    timer, chosen = gr.Timer(1.0), gr.State(False)

    def look(chosen: bool, selected: Formulation) -> tuple[Any, ...]:
        settled, parts = models.settled, models.parts()
        broken = any(part.phase == "failed" for part in parts)
        headline = None if chosen else live_formulation(models.published)
        brought = views.credits(_credits(models)), published_panel(models, headline or selected)
        which = (gr.update(value=headline), True) if headline else (gr.skip(), gr.skip())
        button = gr.update(visible=settled and broken)
        return views.loading(parts), button, gr.Timer(active=not settled), *brought, *which

    def again() -> tuple[Any, ...]:
        models.start()
        return views.loading(models.parts()), gr.update(visible=False), gr.Timer(active=True)

    shown = [panel, retry, timer]
    page.load(look, [chosen, prompt], [*shown, *late, prompt, chosen], **LIGHT)
    timer.tick(look, [chosen, prompt], [*shown, *late, prompt, chosen], **LIGHT)
    prompt.input(lambda: True, None, chosen, **LIGHT)
    retry.click(again, None, shown, **LIGHT)


def _question_box(button: str) -> tuple[gr.Textbox, gr.Button, gr.Button]:
    with gr.Row(elem_classes="fn-ask", equal_height=True):
        box = gr.Textbox(
            label="Your question",
            show_label=False,
            placeholder="Ask about AI research: a method, a result, a paper",
            lines=1,  # Enter sends only with one line
            max_lines=5,
            scale=8,
            min_width=220,
            elem_classes="fn-box",
            html_attributes=gr.InputHTMLAttributes(autocomplete="off", enterkeyhint="send"),
        )
        go = gr.Button(button, variant="primary", scale=1, min_width=84)
        stop = gr.Button("Stop", interactive=False, scale=1, min_width=72)
    return box, go, stop


def _examples(box: gr.Textbox) -> list[gr.Button]:
    with gr.Row(elem_classes="fn-examples"):
        return [gr.Button(example, size="sm", min_width=0, elem_classes="fn-example") for example in EXAMPLES]


def _ask_tab(page: gr.Blocks, state: AppState) -> None:
    box, go, stop = _question_box("Ask")
    examples = _examples(box)
    line = _html(elem_classes="fn-line")
    text = gr.Markdown(elem_classes="fn-answer", latex_delimiters=LATEX, buttons=["copy"])

    def run(question: str, request: gr.Request) -> Iterator[tuple[str, str, Any]]:
        with state.stops.job(str(request.session_hash), "ask") as cancel:
            for answer in ask(state.models, question, cancel):
                going = gr.update(interactive=not answer.finished)
                yield safe_markdown(answer.text), views.answer_status(answer), going

    outputs = [text, line, stop]
    for event in (box.submit, go.click):
        event(run, box, outputs, **_heavy(ASK))
    for button, example in zip(examples, EXAMPLES, strict=True):
        filled = button.click(lambda example=example: example, None, box, **LIGHT)
        filled.then(run, box, outputs, **_heavy(ASK))
    _wire_stop(state, "ask", stop)
    page.load(_asked_by_address, None, box, **LIGHT)


def _asked_by_address(request: gr.Request) -> str:
    """The question in the address, so that a link can carry one."""
    return str(request.query_params.get("q", ""))


def _compare_tab(state: AppState) -> None:
    box, go, stop = _question_box("Compare")
    settings = state.models.settings
    sides = (("Base", settings.base.repository), ("Fine-tuned", settings.model.repository))
    lines, texts = [], []
    with gr.Row(elem_classes="fn-sides"):
        for title, repository in sides:
            with gr.Column(min_width=280):
                _html(views.column_head(title, repository))
                texts.append(gr.Markdown(elem_classes="fn-answer", latex_delimiters=LATEX))
                lines.append(_html(elem_classes="fn-line"))

    def run(question: str, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        with state.stops.job(str(request.session_hash), "compare") as cancel:
            for pair in compare(state.models, question, cancel):
                both = (pair.base, pair.tuned)
                texts = (safe_markdown(answer.text) for answer in both)
                yield *texts, *map(views.answer_status, both), gr.update(interactive=not pair.finished)

    for event in (box.submit, go.click):
        event(run, box, [*texts, *lines, stop], **_heavy(ASK))
    _wire_stop(state, "compare", stop)


def _evaluate_tab(state: AppState) -> tuple[gr.HTML, gr.Radio]:
    with gr.Row(elem_classes="fn-controls", equal_height=True):
        # Bounds of Gradio's own would leave the old result standing under its message; `evaluate` checks them.
        number = gr.Number(DEFAULT_QUESTIONS, label="Questions", min_width=90)
        sample = gr.Number(0, label="Sample", min_width=90)
        choices = [("Letter: options shown", "letter"), ("Cloze: options weighed", "cloze")]
        formulation = gr.Radio(choices, value="letter", label="Prompt", scale=4, min_width=280)
        go = gr.Button("Run", variant="primary", scale=1, min_width=84)
        stop = gr.Button("Stop", interactive=False, scale=1, min_width=72)
    line = _html(elem_classes="fn-line")
    with gr.Row(elem_classes="fn-sides"):
        with gr.Column(min_width=280):
            live = _html(views.EVALUATE_HINT)
        with gr.Column(min_width=280):
            result = _html(published_panel(state.models, "letter"))
    chart, rows = _html(), _html()

    def run(number: float, formulation: str, sample: float, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        with state.stops.job(str(request.session_hash), "evaluate") as cancel:
            for now in evaluate(state.models, number, formulation, sample, cancel):
                going = gr.update(interactive=now.state == "running")
                yield run_status(now), summary(now), plot(now), table(now), going

    outputs = [line, live, chart, rows, stop]
    go.click(run, [number, formulation, sample], outputs, **_heavy(EVALUATE))
    _wire_stop(state, "evaluate", stop)
    formulation.change(lambda chosen: published_panel(state.models, chosen), formulation, result, **LIGHT)
    return result, formulation


def _heavy(group: dict[str, Any]) -> dict[str, Any]:
    return {**group, "api_visibility": "private", "show_progress": "hidden", "trigger_mode": "once"}


def _wire_stop(state: AppState, tab: str, stop: gr.Button) -> None:
    """The button ends a running job within llama.cpp's abort; the job's own last frame says so.

    Gradio's `cancels` and an output here would race with frames under way: a late "Writing" over the "Stopped".
    """

    def end(request: gr.Request) -> None:
        state.stops.stop(str(request.session_hash), tab)

    stop.click(end, **LIGHT)
