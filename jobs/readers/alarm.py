"""A limit on the time that one document may take."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jobs.documents import UnreadableError


class _TooSlow(BaseException):  # no `Exception`: parsers swallow those
    """The alarm went off."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raises `UnreadableError` when so many seconds are over; None: no limit.

    By an alarm, which the main thread of a process alone can have: in any other there is no limit. It goes off where
    Python code goes on, so that C code, one search of a regular expression too, is not cut short.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _stop)
    left = signal.setitimer(signal.ITIMER_REAL, seconds, 1)  # again each second: some code swallows every exception
    try:
        yield
    except _TooSlow:
        raise UnreadableError(f"slower to read than {seconds:g} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, *left)
        signal.signal(signal.SIGALRM, before)


def _stop(number: int, frame: Any) -> None:
    raise _TooSlow
