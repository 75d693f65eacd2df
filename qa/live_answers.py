"""The answers that hold a slot: begun, stepped, and kept until their engine says that they ended."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import NamedTuple

from qa.engine import Chunk, Engine, Generation
from qa.job import Job, Share

log = logging.getLogger(__name__)


class Live(NamedTuple):
    """A generation with whom it is for."""

    engine: Engine
    generation: Generation
    job: Job
    share: Share


class LiveAnswers:
    """All but `interrupt` and the length is for the scheduler's thread.

    `finished` is called with the lock held, for a job that has ended by itself; `failed` without it.
    """

    def __init__(self, lock: threading.Lock, finished: Callable[[Job], None], failed: Callable[[Job], None]) -> None:
        self._lock, self._finished, self._failed = lock, finished, failed
        self._live: dict[int, Live] = {}  # by the generation's identity
        self._failing: set[int] = set()  # engines whose last step failed

    def __len__(self) -> int:
        return len(self._live)

    def begin(self, job: Job, engines: dict[str, Engine]) -> None:
        """Take a slot for each part of the job."""
        for share in job.shares:
            if share.ended:  # by somebody, while the part before it began
                return
            try:
                engine = engines[share.part.engine]
                generation = engine.begin(share.part.messages, **share.part.settings.as_dict())
            except Exception:  # the thread goes on serving the others
                log.exception("an answer could not begin")
                self._failed(job)
                return
            with self._lock:
                self._live[id(generation)] = Live(engine, generation, job, share)
                ended = share.ended
            if ended:
                engine.interrupt(generation)

    def step(self) -> None:
        """One computation of each engine that has something to do."""
        for engine in {id(live.engine): live.engine for live in self._live.values()}.values():
            self._step(engine)

    def interrupt(self, job: Job) -> None:
        """End what is computed for an ended job; its slots are free after the engines' next step."""
        with self._lock:
            theirs = [live for live in self._live.values() if live.job is job]
        for live in theirs:
            live.engine.interrupt(live.generation)

    def fit(self, engine: Engine, count: int) -> bool:
        """Whether so many answers can begin now. An engine that failed first ends what it had under way."""
        return id(engine) not in self._failing and engine.free >= count

    def _step(self, engine: Engine) -> None:
        try:
            news = engine.step()
        except Exception:  # the thread goes on serving the others
            log.exception("an engine failed")
            self._fail(engine)
            return
        for generation, chunk in news:
            self._hear(generation, chunk)
        if not engine.busy:
            self._give_up(engine)  # those that ended with an error are told of by nobody

    def _hear(self, generation: Generation, chunk: Chunk) -> None:
        with self._lock:
            live = self._live.get(id(generation))
            if live is None:
                return
            if chunk.state == "done":
                del self._live[id(generation)]
            if not live.share.ended:
                live.job.hear(live.share, chunk)
                if live.job.ended:
                    self._finished(live.job)

    def _fail(self, engine: Engine) -> None:
        """Fail and interrupt the jobs of an engine; their slots are given up where it cannot even end them."""
        for live in self._of(engine):
            self._failed(live.job)
        if id(engine) in self._failing:
            self._give_up(engine)
        else:
            self._failing.add(id(engine))

    def _give_up(self, engine: Engine) -> None:
        """Forget what the engine has under way, by its own account nothing."""
        self._failing.discard(id(engine))
        for live in self._of(engine):
            self._failed(live.job)
            with self._lock:
                del self._live[id(live.generation)]

    def _of(self, engine: Engine) -> list[Live]:
        return [live for live in self._live.values() if live.engine is engine]
