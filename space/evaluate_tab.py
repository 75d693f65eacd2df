"""The Evaluate tab: choose and run, watch it grow, sort and filter the questions, and read what was published."""

from __future__ import annotations

import operator
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import gradio as gr

from qa.choices import Formulation, prompt_name
from qa.records import Question
from space.evaluate import DEFAULT_QUESTIONS, MOST_QUESTIONS, Run, evaluate
from space.evaluation_detail import detail
from space.evaluation_lines import Line, live_lines, published_lines
from space.evaluation_table import SCRIPT, frame, rows
from space.evaluation_views import EMPTY, HINT, plot, published_panel, published_summary, run_status, summary
from space.late import Late
from space.models import Models, NotReadyError
from space.published import live_formulation, live_template
from space.state import AppState
from space.text import escape
from space.visitors import visitor_of
from space.widgets import EVALUATE, LIGHT, heard, heavy, html, wire_stop

PROMPTS = [("Pick a letter", "letter"), ("Weigh each option", "cloze")]
LIVE, PUBLISHED = "live", "published"
FOLLOW_FOCUS = """() => {
  const [go, stop] = document.querySelectorAll("#fn-run button");
  const watch = new MutationObserver(() => {
    const [gone, there] = stop.disabled ? [stop, go] : [go, stop];
    if (document.activeElement === gone) there.focus();
    if (stop.disabled) watch.disconnect();
  });
  watch.observe(stop, { attributeFilter: ["disabled"] });
}"""  # the buttons take each other's place, and one that is not displayed loses the keyboard's focus


class Facts(NamedTuple):
    """What the tab learns while models and data are being loaded; where one of these changes, it is drawn anew."""

    headline: Formulation | None
    tasks: tuple[tuple[str, int], ...]
    items: int
    why: str


class Controls(NamedTuple):
    task: gr.Radio
    number: gr.Number
    sample: gr.Number
    formulation: gr.Radio
    go: gr.Button
    stop: gr.Button


class Shown(NamedTuple):
    line: gr.HTML
    live: gr.HTML
    chart: gr.HTML
    board: gr.HTML
    result: gr.HTML
    view: gr.Radio
    all_figures: gr.HTML
    all_board: gr.HTML
    this_run: gr.Column
    everything: gr.Column


class Everything:
    """The published questions as the page shows them, written once for each prompt and set: 2,000 are 1.4 MB."""

    def __init__(self, models: Models) -> None:
        self._models, self._lock = models, threading.Lock()
        self._source: tuple[Any, ...] = (None, None, None)
        self._written: dict[tuple[str, str], tuple[str, str]] = {}

    def written(self, formulation: Formulation, task: str) -> tuple[str, str]:
        """Figures and rows; what is not published is not remembered, since anybody can ask for sets of any name."""
        models, key = self._models, (formulation, task)
        with self._lock:
            source = (models.items, models.published, _questions(models))
            if any(map(operator.is_not, source, self._source)):
                self._source, self._written = source, {}
            if key in self._written:
                return self._written[key]
            lines = published_lines(models, formulation, task)
            prompt = prompt_name(formulation, live_template(models.published, formulation))
            page = published_summary(lines, prompt), rows(lines)
            if lines:
                self._written[key] = page
            return page


def build(page: gr.Blocks, state: AppState) -> list[Late]:
    """The tab's components and events; the late part is what is known of data and published figures."""
    controls, shown = _controls(), _shown(state.models)
    run, chosen = gr.State(None), gr.State(False)
    signal = html(visible="hidden")  # its change is what tells: a State's is not told of by events beside the queue
    _wire_run(page, state, controls, shown, run)
    _wire_boards(state.models, controls, shown, run)
    _wire_facts(state.models, controls, shown, signal, chosen)
    return [Late(signal, lambda: escape(known(state.models)))]


def known(models: Models) -> Facts:
    """The published headline's formulation, the sets with their sizes, and how much is published."""
    counts = Counter(question.task for question in _questions(models))
    why = "" if models.published else models.unpublished
    return Facts(live_formulation(models.published), tuple(counts.items()), len(models.items), why)


def _questions(models: Models) -> Sequence[Question]:
    """The test questions; none while they are not there, and the page says how far they are."""
    try:
        return models.questions()
    except NotReadyError:
        return ()


def _controls() -> Controls:
    task = gr.Radio([], label="Set", visible=False, elem_classes="fn-set")
    with gr.Row(elem_id="fn-run", elem_classes="fn-controls", equal_height=True):
        # Bounds of Gradio's own would leave the old result standing under its message; `evaluate` checks them.
        number = gr.Number(DEFAULT_QUESTIONS, label="Questions", info=f"1 to {MOST_QUESTIONS}", scale=1, min_width=88)
        sample = gr.Number(0, label="Sample", info="same number, same questions", scale=2, min_width=190)
        formulation = gr.Radio(PROMPTS, value="letter", label="Way of asking", scale=5, min_width=320)
        go = gr.Button("Run", variant="primary", scale=0, min_width=84)
        stop = gr.Button("Stop", interactive=False, scale=0, min_width=84, elem_classes="fn-stop")
    return Controls(task, number, sample, formulation, go, stop)


def _shown(models: Models) -> Shown:
    line = html(elem_classes="fn-line")
    with gr.Row(elem_classes="fn-sides"):
        with gr.Column(min_width=280):
            live = html(HINT)
        with gr.Column(min_width=280):
            result = html(published_panel(models, "letter"))
    view = gr.Radio(_views(0), value=LIVE, label="Questions shown", visible=False, elem_classes="fn-view")
    with gr.Column(visible=True) as this_run:
        chart = html(EMPTY)
        board = _board("Questions of this run", "fn-live-board")
    with gr.Column(visible="hidden") as everything:
        all_figures = html()
        all_board = _board("All published questions", "fn-published-board")
    return Shown(line, live, chart, board, result, view, all_figures, all_board, this_run, everything)


def _board(caption: str, name: str) -> gr.HTML:
    return html(html_template=frame(caption), js_on_load=SCRIPT, elem_id=name, detail=None)


def _views(items: int) -> list[tuple[str, str]]:
    return [("This run", LIVE), (f"Published, all {items:,}", PUBLISHED)]


def _wire_run(page: gr.Blocks, state: AppState, controls: Controls, shown: Shown, run: gr.State) -> None:
    def ask(
        task: str | None, number: float, formulation: str, sample: float, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        with state.stops.job(str(request.session_hash), "evaluate") as cancel:
            runs = evaluate(state, visitor_of(request), number, formulation, sample, cancel, task=task or "")
            for now in heard(page, request, runs):
                going = gr.update(interactive=now.state in ("queued", "running"))
                lines = rows(live_lines(now, state.models))
                yield run_status(now), summary(now) or HINT, plot(now), lines, now, going

    given = [controls.task, controls.number, controls.formulation, controls.sample]
    drawn = [shown.line, shown.live, shown.chart, shown.board, run, controls.stop]
    controls.go.click(lambda: LIVE, None, shown.view, **LIGHT)
    controls.go.click(None, None, None, js=FOLLOW_FOCUS)
    controls.go.click(ask, given, drawn, **heavy(EVALUATE))
    wire_stop(state, "evaluate", controls.stop)


def _wire_boards(models: Models, controls: Controls, shown: Shown, run: gr.State) -> None:
    """Rows are opened one by one: the published set may have thousands, each with its options and evidence."""
    everything = Everything(models)

    def open_live(now: Run | None, event: gr.EventData) -> dict[str, Any]:
        return _opened(live_lines(now, models) if now else [], event, now.formulation if now else "letter", live=True)

    def open_published(formulation: Formulation, task: str | None, event: gr.EventData) -> dict[str, Any]:
        return _opened(published_lines(models, formulation, task or ""), event, formulation, live=False)

    def show(view: str, formulation: Formulation, task: str | None) -> tuple[Any, ...]:
        here = view == PUBLISHED
        columns = gr.update(visible="hidden" if here else True), gr.update(visible=True if here else "hidden")
        return *columns, *(everything.written(formulation, task or "") if here else (gr.skip(), gr.skip()))

    way = [controls.formulation, controls.task]
    shown.board.select(open_live, run, shown.board, **LIGHT)
    shown.all_board.select(open_published, way, shown.all_board, **LIGHT)
    columns = [shown.this_run, shown.everything, shown.all_figures, shown.all_board]
    for change in (shown.view.change, controls.formulation.change, controls.task.change):
        change(show, [shown.view, *way], columns, **LIGHT)


def _opened(lines: list[Line], event: gr.EventData, formulation: Formulation, *, live: bool) -> dict[str, Any]:
    """The opened question's panel, as the table's property of that name; an unknown one leaves it as it is."""
    name = getattr(event, "id", None)
    line = next((line for line in lines if line.question.id == name), None)
    if line is None:
        return gr.skip()
    return gr.update(detail={"id": name, "html": detail(line, formulation, live)})


def _wire_facts(models: Models, controls: Controls, shown: Shown, signal: gr.HTML, chosen: gr.State) -> None:
    """The prompt becomes the published headline's, unless the visitor has chosen one already."""

    def draw(chosen: bool, selected: Formulation, task: str | None) -> tuple[Any, ...]:
        facts = known(models)
        way = selected if chosen else facts.headline or selected
        names = [(f"{name} ({count:,})", name) for name, count in facts.tasks]
        kept = task if task in dict(facts.tasks) else next(iter(dict(facts.tasks)), None)
        sets = gr.update(choices=names, value=kept, visible=len(names) > 1)
        count = len(published_lines(models, way))
        return published_panel(models, way), way, sets, gr.update(choices=_views(count), visible=count > 0)

    formulation = controls.formulation
    given, drawn = [chosen, formulation, controls.task], [shown.result, formulation, controls.task, shown.view]
    signal.change(draw, given, drawn, **LIGHT)
    formulation.input(lambda: True, None, chosen, **LIGHT)
    formulation.change(lambda way: published_panel(models, way), formulation, shown.result, **LIGHT)
