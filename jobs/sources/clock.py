"""The time and the pauses between requests, in one place so that tests need not wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class Clock:
    """This machine's clock, in seconds."""

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


@dataclass(frozen=True)
class Pace:
    """Servers that count as one (`name`), and the seconds that pass between two requests to them."""

    name: str
    seconds: float


class Pacer:
    """Keeps the pauses. One process, one request at a time."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.last: dict[str, float] = {}  # when the last request to a pace's servers ended

    @contextmanager
    def turn(self, pace: Pace) -> Iterator[None]:
        """Wait until a request may be made, and note when it ends."""
        if (last := self.last.get(pace.name)) is not None:
            pause = last + pace.seconds - self.clock.now()
            if pause > 0:
                self.clock.sleep(min(pause, pace.seconds))  # no longer, should the clock have been set back
        try:
            yield
        finally:
            self.last[pace.name] = self.clock.now()
