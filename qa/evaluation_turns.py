"""The line of evaluations: long work in short pieces, which gives way to whoever asks a question.

One evaluation at a time is under way on the machine; the others know their place. Each piece runs on the scheduler's
thread, which owns the engines, while the evaluation's own thread waits for it here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from qa.engine import Aborted
from qa.waiting_line import PULSE, Limits, Pace, Queued, Refused

TURN = 20.0  # seconds that visitors' questions go first; then one piece of an evaluation does

T = TypeVar("T")
Work = Callable[[threading.Event], T]


class Ticket:
    """One evaluation: the piece it wants done and what became of the last one."""

    def __init__(self, visitor: str, cancel: threading.Event, now: float) -> None:
        self.visitor, self.cancel = visitor, cancel
        self.submitted = self.since = self.heard = now  # since: the piece it wants now
        self.work: Work[Any] | None = None
        self.outcome: tuple[Any, Exception | None] | None = None
        self.begun: float | None = None  # when its first piece was begun
        self.computing = self.present = self.left = False
        self.ended = ""  # why, where the line ended it: one line for the visitor


class EvaluationTurns:
    """`evaluate` is for the evaluations' threads; `due` and `work` are for the scheduler's."""

    def __init__(
        self, lock: threading.Lock, clock: Callable[[], float], wake: Callable[[], None], limits: Limits
    ) -> None:
        self.line: list[Ticket] = []
        self._limits = limits
        self._changed = threading.Condition(lock)
        self._clock, self._wake = clock, wake
        self._pace = Pace()

    def evaluate(
        self, visitor: str, works: Iterable[Work[T]], cancel: threading.Event, admit: Callable[[str], None]
    ) -> Iterator[Queued | T]:
        """The results of the works, one after the other, and `Queued` while they wait."""
        with self._changed:
            admit(visitor)
            self.check_room()
            ticket = Ticket(visitor, cancel, self._clock())
            self.line.append(ticket)
        try:
            for work in works:
                yield from self._one(ticket, work)
            with self._changed:
                if ticket.begun is not None:
                    self._pace.measured(self._clock() - ticket.begun)
                self._remove(ticket)
            self._wake()
        finally:
            self._leave(ticket)

    def check_room(self) -> None:
        """Raises `Refused` where the line is full; the lock is held."""
        if len(self.line) >= self._limits.evaluations:
            raise Refused(f"{len(self.line)} evaluations are under way or waiting; try again in a few minutes.")

    def due(self, idle: bool) -> bool:
        """Whether a piece is to be done now, given that nobody asks, or because it has waited its turn."""
        with self._changed:
            head = self.line[0] if self.line else None
            return head is not None and head.work is not None and (idle or self._clock() - head.since >= TURN)

    def work(self) -> None:
        """Do the next piece, if its evaluation is still there to want it."""
        with self._changed:
            ticket = self.line[0] if self.line else None
            if ticket is None or ticket.work is None:
                return
            work, ticket.work, ticket.computing = ticket.work, None, True
            ticket.begun = self._clock() if ticket.begun is None else ticket.begun
        try:
            outcome = work(ticket.cancel), None
        except Exception as error:  # it rises in the evaluation's own thread
            outcome = None, error
        with self._changed:
            ticket.outcome, ticket.computing = outcome, False
            self._changed.notify_all()

    def sweep(self) -> None:
        """Drop, with the lock held, the evaluations that nobody listens to or that are past their time."""
        now = self._clock()
        for ticket in list(self.line):
            unheard = not ticket.present and now - ticket.heard >= self._limits.silence
            ticket.ended = ticket.ended or self._overdue(ticket, now)
            if ticket.left or unheard or ticket.ended:
                self._remove(ticket)

    def _overdue(self, ticket: Ticket, now: float) -> str:
        """What to say of an evaluation that has waited or run too long, else nothing."""
        if ticket.begun is None:
            late = now - ticket.submitted >= self._limits.patience
            return "The evaluation has waited too long for its turn; try again later." if late else ""
        if now - ticket.begun < self._limits.evaluation_deadline:
            return ""
        minutes = f"{self._limits.evaluation_deadline / 60:g} minutes"
        return f"The evaluation was ended after {minutes}: too many people ask just now. Try again later."

    def close(self) -> None:
        """End them all."""
        with self._changed:
            for ticket in list(self.line):
                self._remove(ticket)

    def _one(self, ticket: Ticket, work: Work[T]) -> Iterator[Queued | T]:
        with self._changed:
            self._check(ticket)
            ticket.work, ticket.outcome, ticket.since = work, None, self._clock()
            queued = self._queued(ticket) if ticket is not self.line[0] else None
        self._wake()
        while ticket.outcome is None:
            if queued:
                yield queued
            queued = self._await(ticket)
        result, error = ticket.outcome
        if error is not None:
            raise error
        yield result

    def _await(self, ticket: Ticket) -> Queued | None:
        """Where it stands after a pulse at most, None while it is computed or done."""
        with self._changed:
            ticket.present = True
            if ticket.outcome is None and ticket in self.line and not ticket.cancel.is_set():
                self._changed.wait(PULSE)
            ticket.present, ticket.heard = False, self._clock()
            self._check(ticket)
            return self._queued(ticket) if ticket.work is not None else None

    def _check(self, ticket: Ticket) -> None:
        """Raises `Refused` where the line ended it, `Aborted` where somebody did."""
        if ticket.ended:
            raise Refused(ticket.ended)
        if ticket.cancel.is_set() or ticket not in self.line:
            raise Aborted

    def _queued(self, ticket: Ticket) -> Queued:
        ahead, now = self.line.index(ticket), self._clock()
        if not ahead:
            return Queued(1, max(TURN - (now - ticket.since), 0.0))
        if self._pace.seconds is None:
            return Queued(ahead + 1)
        begun = self.line[0].begun
        spent = 0.0 if begun is None else min(now - begun, self._pace.seconds)
        return Queued(ahead + 1, ahead * self._pace.seconds - spent)

    def _leave(self, ticket: Ticket) -> None:
        ticket.left = True
        if self._changed.acquire(timeout=PULSE):  # as `Job.cancel`
            try:
                self._remove(ticket)
            finally:
                self._changed.release()

    def _remove(self, ticket: Ticket) -> None:
        ticket.work = None
        if ticket.computing:
            ticket.cancel.set()  # nobody is left to take the result
        if ticket in self.line:
            self.line.remove(ticket)
        self._changed.notify_all()
