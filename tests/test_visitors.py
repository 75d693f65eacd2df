"""Who asks, how often they may, and whether anybody listens to what they asked for."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections.abc import Iterator
from types import SimpleNamespace

import gradio as gr
import pytest

from qa.scheduler import Refused
from space import visitors
from space.listeners import SILENCE, is_listening
from space.visitors import Visitor, Visitors, visitor_of
from tests.scheduler_engine import PATIENCE, FakeClock, until


def request(peer: str, session: str | None = "abc", **headers: str) -> gr.Request:
    """A request as Gradio hands it to a function."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return gr.Request(
        SimpleNamespace(client=SimpleNamespace(host=peer) if peer else None, headers=sent), session_hash=session
    )


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("8.8.8.8", "", "8.8.8.8"),
        ("8.8.8.8", "1.1.1.1", "8.8.8.8"),  # no proxy of ours: what it says of itself is not believed
        ("10.16.3.80", "1.1.1.1", "1.1.1.1"),  # a Space's own network
        ("10.16.3.80", "9.9.9.9, 1.1.1.1, 10.0.0.7", "1.1.1.1"),  # what the caller sent stands first
        ("10.16.3.80", "2606:4700:1:2:aaaa::1111", "2606:4700:1:2::"),  # a household may choose the last 64 bits
        ("2606:4700:1:2:bbbb::2", "", "2606:4700:1:2::"),
        ("10.16.3.80", "::ffff:1.1.1.1", "1.1.1.1"),
        ("10.16.3.80", "10.1.1.9, 10.0.0.7", "10.0.0.7"),  # a proxy inside a company
        ("10.16.3.80", "fd00::1:7", "fd00::1:7"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("10.16.3.80", "nonsense/../x, \n", "10.16.3.80"),
        ("", "", "unknown"),
    ],
)
def test_an_address_is_the_last_public_one(peer: str, forwarded: str, address: str):
    assert visitor_of(request(peer, x_forwarded_for=forwarded)) == Visitor("abc", address)


def test_callers_over_mcp_do_not_share_gradios_own_session():
    one, other = (
        visitor_of(request("127.0.0.1", x_gradio_user="mcp", x_forwarded_for=f"1.1.1.{last}")) for last in (1, 2)
    )
    assert (one.key, other.key) == ("1.1.1.1/", "1.1.1.2/")


def test_a_session_is_bounded_and_may_be_missing():
    assert visitor_of(request("8.8.8.8", None)).key == "8.8.8.8/"
    assert len(visitor_of(request("8.8.8.8", "x" * 10_000)).key) < 100


def test_an_address_is_refused_for_as_long_as_it_takes():
    clock = FakeClock()
    asked = Visitors(per_address=2, clock=clock)
    asked.check(Visitor("a", "8.8.8.8"))
    clock.pass_(200)
    asked.check(Visitor("b", "8.8.8.8"))
    with pytest.raises(Refused, match=r"^2 questions came from your address in 10 minutes; ask again in 7 minutes\.$"):
        asked.check(Visitor("c", "8.8.8.8"))
    asked.check(Visitor("a", "8.8.4.4"))
    clock.pass_(399)
    with pytest.raises(Refused, match=r"ask again in a minute\.$"):
        asked.check(Visitor("c", "8.8.8.8"))
    clock.pass_(1)
    asked.check(Visitor("c", "8.8.8.8"))
    with pytest.raises(Refused):
        asked.check(Visitor("c", "8.8.8.8"))


def test_the_memory_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(visitors, "MOST_ADDRESSES", 3)
    clock = FakeClock()
    asked = Visitors(per_address=1, clock=clock)
    for last in range(10):
        asked.check(Visitor("", f"8.8.8.{last}"))
    assert list(asked._asked) == ["8.8.8.7", "8.8.8.8", "8.8.8.9"]
    clock.pass_(600)
    asked.check(Visitor("", "1.1.1.1"))
    assert list(asked._asked) == ["1.1.1.1"]


def test_a_refused_address_is_not_let_in_by_asking_on():
    clock = FakeClock()
    asked = Visitors(per_address=1, clock=clock)
    asked.check(Visitor("", "8.8.8.8"))
    for _ in range(3):
        with pytest.raises(Refused):
            asked.check(Visitor("", "8.8.8.8"))
    clock.pass_(600)
    asked.check(Visitor("", "8.8.8.8"))


def test_unread_messages_tell_who_listens():
    clock, messages = FakeClock(), asyncio.Queue()
    blocks = SimpleNamespace(_queue=SimpleNamespace(pending_messages_per_session={"abc": messages}))
    assert is_listening(blocks, "abc", clock), "nothing to read"
    messages.put_nowait("one")
    messages.put_nowait("two")
    assert is_listening(blocks, "abc", clock)
    clock.pass_(SILENCE - 1)
    assert is_listening(blocks, "abc", clock), "it has 15 seconds"
    messages.get_nowait()
    clock.pass_(2)
    assert is_listening(blocks, "abc", clock), "it has read one, which is slow but reading"
    clock.pass_(SILENCE)
    assert not is_listening(blocks, "abc", clock)
    messages.get_nowait()
    assert is_listening(blocks, "abc", clock)


def test_where_gradio_keeps_no_such_queue_everybody_listens():
    for blocks in (SimpleNamespace(), SimpleNamespace(_queue=SimpleNamespace()), gr.Blocks()):
        assert is_listening(blocks, "abc")
    assert is_listening(gr.Blocks(), None)


@pytest.fixture
def page() -> Iterator[SimpleNamespace]:
    """A page with one long job, whose clock is moved by a second with each of its 60 steps.

    With `heard` each step waits until it was read, so that a slow machine does not make a listener look deaf.
    """
    ended = SimpleNamespace(steps=0, event=threading.Event(), address="", heard=False)
    clock = FakeClock()

    def count(request: gr.Request) -> Iterator[str]:
        for step in range(60):
            if not is_listening(blocks, request.session_hash, clock):
                break
            ended.steps, _ = step + 1, clock.pass_(1)
            yield str(step)
            messages = blocks._queue.pending_messages_per_session[request.session_hash]
            until(lambda messages=messages: not ended.heard or messages.empty(), "the step is read")
        ended.event.set()

    with gr.Blocks() as blocks:
        gr.on(None, count, None, gr.Textbox(), api_name="count")
    blocks.queue()
    _, ended.address, _ = blocks.launch(
        prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=None, ssr_mode=False
    )
    yield ended
    blocks.close()


def _open(address: str, body: dict | None = None) -> object:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    data = None if body is None else json.dumps(body).encode()
    wanted = urllib.request.Request(address, data, {"content-type": "application/json"})  # noqa: S310 (loopback)
    return opener.open(wanted, timeout=PATIENCE)


def test_a_caller_who_never_listens_loses_the_job(page: SimpleNamespace):
    with _open(f"{page.address}gradio_api/queue/join", {"data": [], "fn_index": 0, "session_hash": "deaf"}) as answer:
        assert json.load(answer)["event_id"]
    assert page.event.wait(PATIENCE)
    assert SILENCE <= page.steps < SILENCE + 5


def test_a_caller_without_a_session_who_never_listens_loses_the_job(page: SimpleNamespace):
    with _open(f"{page.address}gradio_api/call/count", {"data": []}) as answer:
        assert json.load(answer)["event_id"]
    assert page.event.wait(PATIENCE)
    assert page.steps < SILENCE + 5


def test_a_caller_who_listens_gets_the_whole_job(page: SimpleNamespace):
    page.heard = True
    with _open(f"{page.address}gradio_api/call/count", {"data": []}) as answer:
        event = json.load(answer)["event_id"]
    with _open(f"{page.address}gradio_api/call/count/{event}") as stream:
        told = stream.read().decode()
    assert page.steps == 60
    assert 'event: complete\ndata: ["59"]' in told
