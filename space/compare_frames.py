"""The frames of the Compare tab: a comparison under way, a finished one, a vote and what it reveals."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from qa.ask_settings import AskSettings
from space import compare_views, views
from space.answering import WAITING, encodable
from space.blind import Ballot, Comparison, Comparisons, VoteError, arranged, paced, toss
from space.compare import compare
from space.models import SIDES
from space.share import View
from space.state import AppState
from space.text import safe_markdown
from space.visitors import visitor_of
from space.widgets import heard

Frame = dict[Any, Any]


@dataclass(frozen=True)
class Column:
    """One answer: whose it is, the text as it is written, the text with marks, and the line below."""

    head: gr.HTML
    text: gr.Markdown
    marked: gr.HTML
    line: gr.HTML


@dataclass(frozen=True)
class Parts:
    """The components that frames change."""

    stop: gr.Button
    temperature: gr.Number
    length: gr.Number
    seed: gr.Number
    timer: gr.Timer
    hint: gr.HTML
    columns: tuple[Column, Column]
    said: gr.HTML
    acts: gr.HTML
    ballots: gr.Column
    note: gr.HTML
    result: gr.HTML

    def all(self) -> list[Any]:
        """Every component that a frame may change."""
        single = [part for name, part in vars(self).items() if name != "columns"]
        return single + [part for column in self.columns for part in vars(column).values()]


class CompareTab:
    """The frames of the tab: of a comparison under way, of a finished one, of a vote."""

    def __init__(self, page: gr.Blocks, state: AppState, parts: Parts) -> None:
        self.page, self.state, self.parts, self.comparisons = page, state, parts, Comparisons()

    def run(
        self, question: str, blind: bool, marks: bool, temperature: float, length: float, seed: float,
        view: View, event: gr.EventData, request: gr.Request,
    ) -> Iterator[Frame]:  # fmt: skip
        """Put a question to both models: the one that was typed or, once the models are there, the link's."""
        settings, linked = chosen(temperature, length, seed), event.target is self.parts.timer
        if linked and not self.state.models.settled:
            return
        if linked:
            question, settings = view.question, view.settings
        question = encodable(question) if isinstance(question, str) else ""
        models = toss() if blind else SIDES
        comparison = Comparison(question, settings, (WAITING, WAITING), models, bool(blind))
        session = str(request.session_hash)
        self.comparisons.put(session, None)
        yield self._begun(comparison) | ({self.parts.timer: gr.Timer(active=False)} if linked else {})
        with closing(paced(heard(self.page, request, self._answered(comparison, request)))) as stream:
            for comparison in stream:
                yield self._written(comparison)
        if any(answer.state in ("done", "cut", "stopped") for answer in comparison.answers):  # else it was refused
            self.comparisons.put(session, comparison)
        yield self._finished(comparison, bool(marks))

    def voter(self, ballot: Ballot) -> Callable[..., Frame]:
        """What the button of a ballot does."""

        def vote(consent: bool, request: gr.Request) -> Frame:
            return self.vote(ballot, consent, request)

        return vote

    def vote(self, ballot: Ballot, consent: bool, request: gr.Request) -> Frame:
        """Count a vote on the visitor's last comparison, and reveal whose answers they were."""
        session, parts = str(request.session_hash), self.parts
        try:
            comparison = self.comparisons.vote(session, ballot)
        except VoteError as error:
            return {parts.note: views.status("failed", str(error))}
        kept = self.state.feedback.vote(
            consent=consent is True,
            choice=comparison.choice,
            question=comparison.question,
            base=comparison.of("base").text,
            tuned=comparison.of("tuned").text,
            settings=comparison.settings,
        )
        tallies = self.comparisons.tally(session), self.state.feedback.tally()
        return {
            **self._headed(comparison),
            **self._lined(comparison),
            parts.ballots: gr.update(visible=False),
            parts.acts: compare_views.acts(comparison),
            parts.said: compare_views.told(comparison),
            parts.result: compare_views.revealed(comparison, kept, *tallies),
        }

    def mark(self, marks: bool, request: gr.Request) -> Frame:
        """Show the last comparison with or without marks."""
        comparison = self.comparisons.get(str(request.session_hash))
        return self._drawn(comparison, bool(marks)) if comparison else {self.parts.note: gr.skip()}

    def _answered(self, comparison: Comparison, request: gr.Request) -> Generator[Comparison]:
        with self.state.stops.job(str(request.session_hash), "compare") as cancel:
            pairs = compare(self.state, visitor_of(request), comparison.question, comparison.settings, cancel)
            with closing(pairs):
                for pair in pairs:
                    yield replace(comparison, answers=arranged(pair, comparison.models))

    def _begun(self, comparison: Comparison) -> Frame:
        parts = self.parts
        cleared: Frame = dict.fromkeys((parts.hint, parts.acts, parts.result), "")
        return {
            **cleared,
            **self._headed(comparison),
            **self._written(comparison),
            parts.temperature: comparison.settings.temperature,
            parts.length: comparison.settings.max_tokens,
            parts.seed: comparison.settings.seed,
            parts.ballots: gr.update(visible=False),
        }

    def _headed(self, comparison: Comparison) -> Frame:
        heads = compare_views.heads(self.state.models.settings, comparison)
        return {column.head: head for column, head in zip(self.parts.columns, heads, strict=True)}

    def _lined(self, comparison: Comparison) -> Frame:
        """A line below each answer; or one below both, of what kept either from being asked."""
        refusal = compare_views.refusal(comparison.shown)
        lines = ("", "") if refusal else map(views.answer_status, comparison.shown)
        frame: Frame = {column.line: line for column, line in zip(self.parts.columns, lines, strict=True)}
        return frame | {self.parts.note: refusal}

    def _written(self, comparison: Comparison) -> Frame:
        frame = self._lined(comparison) | self._drawn(comparison, marks=False)
        running = not all(answer.finished for answer in comparison.answers)
        return frame | {
            self.parts.said: compare_views.said(comparison.shown),
            self.parts.stop: gr.update(interactive=running),
        }

    def _finished(self, comparison: Comparison, marks: bool) -> Frame:
        return {
            **self._drawn(comparison, marks),
            self.parts.stop: gr.update(interactive=False),
            self.parts.acts: compare_views.acts(comparison),
            self.parts.ballots: gr.update(visible=comparison.votable),
        }

    def _drawn(self, comparison: Comparison, marks: bool) -> Frame:
        """The texts: as Markdown, or as plain text with its differences marked where both have words."""
        marked = compare_views.marked_texts(comparison) if marks else None
        frame: Frame = {}
        for number, column in enumerate(self.parts.columns):
            text = safe_markdown(comparison.shown[number].text)
            frame[column.text] = gr.update(value="" if marked else text, visible=not marked)
            frame[column.marked] = gr.update(value=marked[number] if marked else "", visible=bool(marked))
        return frame


def chosen(temperature: float, length: float, seed: float) -> AskSettings:
    """The settings of both models, from what a visitor or a program sent; at temperature 0 the likeliest tokens."""
    settings = AskSettings.clamped(temperature=temperature, max_tokens=length, seed=seed)
    if settings.temperature > 0:
        return settings
    return replace(AskSettings.greedy(settings.max_tokens), seed=settings.seed)
