"""Thumbs as anybody can send them, without a browser: on an answer that the server wrote, once, and not for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import gradio as gr
import pytest
from gradio.routes import App
from starlette.testclient import TestClient

from space import ask_tab, thumbs
from space.talk import Talk
from space.thumbs import Judged
from space.visitors import Refused, Visitors
from tests.space_fakes import unloaded

TALK = Talk(question="What is LoRA?", answer="Two small matrices.")
NOTHING, TWICE = "There is no answer to judge", "has your thumb already"


class Kept:
    """Feedback that remembers what it was given."""

    configured, repository = True, "demo/feedback"

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []

    def thumb(self, *row: Any) -> str:
        self.rows.append(row)
        return "Thank you, and kept for the project."


Send = Callable[..., str]


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def send(kept: Kept, monkeypatch) -> Iterator[Send]:
    """Posts to the Send button's event, as a program would; gives the answer's body. An address has five thumbs."""
    monkeypatch.setattr(thumbs, "Visitors", lambda per_address: Visitors(per_address=5))
    state = replace(unloaded(), feedback=kept, visitors=Visitors(per_address=1))  # a thumb is no question
    with gr.Blocks() as page:
        ask_tab.build(page, state)
    page.queue()
    (button,) = [part for part in page.blocks.values() if isinstance(part, gr.Button) and part.value == "Send"]
    (event,) = [event for event in page.fns.values() if (button._id, "click") in event.targets]
    app = App.create_app(page)

    def post(session: str, talk: Talk | None = None, comment: Any = "buy pills") -> str:
        if talk is not None:
            app.state_holder[session][event.inputs[0]._id] = talk
        forged = [{"question": "Planted?", "answer": "Planted."}, "down", comment, True]
        body = {"fn_index": event._id, "data": forged, "session_hash": session}
        return client.post("/gradio_api/run/predict", json=body).text

    with TestClient(app) as client:
        yield post


def test_what_the_server_did_not_write_cannot_be_judged(send: Send, kept: Kept) -> None:
    assert NOTHING in send("forged")
    assert NOTHING in send("stopped early", replace(TALK, answer=""))
    assert kept.rows == []


def test_an_answer_has_one_thumb(send: Send, kept: Kept) -> None:
    assert "kept for the project" in send("a", TALK)
    assert TWICE in send("a", comment="again")
    assert "kept for the project" in send("b", TALK)
    assert "kept for the project" in send("a", replace(TALK, answer="Another."))
    assert [row[:5] for row in kept.rows[:2]] == [(True, "up", TALK.question, TALK.answer, "buy pills")] * 2
    assert [row[3] for row in kept.rows] == [TALK.answer, TALK.answer, "Another."]


def test_an_address_has_so_many_thumbs_beside_its_questions(send: Send, kept: Kept) -> None:
    for number in range(7):
        told = send(f"session {number}", TALK)
    assert len(kept.rows) == 5
    assert "ask again in 10 minutes" in told


def test_only_so_many_visitors_are_remembered(monkeypatch) -> None:
    monkeypatch.setattr(thumbs, "MOST_VISITORS", 2)
    judged = Judged()
    for visitor in "abc":
        judged.add(visitor, TALK)
    judged.add("a", TALK)  # forgotten, and so judged anew
    with pytest.raises(Refused, match=TWICE):
        judged.add("c", TALK)
