"""Streams of the page that a program joins by Gradio's queue and never reads: their work ends."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gradio as gr
import pytest

from space import compare_tab, evaluate_tab, listeners, widgets
from space.state import AppState
from tests.scheduler_engine import PATIENCE, FakeClock, until
from tests.space_fakes import FakeEngine, served


@pytest.fixture(autouse=True)
def _time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With each look at who listens, six seconds."""
    clock = FakeClock()

    def look(page: gr.Blocks, session: str) -> bool:
        clock.pass_(6)
        return listeners.is_listening(page, session, clock)

    monkeypatch.setattr(widgets, "is_listening", look)


@contextmanager
def joined(build: Callable, state: AppState, name: str, data: list) -> Iterator[None]:
    """A page of one tab, whose event of that name is joined by a session that opens no stream."""
    with gr.Blocks() as blocks:
        build(blocks, state)
    (number,) = (number for number, event in blocks.fns.items() if event.name == name)
    blocks.queue()
    _, address, _ = blocks.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", ssr_mode=False)
    body = json.dumps({"data": data, "fn_index": number, "session_hash": "deaf"}).encode()
    wanted = urllib.request.Request(  # noqa: S310 (loopback)
        f"{address}gradio_api/queue/join", body, {"content-type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(wanted, timeout=PATIENCE) as answer:
            assert json.load(answer)["event_id"]
        yield
    finally:
        state.models.scheduler.close()
        blocks.close()


def test_a_comparison_that_nobody_reads_is_dropped() -> None:
    base, tuned = FakeEngine(hangs=True), FakeEngine(hangs=True)
    with joined(compare_tab.build, served(base=base, tuned=tuned), "run", ["Why?", True, True, 0, 200, 0, None]):
        until(lambda: base.begun and tuned.begun, "both have begun")
        until(lambda: base.begun[0].ended and tuned.begun[0].ended, "both are ended")
    assert base.begun[0].interrupted
    assert tuned.begun[0].interrupted


def test_an_evaluation_that_nobody_reads_is_dropped() -> None:
    base = FakeEngine()
    state = served(base=base)
    with joined(evaluate_tab.build, state, "ask", [None, 10, "letter", 0]):
        until(lambda: base.asked and not state.stops._running, "the run is over")
    assert 1 <= len(base.asked) < 10
