"""SIGTERM, and SIGUSR1 as Slurm's warning: the work ends within seconds, with a code that means "start me again".

By default the signal raises `Interrupted` in the main thread, as Ctrl-C raises KeyboardInterrupt. Work that has
something to save first runs under `deferred()` and looks at `asked()` where it can end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

EXIT = 75  # EX_TEMPFAIL of sysexits.h: the same command goes on where this one was
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
GRACE = 8  # seconds for what has to be put in order; Slurm kills 30 s after its SIGTERM, Docker after 10
ECHO = 2.0  # seconds in which a second signal is the first one's echo: a launcher passes on what its group was sent


class Interrupted(KeyboardInterrupt):
    """The process was asked to end; what waits for nothing after Ctrl-C waits for nothing after this."""


class _Asked:
    """Which signal came and when, how many blocks defer it, and whether it is being raised again."""

    number: int | None = None
    at = 0.0
    deferred = 0
    reminding = False
    insisting = False


@contextmanager
def listen() -> Iterator[None]:
    """Listen to the signals inside the block. In the main thread only."""
    before = [signal.signal(number, _receive) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)
        _Asked.number, _Asked.deferred, _Asked.reminding = None, 0, False


@contextmanager
def deferred() -> Iterator[None]:
    """A signal is noted and raised at the end of the block, unless something else is."""
    _Asked.deferred += 1
    try:
        yield
    finally:
        _Asked.deferred -= 1
        if asked() and not _Asked.deferred:
            _insist()
    if not _Asked.deferred:
        check()


def asked() -> bool:
    """Whether this process was asked to end."""
    return _Asked.number is not None


def check() -> None:
    """Raise `Interrupted` if this process was asked to end."""
    if _Asked.number is not None:
        raise Interrupted(_name(_Asked.number))


def leave(signal_name: str = "") -> NoReturn:
    """Say so and end with `EXIT` at once: neither threads nor workers are waited for, and workers follow."""
    print(f"stopped by {signal_name or _name(_Asked.number)}; the same command goes on where it was", file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(EXIT)


def _name(number: int | None) -> str:
    return signal.Signals(number).name if number else ""


def _receive(number: int, frame: FrameType | None) -> None:
    if _Asked.insisting:
        _Asked.insisting = False
        if not _Asked.deferred and not _is_heard():
            check()
    elif _Asked.number is None:
        _Asked.number, _Asked.at = number, time.monotonic()
        if not _Asked.deferred:
            _insist()
            check()
    elif _Asked.number == number and time.monotonic() - _Asked.at > ECHO:
        leave(_name(number))  # asked twice: whoever asks has no more time


def _is_heard() -> bool:
    """Whether what is interrupted now is a clean-up after `Interrupted`, which would be broken off."""
    error = sys.exception()
    while error and not isinstance(error, Interrupted):
        error = error.__context__
    return error is not None


def _insist() -> None:
    """Raise again each second, because an exception is lost in a C library's callback; in the end leave."""
    if _Asked.reminding:
        return
    _Asked.reminding, number = True, _Asked.number

    def remind() -> None:
        for _ in range(GRACE):
            time.sleep(1)
            if not asked():  # it was heard
                return
            _Asked.insisting = True
            signal.pthread_kill(threading.main_thread().ident or 0, SIGNALS[0])
        leave(_name(number))

    threading.Thread(target=remind, daemon=True).start()
