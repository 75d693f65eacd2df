"""Visitors of the load test: they ask, follow up, compare, vote, search and evaluate by raw HTTP, and some leave.

Not a test. Every visitor has an address and a session of its own, as behind a Space's proxy.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2

from qa.ask_settings import AskSettings

LENGTH = 24  # tokens of an answer
LEAVING = 0.2  # of the answers are left in their middle
THINKING = 3.0  # seconds between two questions, in the mean
TURNS = {"ask": 0.6, "search": 0.2, "compare": 0.1, "vote": 0.06, "evaluate": 0.04}
ASKED_WITH, COMPARED_WITH = AskSettings(temperature=0.0, max_tokens=LENGTH), AskSettings.greedy(LENGTH)
SUBJECTS = ("LoRA", "attention", "a corpus", "batch size", "an encoder", "dropout", "a gradient", "quantisation")

Turn = tuple[str, str]


@dataclass(frozen=True)
class Asked:
    """A question with what was said before it, and what came back from which model; `whole` unless its asker left."""

    turns: tuple[Turn, ...]
    question: str
    role: str
    settings: AskSettings
    answer: str
    whole: bool


@dataclass
class Crowd:
    """What all visitors saw. Times are in seconds."""

    seen: Counter[str] = field(default_factory=Counter)
    asked: list[Asked] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    found: dict[str, set[str]] = field(default_factory=dict)  # what a query or a sample gave, as JSON


@dataclass(frozen=True)
class Events:
    """Numbers of the page's events, which have no name for programs: a blind comparison, and a vote on it."""

    compare: int
    vote: int

    @classmethod
    def of(cls, config: dict[str, Any]) -> Events:
        """Find them in what the page says of itself: the vote is named, the comparison is the queued one before it."""
        told = config["dependencies"]
        vote = next(number for number, event in enumerate(told) if event["api_name"] == "vote")
        compare = next(number for number in range(vote, 0, -1) if told[number]["queue"])
        return cls(told[compare]["id"], told[vote]["id"])


class Left(Exception):  # noqa: N818 (says what happened)
    """The visitor closed the page in the middle of an answer."""


class Visitor:
    """One person: thinks, does something, and now and then goes away and is followed by another."""

    def __init__(self, client: httpx2.AsyncClient, crowd: Crowd, events: Events, number: int) -> None:
        self.client, self.crowd, self.events, self.number = client, crowd, events, number
        self.chance = random.Random(number)
        self.headers = {"x-forwarded-for": f"8.8.{number // 250}.{number % 250 + 1}"}
        self.count, self.session = 0, ""
        self.turns: tuple[Turn, ...] = ()
        self._arrive()

    async def stay(self, until: float) -> None:
        """Use the page until the time; whatever goes wrong is one line among the crowd's errors."""
        await asyncio.sleep(self.chance.uniform(0, THINKING))
        while time.monotonic() < until:
            kind = self.chance.choices(list(TURNS), list(TURNS.values()))[0]
            try:
                await getattr(self, kind)()
                self.crowd.seen[kind] += 1
            except Left:
                self.crowd.seen["left"] += 1
                self._arrive()
            except (httpx2.HTTPError, AssertionError) as error:
                self.crowd.errors.append(f"{kind}: {type(error).__name__}: {error}"[:300])
            await asyncio.sleep(min(self.chance.expovariate(1 / THINKING), 10))

    async def ask(self) -> None:
        """A question, half of the time as a follow-up."""
        turns = self.turns if self.chance.random() < 0.5 else ()
        question, seen = self._question(), []
        data = [question, [list(turn) for turn in turns], 0, 0, LENGTH]
        try:
            answer = await self._taken("/ask", 0, data, seen)
        except Left:
            self.crowd.asked.append(Asked(turns, question, "tuned", ASKED_WITH, seen[-1] if seen else "", whole=False))
            raise
        self.crowd.asked.append(Asked(turns, question, "tuned", ASKED_WITH, answer, whole=True))
        self.turns = (*turns, (question, answer))[-3:]

    async def compare(self) -> None:
        """One question to both models."""
        question = self._question()
        both = await self._taken("/compare", 1, [question, 0, 0, LENGTH], [])
        for role in ("base", "tuned"):
            self.crowd.asked.append(Asked((), question, role, COMPARED_WITH, both[role]["text"], whole=True))

    async def vote(self) -> None:
        """A blind comparison on the page, and a vote on it with consent."""
        await self._taken("", self.events.compare, [self._question(), True, False, 0, LENGTH, 0, None], [])
        reply = await self._post("run/predict", {"fn_index": self.events.vote, "data": [True]})
        said = reply.text
        assert "Counted" in said, said[:400]
        self.crowd.seen["kept votes"] += "Counted, and kept" in said

    async def search(self) -> None:
        """The papers that share words with a query."""
        query = self.chance.choice(SUBJECTS)
        hits = await self._taken("/search_papers", 2, [query, 5], [])
        self.crowd.found.setdefault(f"search {query}", set()).add(json.dumps(hits))

    async def evaluate(self) -> None:
        """Two questions of the test set."""
        sample = self.chance.randrange(3)
        run = await self._taken("/evaluate", 3, [2, "cloze", sample], [])
        assert (run["state"], len(run["rows"])) == ("done", 2), run
        self.crowd.found.setdefault(f"evaluate {sample}", set()).add(json.dumps(run["rows"]))

    def _arrive(self) -> None:
        """Another person behind the same address."""
        self.session, self.turns = uuid.uuid4().hex[:11], ()

    def _question(self) -> str:
        self.count += 1
        return f"Visitor {self.number} asks {self.count}: what is said of {self.chance.choice(SUBJECTS)}?"

    async def _post(self, path: str, body: dict[str, Any]) -> httpx2.Response:
        reply = await self.client.post(
            f"/gradio_api/{path}", json={**body, "session_hash": self.session}, headers=self.headers
        )
        assert reply.status_code == 200, f"{reply.status_code} {reply.text}"
        return reply

    async def _taken(self, name: str, number: int, data: list[Any], seen: list[Any]) -> Any:
        """What an event returns in the end; `seen` takes what came before. Raises `Left` where its visitor leaves."""
        leaves = name in ("/ask", "/compare") and self.chance.random() < LEAVING
        patience = self.chance.randrange(1, LENGTH) if leaves else None
        begun, words = time.monotonic(), False
        await self._post("queue/join", {"fn_index": number, "data": data})
        params = {"session_hash": self.session}
        async with self.client.stream("GET", "/gradio_api/queue/data", params=params, headers=self.headers) as stream:
            assert stream.status_code == 200, f"the stream answered {stream.status_code}"
            async for line in stream.aiter_lines():
                message = json.loads(line.removeprefix("data: ")) if line else {"msg": ""}
                result = self._news(message, seen)
                if message["msg"] == "process_completed":
                    return result
                if name == "/ask" and seen and seen[-1] and not words:
                    words = True
                    self.crowd.first.append(time.monotonic() - begun)
                if patience is not None and len(seen) > patience:
                    raise Left
        raise AssertionError("the stream ended before its answer")

    def _news(self, message: dict[str, Any], seen: list[Any]) -> Any:
        """Take one message of the stream; the last one's result."""
        from gradio_client.utils import apply_diff

        match message["msg"]:
            case "process_generating":
                assert message["success"], message["output"]
                news = message["output"]["data"][0]
                seen.append(apply_diff(seen[-1], news) if seen else news)
            case "progress":
                self.crowd.seen["places"] += "in the queue" in str(message["progress_data"])
            case "process_completed":
                assert message["success"], message["output"]
                return message["output"]["data"][0]
            case "unexpected_error" | "server_stopped":
                raise AssertionError(message)
        return None
