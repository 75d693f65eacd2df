"""Whether anybody reads what a job tells: a program may join Gradio's queue and never open the stream of its news.

Gradio keeps the unread messages of each session in a queue; while its oldest stays the same, nobody reads. Of a stream
that was opened and closed again Gradio itself ends the job.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import gradio as gr

SILENCE = 15.0  # seconds; a phone that loses its network for a moment reads on within them

_oldest: WeakKeyDictionary[Any, tuple[Any, float]] = WeakKeyDictionary()  # by session's queue: message, seen since
_lock = threading.Lock()


def is_listening(blocks: gr.Blocks, session_hash: str | None, clock: Callable[[], float] = time.monotonic) -> bool:
    """Whether the session has read a message in the last `SILENCE` seconds, or has none to read.

    Ask again and again while a job runs: the time counts from the first call that saw a message waiting. True where
    this Gradio keeps no such queue, and for a session without one.
    """
    messages = _unread(blocks, session_hash)
    if messages is None:
        return True
    waiting = messages._queue
    try:
        oldest = waiting[0]
    except IndexError:
        return True
    with _lock:
        seen, since = _oldest.get(messages, (None, 0.0))
        if seen is not oldest:
            _oldest[messages] = oldest, clock()
            return True
    return clock() - since < SILENCE


def _unread(blocks: gr.Blocks, session_hash: str | None) -> Any:
    """The session's queue of unread messages. It is Gradio's own affair, and may be elsewhere in another release."""
    queue = getattr(blocks, "_queue", None)
    if not session_hash or not hasattr(queue, "pending_messages_per_session"):
        return None
    messages = queue.pending_messages_per_session.get(session_hash)
    return messages if hasattr(messages, "_queue") else None
