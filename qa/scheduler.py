"""One scheduler for the machine: who is answered when, on engines that only its thread computes with.

Askers come first, in the order they came, up to `Limits.parallel` answers at once; evaluations are done in pieces while
nobody asks, and one piece every `TURN` seconds otherwise. A visitor has at most two things under way, of which one
answer at a time is written. Whatever happens to a job, its slots are given back: an ended generation is interrupted,
and its engine stepped until it has said so.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from qa.engine import Aborted, Engine, PromptTooLong
from qa.evaluation_turns import EvaluationTurns, T, Work
from qa.job import Ending, Job, News, Part, Share
from qa.live_answers import LiveAnswers
from qa.waiting_line import JOBS_PER_VISITOR, PULSE, Limits, Load, Pace, Queued, Refused, address_of

__all__ = ["Aborted", "Job", "Limits", "Load", "News", "Part", "Queued", "Refused", "Scheduler"]


class Scheduler:
    """Takes jobs and evaluations from any thread. Engines may be added to the dict, or replaced in it, at any time."""

    def __init__(
        self,
        engines: dict[str, Engine],
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engines, self.limits = engines, limits
        self._clock, self._lock, self._wake = clock, threading.Lock(), threading.Event()
        self._line: list[Job] = []
        self._running: list[Job] = []
        self._live = LiveAnswers(self._lock, self._finished, lambda job: self._end(job, "failed"))
        self._pace = Pace()
        self._evaluations = EvaluationTurns(self._lock, clock, self._wake.set, limits)
        self._thread: threading.Thread | None = None
        self._closed = False

    def start(self) -> None:
        """Begin to serve, also what was submitted before; safe to repeat."""
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._serve, daemon=True, name="scheduler")
            self._thread.start()

    def close(self) -> None:
        """End every job and evaluation, free every slot and end the thread; safe to repeat. Engines stay open."""
        with self._lock:
            self._closed = True
        self._wake.set()
        self._evaluations.close()
        if self._thread is None:
            self._drain()
        elif self._thread is not threading.current_thread():
            self._thread.join()

    def submit(self, visitor: str, parts: Sequence[Part]) -> Job:
        """Put a job in the queue; it begins when every part has a slot. Raises `Refused` and `PromptTooLong`.

        A visitor is "ADDRESS/SESSION", or any name of its own.
        """
        shares = [Share(number, part, self._length(part)) for number, part in enumerate(parts)]
        with self._lock:
            self._admissible(visitor)
            self._check_room()
            job = Job(visitor, shares, self._lock, self._clock, lambda job: self._end(job, "cancelled"), self._place)
            self._line.append(job)
        self._wake.set()
        return job

    def check(self, visitor: str, *, evaluation: bool = False) -> None:
        """Raises `Refused` where a question, or an evaluation, would be refused now, before it is worth tokenising."""
        with self._lock:
            self._admissible(visitor)
            if evaluation:
                self._evaluations.check_room()
            else:
                self._check_room()

    def evaluate(self, visitor: str, works: Iterable[Work[T]], cancel: threading.Event) -> Iterator[Queued | T]:
        """Run each work on the scheduler's thread, when nobody asks; its results in their order.

        Each work is given an event that ends it: `cancel`, which is also set when the iteration is left in the middle
        of one. Yields `Queued` while waiting. Raises `Refused` at the first step or past a time limit, `Aborted` within
        a second of `cancel` or when the scheduler is closed, and what a work raises.
        """
        return self._evaluations.evaluate(visitor, works, cancel, self._admissible)

    def load(self) -> Load:
        """What is under way and what waits."""
        with self._lock:
            return Load(len(self._running), len(self._line), len(self._evaluations.line))

    @property
    def expected_seconds(self) -> float | None:
        """Moving average of a job's seconds from its first computation to its end, None until one was measured."""
        return self._pace.seconds

    def _length(self, part: Part) -> int:
        """Tokens of a part's prompt."""
        engine = self.engines.get(part.engine)
        if engine is None:
            raise Refused("The model is not ready yet; try again when the page says that it is.")
        tokens = len(engine.encoder.prompt(part.messages))  # RuntimeError where it was replaced and closed meanwhile
        if tokens >= engine.n_ctx:
            raise PromptTooLong(f"the prompt has {tokens} tokens; at most {engine.n_ctx - 1} can be read")
        return tokens

    def _admissible(self, visitor: str) -> None:
        """Raises `Refused`; the lock is held."""
        if self._closed:
            raise Refused("The page is closing; try again in a minute.")
        self._evaluations.sweep()
        visitors = [taken.visitor for taken in (*self._line, *self._running, *self._evaluations.line)]
        if visitors.count(visitor) >= JOBS_PER_VISITOR:
            raise Refused("You have something under way and something waiting; wait for one of them, or stop it.")
        if sum(address_of(other) == address_of(visitor) for other in visitors) >= self.limits.per_address:
            raise Refused("Too much is under way from your address; wait for some of it to end.")

    def _check_room(self) -> None:
        """Raises `Refused` where the queue is full; the lock is held."""
        if (count := len(self._line)) >= self.limits.waiting:
            waiting = "1 question is" if count == 1 else f"{count} questions are"
            raise Refused(f"{waiting} waiting already; try again in a few minutes.")

    def _place(self, job: Job) -> tuple[int, float | None]:
        """The job's place in the queue from 1, and the expected wait in seconds; the lock is held."""
        now, ahead = self._clock(), self._ahead(job)
        spent = [now - running.begun for running in self._running for _ in running.shares]
        sizes = [len(other.shares) for other in ahead]
        wait = self._pace.wait(spent, sizes, len(job.shares), self.limits.parallel)
        if wait is None:
            return len(ahead) + 1, None
        ends = [self._pace.left(now - running.begun) for running in self._running if running.visitor == job.visitor]
        for index, other in enumerate(ahead):
            if other.visitor == job.visitor:
                begins = self._pace.wait(spent, sizes[:index], sizes[index], self.limits.parallel)
                ends.append(begins + self._pace.left(0.0))
        return len(ahead) + 1, max([wait, *ends])  # a visitor's second one begins after the first

    def _ahead(self, job: Job) -> list[Job]:
        """The jobs in the queue before this one, but those that wait for another of their own visitor's."""
        before = [running.visitor for running in self._running]
        found = []
        for other in self._line[: self._line.index(job)]:
            if other.visitor not in before:
                found.append(other)
                before.append(other.visitor)
        return found

    def _serve(self) -> None:
        while not self._closed:
            self._sweep()
            while (job := self._next()) is not None:
                self._live.begin(job, self.engines)
            computing = len(self._live) > 0
            self._live.step()
            if self._evaluations.due(idle=not self._live and not self._line):
                self._evaluations.work()
            elif not computing:
                self._wake.wait(PULSE if self._line or self._evaluations.line else None)
                self._wake.clear()
        self._drain()

    def _drain(self) -> None:
        """Nothing more is computed but the end of what is under way."""
        for job in [*self._line, *self._running]:
            self._end(job, "cancelled")
        self._evaluations.close()
        while self._live:
            self._live.step()

    def _sweep(self) -> None:
        """End what is past its time: at the deadline, after waiting too long, or unheard."""
        now, limits = self._clock(), self.limits
        endings: list[tuple[Job, Ending]] = []
        with self._lock:
            self._evaluations.sweep()
            for job in [*self._line, *self._running]:
                waited, worked = now - job.submitted, 0.0 if job.begun is None else now - job.begun
                if job.silent(now) >= limits.silence:
                    endings.append((job, "cancelled"))
                elif worked >= limits.deadline or (job.begun is None and waited >= limits.patience):
                    endings.append((job, "deadline"))
        for job, ending in endings:
            self._end(job, ending)

    def _next(self) -> Job | None:
        """Take the next job out of the queue, if it can begin. A visitor's second one does not hold up the others."""
        with self._lock:
            answered = {job.visitor for job in self._running}
            job = next((job for job in self._line if job.visitor not in answered), None)
            if job is None or not self._fits(job):
                return None
            self._line.remove(job)
            self._running.append(job)
            job.begun = self._clock()
            for share in job.shares:
                share.begin()
            job.move()
            self._renumber()
            return job

    def _fits(self, job: Job) -> bool:
        """Whether all its parts have a slot now. Where the machine writes one answer at once, two begin alone."""
        wanted = Counter(share.part.engine for share in job.shares)
        if self._live and len(self._live) + len(job.shares) > self.limits.parallel:
            return False
        return all(name in self.engines and self._live.fit(self.engines[name], count) for name, count in wanted.items())

    def _end(self, job: Job, ending: Ending) -> None:
        """End a job for another reason than its answers' ends. Safe to repeat, from any thread."""
        with self._lock:
            if job.ended:
                return
            job.end(ending)
            self._finished(job, measured=ending != "failed")
        self._live.interrupt(job)

    def _finished(self, job: Job, measured: bool = True) -> None:
        """Take an ended job off its list; the lock is held."""
        if job in self._running:
            self._running.remove(job)
            if measured:
                self._pace.measured(self._clock() - job.begun)
        elif job in self._line:
            self._line.remove(job)
            self._renumber()

    def _renumber(self) -> None:
        for job in self._line:
            job.move()
