"""The load test's world: the real app in a process of its own, a Hub that fails now and then, and a second opinion.

Not a test. As a program it is the app of tests.space_world that sends its feedback every few seconds.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import httpx2
import psutil
from starlette.responses import JSONResponse, Response

from qa.engine import Engine
from space.conversation import fitting_messages
from tests.api_client import ready, state_of
from tests.app_process import running
from tests.load_visitors import Asked, Crowd, Events, Visitor
from tests.space_world import BASE, DATA, INDEX, TUNED, publish

FEEDBACK = "demo/footnote-tiny-feedback"
PUSHES = 0.05  # minutes between two of them
SESSIONS = 100  # fewer than come within WARM: more of them are growth, whose bound would come later
STEP = 0.003  # seconds between two tokens
WARM = 60.0  # seconds after which memory is to stay flat


class Flaky:
    """A fault of the Hub: every third write of feedback gets 500, 503 and 429 in turn."""

    def __init__(self) -> None:
        self.asked, self.failed = 0, 0

    def __call__(self, method: str, path: str) -> Response | None:
        if method != "POST" or not re.search(rf"/{FEEDBACK}/(preupload|commit)/", path):
            return None
        self.asked += 1
        if self.asked % 3:
            return None
        self.failed += 1
        status = (500, 503, 429)[self.failed % 3]
        return JSONResponse({"error": "busy"}, status, {"Retry-After": "1"})


@dataclass
class World:
    """The running app: where it listens, its process, what it logs, its models' files and the Hub's fault."""

    address: str
    process: psutil.Process
    log: Path
    models: dict[str, Path]
    flaky: Flaky
    memory: list[tuple[float, int]] = field(default_factory=list)  # seconds since the start, resident bytes


@contextmanager
def running_world(folder: Path) -> Iterator[World]:
    """Publish everything on a loopback Hub and start the app; it is ready when this yields."""
    from local_hub.testing import running_hub

    flaky, log = Flaky(), folder / "app.log"
    with running_hub(folder / "hub", [flaky]) as hub:
        publish(hub.store, folder)
        names = {"FOOTNOTE_MODEL": TUNED, "FOOTNOTE_BASE": BASE, "FOOTNOTE_DATA": DATA, "FOOTNOTE_INDEX": INDEX}
        own = {"FOOTNOTE_FEEDBACK": FEEDBACK, "FOOTNOTE_RATE": "100000"}
        models = {role: next((folder / name).glob("*.gguf")) for role, name in (("base", BASE), ("tuned", TUNED))}
        with running("tests.load_world", {**hub.environment(folder / "home"), **names, **own}, log) as app:
            yield World(ready(app.address), psutil.Process(app.process.pid), log, models, flaky)


def crowd_of(world: World, visitors: int, seconds: float) -> Crowd:
    """Let so many visitors use the page for so long, and watch the app's memory meanwhile."""
    return asyncio.run(_crowd(world, visitors, seconds))


async def _crowd(world: World, visitors: int, seconds: float) -> Crowd:
    crowd, begun = Crowd(), time.monotonic()
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=world.address, trust_env=False, timeout=120, limits=limits) as client:
        events = Events.of((await client.get("/config")).json())
        people = [Visitor(client, crowd, events, number).stay(begun + seconds) for number in range(visitors)]
        watching = asyncio.create_task(_watch(world, begun))
        await asyncio.gather(*people)
        watching.cancel()
    return crowd


async def _watch(world: World, begun: float) -> None:
    while True:
        world.memory.append((time.monotonic() - begun, world.process.memory_info().rss))
        await asyncio.sleep(1)


def growth(memory: Collection[tuple[float, int]]) -> float | None:
    """How much the median resident memory of the last minute is above that of the minute after the first, as a part.

    None where the app was not watched for three minutes.
    """
    end = max(at for at, _ in memory)
    if end < 3 * WARM - 5:
        return None
    early = [size for at, size in memory if WARM <= at < 2 * WARM]
    late = [size for at, size in memory if at >= end - WARM]
    return median(late) / median(early) - 1


def wait_until_free(address: str) -> dict[str, int]:
    """What is still under way after the last one left; those who left unheard are dropped within 15 s."""
    for _ in range(60):
        state = state_of(address)
        under_way = {name: state[name] for name in ("running", "waiting", "evaluations")}
        if not any(under_way.values()):
            break
        time.sleep(0.5)
    return under_way


class Opinion:
    """Fresh engines, of one answer at a time, that nobody else asks."""

    def __init__(self, models: dict[str, Path]) -> None:
        self._engines = {role: Engine.load(path) for role, path in models.items()}

    def answer(self, asked: Asked) -> str:
        """What the model says to the same question in the same conversation."""
        engine = self._engines[asked.role]
        room = {"window": engine.n_ctx, "answer": asked.settings.max_tokens}
        messages = fitting_messages(engine.encoder, asked.turns, asked.question, **room)
        return engine.generate(messages, **asked.settings.as_dict())

    def close(self) -> None:
        """Free the models."""
        for engine in self._engines.values():
            engine.close()


def main() -> None:
    """The real app over engines that take their time."""
    from space import feedback_store, serving
    from tests import space_world

    feedback_store.MINUTES, serving.SESSIONS, space_world.PACE = PUSHES, SESSIONS, STEP
    space_world.main()


if __name__ == "__main__":
    main()
