"""Asking many things: order, cache, dialects of structured output, and what a bad server gets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.asker import AHEAD, Asker, Reply, Request, open_asker
from jobs.chat_endpoint import PATIENCE, ChatEndpoint, Completion
from jobs.data_config import Budget
from jobs.errors import UserError
from jobs.reply_cache import ReplyCache, request_key
from tests.chat_server import ChatServer, running_chat_server

LAYOUT = ("word", {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]})
USED = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with running_chat_server() as running:
        running.reply = lambda request: f"reply to {said(request)}"
        running.usage = USED
        yield running


def said(request: dict) -> str:
    return request["messages"][-1]["content"]


def asked(text: str, **options) -> Request:
    return Request([{"role": "user", "content": text}], **options)


def asker(server: ChatServer, folder: Path, *, retries: int = 0, concurrency: int = 4, **budget) -> Asker:
    endpoint = ChatEndpoint("m", server.address, "writer", retries=retries)
    return Asker(endpoint, ReplyCache(folder), Budget(**budget), concurrency=concurrency)


def texts(asker: Asker, count: int, **options) -> list[str]:
    return [reply.text for reply in asker.ask_all([asked(f"q{n}", **options) for n in range(count)], "asking")]


def test_replies_are_in_order_and_counted(server: ChatServer, tmp_path: Path) -> None:
    slow = threading.Event()

    def reply(request: dict) -> str:
        if said(request) == "q0":
            slow.wait(5)
        elif len(server.requests) >= 8:
            slow.set()
        return f"reply to {said(request)}"

    server.reply = reply
    asking = asker(server, tmp_path, input_price=1.0, output_price=5.0)
    assert texts(asking, 12) == [f"reply to q{n}" for n in range(12)]
    assert asking.usage.figures() == {
        **{"requests": 12, "cached": 0, "input_tokens": 1200, "output_tokens": 240},
        **{"estimated": 0, "dollars": 0.0024, "stopped": ""},
    }


def test_counts_are_estimated_where_a_server_gives_none(server: ChatServer, tmp_path: Path) -> None:
    server.usage, server.reply = None, lambda request: "r" * 80
    asking = asker(server, tmp_path)
    assert list(asking.ask_all([asked("q" * 400)], "asking")) == [Reply("r" * 80)]
    used = asking.usage
    assert (used.input_tokens, used.output_tokens, used.estimated) == (100, 20, 1)


def test_nothing_is_asked_twice_wherever_the_server_stands(server: ChatServer, tmp_path: Path) -> None:
    first = texts(asker(server, tmp_path), 5)
    with running_chat_server() as moved:
        again = asker(moved, tmp_path)
        assert texts(again, 5) == first
        assert moved.requests == []
        assert (again.usage.requests, again.usage.cached, again.usage.input_tokens) == (0, 5, 0)
    others = [asked("q0", layout=LAYOUT), asked("q0", max_tokens=7), asked("q0 ")]
    list(asker(server, tmp_path).ask_all(others, "asking"))
    assert len(server.requests) == 5 + 3


@pytest.mark.parametrize(
    "damage",
    [b"", b'{"text": "x', b"[]", b'{"text": 7}', b'{"words": "x"}', b"\xff\xfe", b"[" * 200_000, b'{"text": ""}'],
)
def test_a_damaged_reply_is_asked_again(server: ChatServer, tmp_path: Path, damage: bytes) -> None:
    texts(asker(server, tmp_path), 1)
    (kept,) = tmp_path.rglob("*.json")
    kept.write_bytes(damage)
    assert texts(asker(server, tmp_path), 1) == ["reply to q0"]
    assert len(server.requests) == 2
    assert json.loads(kept.read_bytes())["text"] == "reply to q0"
    assert list(tmp_path.rglob("*.partial")) == []


def test_key_of_a_reply_is_the_same_for_the_same_request_alone() -> None:
    messages, settings = asked("q").messages, {"temperature": 0}
    keys = [
        request_key("m", messages, None, settings),
        request_key("n", messages, None, settings),
        request_key("m", asked("p").messages, None, settings),
        request_key("m", messages, LAYOUT, settings),
        request_key("m", messages, None, {"temperature": 1}),
    ]
    assert len(set(keys)) == 5
    assert request_key("m", [dict(reversed(messages[0].items()))], None, settings) == keys[0]


def test_the_secret_is_nowhere(server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-of-the-test")
    server.reply = lambda request: f"I was sent {request['key']}"
    assert texts(asker(server, tmp_path), 1) == ["I was sent Bearer ***"]
    assert all(b"secret-of-the-test" not in file.read_bytes() for file in tmp_path.rglob("*.json"))
    server.status, server.refusal = lambda request: 400, "secret-of-the-test is no key"
    (reply,) = asker(server, tmp_path).ask_all([asked("other")], "asking")
    assert reply == Reply("", "answered 400 (*** is no key)")


def test_no_more_is_taken_than_is_needed(server: ChatServer, tmp_path: Path) -> None:
    taken: list[int] = []

    def endless() -> Iterator[Request]:
        while True:
            taken.append(1)
            yield asked(f"q{len(taken)}")

    replies = asker(server, tmp_path, concurrency=2).ask_all(endless(), "asking")
    assert next(replies).text == "reply to q1"
    assert len(taken) == AHEAD * 2 + 1
    replies.close()


def test_a_fault_is_asked_again_once_with_its_reason(server: ChatServer, tmp_path: Path) -> None:
    server.reply = lambda request: "good" if "refused: too short" in said(request) and "q1" in said(request) else "x"
    requests = [asked(f"q{n}", fault=lambda text: "" if text == "good" else "too short") for n in range(2)]
    asking = asker(server, tmp_path)
    assert [reply.text for reply in asking.ask_all(requests, "asking")] == ["x", "good"]
    assert len(server.requests) == 4
    assert all(len(request["messages"]) == 1 for request in server.requests)
    assert [reply.text for reply in asker(server, tmp_path).ask_all(requests, "asking")] == ["x", "good"]
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("only", "takes", "types"),
    [
        ("", True, ["json_schema"] * 3),
        ("json_object", True, ["json_schema", *["json_object"] * 3]),
        ("", False, ["json_schema", "json_object", None, None, None]),
    ],
)
def test_the_dialect_is_found_once(server: ChatServer, tmp_path: Path, only: str, takes: bool, types: list) -> None:
    server.takes_only, server.takes_schema = only, takes
    assert texts(asker(server, tmp_path, retries=4), 3, layout=LAYOUT) == [f"reply to q{n}" for n in range(3)]
    formats = [request.get("response_format", {}) for request in server.requests]
    assert [kind.get("type") for kind in formats] == types
    for kind in formats:
        if kind.get("type") == "json_schema":
            assert kind["json_schema"] == {"name": "word", "schema": LAYOUT[1], "strict": True}
        elif kind:
            assert kind == {"type": "json_object", "schema": LAYOUT[1]}


@pytest.mark.parametrize("status", [400, 413, 422, 500, 503])
def test_one_request_that_is_refused_is_its_own_problem(server: ChatServer, tmp_path: Path, status: int) -> None:
    server.status = lambda request: status if said(request) == "q0" else 200
    server.refusal = "too long\nfor me"
    replies = list(asker(server, tmp_path).ask_all([asked(f"q{n}", layout=LAYOUT) for n in range(4)], "asking"))
    assert replies[0].text == ""
    assert f"answered {status}" in replies[0].problem
    assert "too long" in replies[0].problem
    assert "\n" not in replies[0].problem
    assert [reply.text for reply in replies[1:]] == ["reply to q1", "reply to q2", "reply to q3"]
    assert server.requests[-1]["response_format"]["type"] == "json_schema"
    before = len(server.requests)
    server.status = lambda request: 200
    assert texts(asker(server, tmp_path), 4, layout=LAYOUT)[0] == "reply to q0"  # refusals are not kept
    assert len(server.requests) == before + 1


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "refused the key; set OPENAI_API_KEY"),
        (403, "refused the key"),
        (404, r"has no model 'm'; check writer\.model"),
        (429, r"rate limit, .*; start again later, what was answered is kept"),
        (418, "answered 418"),
    ],
)
def test_what_the_next_request_would_meet_too_ends_the_run(
    server: ChatServer, tmp_path: Path, status: int, said: str
) -> None:
    server.status = lambda request: status if len(server.requests) > 3 else 200
    got: list[Reply] = []
    with pytest.raises(UserError, match=f"^{server.address}: {said}"):
        got.extend(asker(server, tmp_path, concurrency=1).ask_all([asked(f"q{n}") for n in range(50)], "asking"))
    assert len(server.requests) < 20
    server.status = lambda request: 200
    later = asker(server, tmp_path)
    assert len(texts(later, 50)) == 50
    assert later.usage.cached == 3


def test_a_server_that_answers_nothing_is_left_alone(server: ChatServer, tmp_path: Path) -> None:
    server.status = lambda request: 500
    with pytest.raises(UserError, match=rf"answered 500 .* as to {PATIENCE} requests in a row"):
        texts(asker(server, tmp_path, concurrency=1), 100)
    assert len(server.requests) < 2 * PATIENCE


def test_a_busy_server_is_asked_again(server: ChatServer, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    assert texts(asker(server, tmp_path, retries=4), 1, layout=LAYOUT) == ["reply to q0"]
    assert len(server.requests) == 3


def test_a_server_that_is_down_is_an_error(tmp_path: Path) -> None:
    asking = Asker(
        ChatEndpoint("m", "http://127.0.0.1:9/v1", "writer", retries=0), ReplyCache(tmp_path), Budget(), concurrency=2
    )
    with pytest.raises(UserError, match=r"http://127.0.0.1:9/v1: does not answer .*check writer\.endpoint"):
        texts(asking, 5)


def test_an_asker_needs_its_names(tmp_path: Path) -> None:
    options = {"concurrency": 1, "cache": str(tmp_path), "budget": Budget()}
    with pytest.raises(UserError, match=r"^writer\.model: openai needs the name of a model"):
        open_asker("openai", "", "http://127.0.0.1:9/v1", **options)
    with pytest.raises(UserError, match=r"^writer\.reader\.endpoint: openai needs an address"):
        open_asker("openai", "m", "", section="writer.reader", **options)
    with pytest.raises(UserError, match=r"no such file; give writer\.model the path of a GGUF file"):
        open_asker("llama_cpp", str(tmp_path / "no.gguf"), "", **options)


def test_replies_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    key, one, other = "ab" * 32, Completion("one" * 1000), Completion("other" * 1000)
    writers = [
        threading.Thread(target=lambda kept=kept: [ReplyCache(tmp_path).put(key, kept) for _ in range(50)])
        for kept in (one, other)
    ]
    for writer in writers:
        writer.start()
    seen = {ReplyCache(tmp_path).get(key) for _ in range(200)}
    for writer in writers:
        writer.join()
    assert seen <= {None, one, other}
    assert ReplyCache(tmp_path).get(key) in (one, other)
