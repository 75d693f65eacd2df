"""Who may wait, for how long, and what an expected wait is made from. Nothing here knows an engine."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

PULSE = 0.5  # seconds between two signs of life for somebody who waits
JOBS_PER_VISITOR = 2  # one answer is written at a time and the other waits; an evaluation runs beside an answer
WEIGHT = 0.2  # of the newest turn in the moving average: about the last ten turns count


class Refused(Exception):  # noqa: N818 (says what happened)
    """A job that is not taken on: one line for the visitor."""


def address_of(visitor: str) -> str:
    """The address of a visitor "ADDRESS/SESSION"."""
    return visitor.partition("/")[0]


@dataclass(frozen=True)
class Limits:
    """Bounds of one machine. Times are in seconds.

    `parallel`: answers written at once; `waiting`: jobs in the queue; `per_address`: what one address has under way or
    waiting, whose sessions a program may make up; `deadline`: of a job from its first computation; `patience`: of
    waiting for that; `silence`: without anybody taking its news before a job is dropped; `evaluations`: in line, with
    the one under way; `evaluation_deadline`: of an evaluation from its first piece.
    """

    parallel: int = 4
    waiting: int = 64
    per_address: int = 8
    evaluations: int = 16
    deadline: float = 120.0
    evaluation_deadline: float = 1800.0
    patience: float = 600.0
    silence: float = 15.0


@dataclass(frozen=True)
class Load:
    """Jobs that are being answered, jobs in the queue, and evaluations under way or waiting."""

    running: int
    waiting: int
    evaluations: int


@dataclass(frozen=True)
class Queued:
    """An evaluation that waits, at a place from 1, for about `wait` seconds, None while nobody can know.

    At place 1 it waits for visitors' questions alone, and `wait` is the longest that they can go first.
    """

    place: int
    wait: float | None = None


class Pace:
    """A moving average of the seconds that a turn takes, None until one has been measured."""

    def __init__(self) -> None:
        self.seconds: float | None = None

    def measured(self, seconds: float) -> None:
        """Take one more turn into the average."""
        self.seconds = seconds if self.seconds is None else self.seconds + WEIGHT * (seconds - self.seconds)

    def left(self, spent: float) -> float:
        """Seconds that a turn still takes which has taken `spent`; only once one has been measured."""
        assert self.seconds is not None
        return max(self.seconds - spent, 0.0)

    def wait(self, spent: Sequence[float], ahead: Sequence[int], own: int, parallel: int) -> float | None:
        """Seconds until a job begins that needs `own` of `parallel` slots at once.

        `spent` holds the seconds of each answer being written so far; `ahead` the slots of each job before this one.
        """
        if self.seconds is None:
            return None
        slots = [self.left(seconds) for seconds in spent]
        slots += [0.0] * (parallel - len(slots))
        heapq.heapify(slots)
        begins = 0.0
        for size in (*ahead, own):
            taken = [heapq.heappop(slots) for _ in range(min(size, len(slots)))]
            begins = max(begins, *taken)  # first come, first served: nobody begins before those ahead
            for _ in taken:
                heapq.heappush(slots, begins + self.seconds)
        return begins
