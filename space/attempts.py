"""How soon what failed may be tried anew: anybody may press the button, and a try may download gigabytes."""

from __future__ import annotations

import time
from collections.abc import Callable

FIRST, LONGEST = 60.0, 1800.0  # seconds from the end of a try to the next one: doubled each time, up to the second


class Attempts:
    """The tries to load something, and the pause after each."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._count = 0
        self._last = 0.0

    def ended(self) -> None:
        """A try has ended."""
        self._count, self._last = self._count + 1, self._clock()

    def not_yet(self) -> str:
        """Why nothing may be tried now, in one line; empty where it may."""
        if not self._count:
            return ""
        passed = self._clock() - self._last
        left = min(FIRST * 2 ** min(self._count - 1, 16), LONGEST) - passed
        return f"Tried {_time(passed)} ago; it can be tried again in {_time(left)}." if left > 0 else ""


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 119.5 else f"{seconds / 60:.0f} min"
