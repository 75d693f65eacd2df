"""Stop buttons: which event ends the job that a visitor has running in a tab."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Cancel(threading.Event):
    """An event that, once set, also calls whoever wants to know: at once, in the thread that sets it."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[Callable[[], None]] = []

    def on_set(self, call: Callable[[], None]) -> None:
        """Call it when the event is set, or now if it is. It may be called more than once."""
        self._calls.append(call)
        if self.is_set():
            call()

    def set(self) -> None:
        super().set()
        for call in list(self._calls):
            call()


class Stops:
    """The running jobs by visitor and tab. Gradio alone would end a job only after its next sign of life."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], Cancel] = {}
        self._lock = threading.Lock()

    @contextmanager
    def job(self, visitor: str, tab: str) -> Iterator[Cancel]:
        """An event that `stop` sets while the block runs; it is set at the block's end in any case."""
        cancel = Cancel()
        with self._lock:
            self._running[visitor, tab] = cancel
        try:
            yield cancel
        finally:
            cancel.set()
            with self._lock:
                if self._running.get((visitor, tab)) is cancel:
                    del self._running[visitor, tab]

    def stop(self, visitor: str, tab: str) -> bool:
        """Stop the visitor's job in a tab; tells whether there was one."""
        with self._lock:
            cancel = self._running.get((visitor, tab))
        if cancel is None:
            return False
        cancel.set()
        return True
