"""A budget is never passed, whatever comes at once, and is used as far as it goes."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from jobs.budget import Account
from jobs.chat_endpoint import Completion
from jobs.data_config import Budget
from tests.chat_server import ChatServer
from tests.test_asker import USED, asked, asker, server

__all__ = ["server"]


@pytest.mark.parametrize(
    ("budget", "said", "most"),
    [
        ({"tokens": 1000}, "budget of 1,000 tokens .*960 spent", 8),
        ({"dollars": 0.001, "input_price": 1.0, "output_price": 5.0}, r"budget of \$0\.001 has .*\$0\.0010 spent", 5),
        ({"tokens": 10}, r"\(0 spent\)", 0),
    ],
)
def test_a_budget_stops_cleanly(server: ChatServer, tmp_path: Path, budget: dict, said: str, most: int) -> None:
    asking = asker(server, tmp_path, concurrency=1, **budget)
    requests = [asked(f"q{n}" + "x" * 400, max_tokens=20) for n in range(20)]
    replies = list(asking.ask_all(requests, "asking"))
    assert [reply.asked for reply in replies] == [True] * most + [False] * (20 - most)
    assert len(server.requests) == asking.usage.requests == most
    assert {reply.problem for reply in replies[most:]} == {asking.usage.stopped}
    assert re.search(said, asking.usage.stopped)
    again = asker(server, tmp_path, concurrency=4, tokens=1)
    kept = [reply.text for reply in again.ask_all(requests[::-1], "asking")]
    assert sum(bool(text) for text in kept) == again.usage.cached == most  # after it stopped, too
    assert len(server.requests) == most


@pytest.mark.parametrize("written", [20, 1500])
def test_many_at_once_stay_within_the_budget(server: ChatServer, tmp_path: Path, written: int) -> None:
    """The first reply is short, and says nothing of how long the next will be."""
    used = iter([1])
    server.status = lambda request: (
        server.__setattr__("usage", USED | {"completion_tokens": next(used, written)}) or 200
    )
    asking = asker(server, tmp_path, concurrency=16, tokens=20_000)
    list(asking.ask_all([asked(f"q{n}" + "x" * 400) for n in range(200)], "asking"))
    assert 16_000 < asking.usage.input_tokens + asking.usage.output_tokens <= 20_000


def test_what_has_no_room_waits_for_what_is_under_way() -> None:
    account = Account(Budget(tokens=100))
    assert account.begin(10, 60)
    begun: list[bool] = []
    second = threading.Thread(target=lambda: begun.append(account.begin(10, 60)))
    second.start()
    second.join(0.1)
    assert begun == []
    account.end(10, 60, Completion("x", 10, 20))
    second.join(5)
    assert begun == [True]  # 30 spent: the first reply took less than it might have
    account.end(10, 60, Completion("x", 10, 1))
    assert not account.begin(10, 60)  # 41 spent
    assert account.usage.stopped
    assert not account.begin(1, 1)
