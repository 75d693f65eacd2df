"""Stop buttons: which event ends the job that a visitor has running in a tab."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Stops:
    """The running jobs by visitor and tab. Gradio alone would end a job only after its next sign of life."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], threading.Event] = {}
        self._lock = threading.Lock()

    @contextmanager
    def job(self, visitor: str, tab: str) -> Iterator[threading.Event]:
        """An event that `stop` sets while the block runs; it is set at the block's end in any case."""
        cancel = threading.Event()
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
