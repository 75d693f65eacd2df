"""What the Ask tab does when something is asked: which question it was, and the frames that show its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import gradio as gr

from qa.artifacts import MODEL_VARIABLE
from qa.ask_settings import AskSettings
from qa.published_files import ExampleAnswer
from space import talk_views, views
from space.answering import Answer
from space.ask import ask
from space.share import View
from space.state import AppState
from space.talk import Talk
from space.text import safe_markdown
from space.thumbs import Panel
from space.visitors import visitor_of
from space.widgets import PLACEHOLDER, heard

Frame = dict[Any, Any]


@dataclass(frozen=True)
class Parts:
    """The components in which a conversation is shown."""

    talk: gr.State
    earlier: gr.Markdown
    asked: gr.HTML
    text: gr.Markdown
    line: gr.HTML
    acts: gr.HTML
    raws: gr.HTML
    after: gr.Row
    refusal: gr.HTML
    box: gr.Textbox
    stop: gr.Button
    examples: gr.Row
    temperature: gr.Number
    length: gr.Number
    seed: gr.Number
    timer: gr.Timer
    panel: Panel

    def all(self) -> list[Any]:
        """Every component that a frame may change."""
        return [*(part for name, part in vars(self).items() if name != "panel"), *self.panel.all()]

    def begun(self, talk: Talk) -> Frame:
        """The frame of a question that was taken: what was there moves up, and the question stands below it."""
        return {
            **self.panel.closed(),
            self.earlier: talk_views.earlier(talk.turns),
            self.asked: talk_views.asked(talk.question),
            self.refusal: "",
            self.after: gr.update(visible=False),
            self.examples: gr.update(visible=False),
            self.temperature: talk.settings.temperature,
            self.length: talk.settings.max_tokens,
            self.seed: talk.settings.seed,
        }

    def now(self, answer: Answer) -> Frame:
        """The frame of an answer so far."""
        return {
            self.text: safe_markdown(answer.text),
            self.line: views.answer_status(answer),
            self.stop: gr.update(interactive=not answer.finished),
        }

    def ended(self, talk: Talk) -> Frame:
        """The frame of what can be done with a finished answer."""
        judged = gr.update(visible=bool(talk.answer), interactive=True)
        return {
            **dict.fromkeys((self.panel.up, self.panel.down), judged),
            self.box: gr.update(placeholder="Ask a follow-up" if talk.answered else PLACEHOLDER),
            self.acts: talk_views.acts(talk),
            self.raws: talk_views.raws(talk),
            self.talk: talk,
            self.after: gr.update(visible=True),
        }

    def cleared(self) -> Frame:
        """The frame of a new conversation."""
        return {
            **self.begun(Talk()),
            **dict.fromkeys((self.text, self.line, self.acts, self.raws), ""),
            self.box: gr.update(value="", placeholder=PLACEHOLDER),
            self.talk: Talk(),
            self.examples: gr.update(visible=True),
        }


@dataclass(frozen=True)
class Asking:
    """One question that was put: the conversation that ends with it, what else changes, and a published answer."""

    talk: Talk
    extra: Frame = field(default_factory=dict)
    published: ExampleAnswer | None = None


def runner(
    page: gr.Blocks, state: AppState, parts: Parts, retry: gr.Button, examples: Sequence[gr.Button]
) -> Callable[..., Iterator[Frame]]:
    """The generator of frames behind every way to ask: typed, tried again, an example, or a link's question."""

    names = [button.elem_id for button in examples]

    def run(
        request: gr.Request, event: gr.EventData, typed: str, talk: Talk, view: View,
        temperature: float, length: float, seed: float, *labels: str,
    ) -> Iterator[Frame]:  # fmt: skip
        settings = AskSettings.clamped(temperature=temperature, max_tokens=length, seed=seed)
        pressed = event.target  # a copy, with a number of its own, once a frame has changed the component
        name = getattr(pressed, "elem_id", None)
        asking: Asking | None = Asking(talk.followed(typed, settings), {parts.box: ""})
        if isinstance(pressed, gr.Timer):
            asking = _linked(state, parts, view)
        elif name == retry.elem_id:
            asking = Asking(talk.again())
        elif name in names:
            asking = _example(state, talk.followed(labels[names.index(name)], settings))
        if asking:
            yield from heard(page, request, _frames(state, parts, asking, request))

    return run


def _linked(state: AppState, parts: Parts, view: View) -> Asking | None:
    """A link's question, once the model is there or will not come."""
    if next(part for part in state.models.parts() if part.variable == MODEL_VARIABLE).phase not in ("ready", "failed"):
        return None
    extra = {parts.timer: gr.Timer(active=False), parts.box: ""}
    asking = _example(state, Talk().followed(view.question, view.settings))
    return replace(asking, extra=extra, published=asking.published if asking.talk.settings == view.settings else None)


def _example(state: AppState, talk: Talk) -> Asking:
    """A question whose answer may have been published; it was written without what was said before."""
    found = state.models.examples
    answer = found.answer(talk.question) if found else None
    return Asking(replace(talk, settings=found.settings) if found and answer else talk, published=answer)


def _frames(state: AppState, parts: Parts, asking: Asking, request: gr.Request) -> Iterator[Frame]:
    if asking.published:
        yield _at_once(parts, asking, asking.published)
        return
    talk, taken = asking.talk, False
    with (
        state.stops.job(str(request.session_hash), "ask") as cancel,
        closing(ask(state, visitor_of(request), talk.turns, talk.question, talk.settings, cancel)) as answers,
    ):
        for answer in answers:
            if not taken and answer.state == "failed":  # what the page shows stays, and the question in its box
                yield {parts.timer: gr.Timer(active=False), parts.refusal: views.answer_status(answer)}
                return
            frame = parts.now(answer) if taken else {**parts.begun(talk), **asking.extra, **parts.now(answer)}
            taken = True
            yield frame if not answer.finished else {**frame, **parts.ended(replace(talk, answer=answer.text))}


def _at_once(parts: Parts, asking: Asking, example: ExampleAnswer) -> Frame:
    talk = replace(asking.talk, answer=example.answer)
    shown = {parts.text: safe_markdown(talk.answer), parts.line: talk_views.example_status(example)}
    return {**parts.begun(talk), **asking.extra, **shown, **parts.ended(talk)}
