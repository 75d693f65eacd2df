"""What a chat server may do wrong: replies that are none, addresses and keys that give away secrets, and silence."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.asker import Asker, Reply, Request, open_asker
from jobs.chat_endpoint import SILENCE, ChatEndpoint
from jobs.config import Judge
from jobs.data_config import Budget, Reader, Writer
from jobs.documents import Rejection
from jobs.errors import UserError
from jobs.rejections import read_rejections, write_rejections
from jobs.reply_cache import ReplyCache
from jobs.workers import workers
from jobs.writers.taught import write_taught
from tests.chat_server import ChatServer, running_chat_server
from tests.tiny_teacher import passage

LAYOUT = ("word", {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]})
LONG_NUMBER = "1" * 5000
ADDRESS = "http://127.0.0.1:9/v1"


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with running_chat_server() as running:
        running.reply = lambda request: "fine"
        yield running


def asker(server: ChatServer, folder: Path, *, concurrency: int = 1, budget: Budget | None = None, **options) -> Asker:
    endpoint = ChatEndpoint("m", server.address, "writer", **{"retries": 0} | options)
    return Asker(endpoint, ReplyCache(folder), budget or Budget(), concurrency=concurrency)


def asked(count: int, layout: tuple | None = None) -> list[Request]:
    return [Request([{"role": "user", "content": f"q{n}"}], layout) for n in range(count)]


def page(content: str, more: str = "") -> tuple[str, str]:
    choice = f'{{"index": 0, "finish_reason": "stop", "message": {{"role": "assistant", "content": {content}}}}}'
    return "application/json", f'{{"id": "1", "object": "chat.completion", "choices": [{choice}]{more}}}'


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('[{"type": "text", "text": "parts"}]', "answered with content that is no text"),
        ('{"a": 1}', "answered with content that is no text"),
        ("7", "answered with content that is no text"),
        (LONG_NUMBER, "answered with JSON that cannot be read (ValueError)"),
        ("[" * 200_000, "answered with JSON that cannot be read (RecursionError)"),
        ('""', "the reply was empty"),
        ("null", "the reply was empty"),
    ],
)
def test_a_reply_that_is_none_is_one_requests_problem(
    server: ChatServer, tmp_path: Path, content: str, problem: str
) -> None:
    server.page = page(content)
    assert list(asker(server, tmp_path).ask_all(asked(1, LAYOUT), "asking")) == [Reply("", problem)]
    assert not list(tmp_path.rglob("*.json"))
    server.page = None
    assert list(asker(server, tmp_path).ask_all(asked(1, LAYOUT), "asking")) == [Reply("fine")]


@pytest.mark.parametrize("count", ['"many"', "-5", "true", "null", "1" * 12])
def test_counts_that_are_none_are_estimated(server: ChatServer, tmp_path: Path, count: str) -> None:
    server.page = page('"four"', f', "usage": {{"prompt_tokens": {count}, "completion_tokens": 3}}')
    asking = asker(server, tmp_path)
    list(asking.ask_all([Request([{"role": "user", "content": "q" * 40}])], "asking"))
    assert (asking.usage.input_tokens, asking.usage.output_tokens, asking.usage.estimated) == (10, 1, 1)


def test_halves_of_signs_are_printable(server: ChatServer, tmp_path: Path) -> None:
    server.page = page(r'"half \ud83d"')
    (reply,) = asker(server, tmp_path).ask_all(asked(1), "asking")
    assert reply.text == "half \ufffd"
    server.page, server.refusal, server.status = None, "bad \ud83d", lambda request: 400
    (reply,) = asker(server, tmp_path / "b").ask_all(asked(1), "asking")
    assert reply.problem == "answered 400 (bad \ufffd)"


def test_bad_pairs_are_rows_of_the_rejected(server: ChatServer, tmp_path: Path) -> None:
    nested = json.dumps({"question": None}).replace("null", "[" * 970 + "]" * 970)
    replies = {
        "d0.md": json.dumps({"pairs": [{"question": "bad \ud83d"}]}),
        "d1.md": f'{{"pairs": [{{"question": {LONG_NUMBER}}}]}}',
        "d2.md": f'{{"pairs": [{nested}]}}',
    }
    server.reply = lambda request: next(text for name, text in replies.items() if name in str(request["messages"]))
    writer = Writer(kind="openai", model="m", endpoint=server.address)
    passages = [passage(n, f"It is document d{n}.md.") for n in range(3)]
    written = write_taught(passages, asker(server, tmp_path), writer=writer, seed=17)
    assert write_rejections(tmp_path / "rejected.parquet", written.rejected) == 3
    rows = read_rejections(tmp_path / "rejected.parquet")
    assert [(row.name, row.stage) for row in rows[:2]] == [("d0.md#0", "schema"), ("d1.md#0", "reply")]
    assert rows[0].text == '{"question": "bad \ufffd"}'
    assert Rejection(name="n\udfff", reason="r\ud800").reason == "r\ufffd"


@pytest.mark.parametrize("key", ["weights", "e", "none", "token", "EMPTY"])
def test_a_key_that_is_a_word_changes_no_reply(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    server.reply = lambda request: "The EMPTY token has none of the weights."
    (reply,) = asker(server, tmp_path).ask_all(asked(1), "asking")
    assert reply.text == "The EMPTY token has none of the weights."
    assert server.requests[0]["key"] == f"Bearer {key}"


@pytest.mark.parametrize("key", ["clé-of-somebody-or-other", "two\nlines"])
def test_a_key_that_no_header_can_carry_is_an_error(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UserError, match=r"^OPENAI_API_KEY: ") as caught:
        ChatEndpoint("m", ADDRESS, "writer")
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["http://me:SECRETPW@127.0.0.1:9/v1", f"{ADDRESS}?key=SECRETPW", "me:SECRETPW@h/v1"]
)
def test_an_address_with_a_secret_is_refused_unrepeated(tmp_path: Path, address: str) -> None:
    options = {"concurrency": 1, "cache": str(tmp_path), "budget": Budget()}
    for name, opened in (
        ("writer", lambda: Writer(kind="openai", model="m", endpoint=address)),
        (r"writer\.reader", lambda: Reader(kind="openai", model="m", endpoint=address)),
        (r"evaluation\.judge", lambda: Judge(model="m", endpoint=address)),
        (r"writer\.reader", lambda: open_asker("openai", "m", address, section="writer.reader", **options)),
    ):
        with pytest.raises(UserError, match=rf"^{name}\.endpoint: .*OPENAI_API_KEY$") as caught:
            opened()
        assert "SECRETPW" not in str(caught.value)


def test_every_attempt_is_counted(server: ChatServer, tmp_path: Path) -> None:
    server.statuses = [503, 503]
    asking = asker(server, tmp_path, retries=4)
    assert [reply.text for reply in asking.ask_all(asked(1), "asking")] == ["fine"]
    assert asking.usage.requests == len(server.requests) == 3


@pytest.fixture
def hanging(server: ChatServer) -> Iterator[ChatServer]:
    """A server that takes requests and answers none until the test is over."""
    over = threading.Event()
    server.reply = lambda request: "" if over.wait(30) else "late"
    yield server
    over.set()


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_server_that_hangs_is_given_up(hanging: ChatServer, tmp_path: Path, concurrency: int) -> None:
    asking = asker(hanging, tmp_path, concurrency=concurrency, timeout=0.3, retries=4)
    with pytest.raises(UserError, match=rf"^{hanging.address}: gave no reply for .*what was answered is kept"):
        list(asking.ask_all(asked(100, LAYOUT), "asking"))
    assert SILENCE * concurrency - concurrency < len(hanging.requests) <= (SILENCE + 2) * concurrency


def test_a_request_that_is_broken_off_costs_what_it_may_have(hanging: ChatServer, tmp_path: Path) -> None:
    asking = asker(hanging, tmp_path, timeout=0.2, budget=Budget(tokens=2000))
    first, second = asking.ask_all(asked(2), "asking")
    assert (first.problem, second.asked) == ("did not answer within 0.2 seconds", False)
    assert (asking.usage.output_tokens, asking.usage.estimated) == (1536, 1)


def at_work(error: BaseException, over: threading.Event, done: list[bool]) -> None:
    """Raise an error while a worker waits for `over`, which it notes when it is done."""
    began = threading.Event()
    with workers(2) as pool:
        pool.apply_async(lambda: (began.set(), done.append(over.wait(30))))
        began.wait(5)
        raise error


def test_a_stop_waits_for_nothing_under_way() -> None:
    over, done = threading.Event(), []
    with pytest.raises(KeyboardInterrupt):
        at_work(KeyboardInterrupt(), over, done)
    assert done == []
    over.set()


def test_what_is_under_way_at_an_error_is_kept() -> None:
    over, done = threading.Event(), []
    threading.Timer(0.2, over.set).start()
    with pytest.raises(UserError):
        at_work(UserError("of another request"), over, done)
    assert done == [True]
