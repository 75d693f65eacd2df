"""Who asks, and how often: so that nobody can take the machine from the others by asking on and on.

A session is what the caller's client says it is, and an address what the proxy before the page says it is; without a
proxy, whoever reaches the page over a private network can make up both. What holds for everybody then are the machine's
own bounds: the answers that are written at once, the length of the queue and the deadlines of `qa.scheduler.Limits`.
"""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr

from qa.scheduler import Refused

MOST_ADDRESSES = 10_000  # remembered at once: 29 MB where each has asked 60 times
MOST_SESSION = 64  # characters; Gradio's own have 11 to 36

__all__ = ["Refused", "Visitor", "Visitors", "visitor_of"]


@dataclass(frozen=True)
class Visitor:
    """A session, empty where the caller keeps none, and the address it comes from."""

    session: str
    address: str

    @property
    def key(self) -> str:
        """The scheduler's name for the visitor. A caller without a session is known by the address alone."""
        return f"{self.address}/{self.session}"


def visitor_of(request: gr.Request) -> Visitor:
    """Who sent a request. All callers over MCP share one session, Gradio's own, which is therefore nobody's."""
    over_mcp = request.headers.get("x-gradio-user") == "mcp"
    session = "" if over_mcp else str(request.session_hash or "")[:MOST_SESSION]
    return Visitor(session, _address(request))


def _address(request: gr.Request) -> str:
    """The peer's address; behind a proxy on a private network, as in a Space, the last public one that it forwards.

    What stands before that in the header is what the caller itself has sent.
    """
    peer = str(request.client.host) if request.client else ""
    if _is_public(peer):
        return peer
    forwarded = [part.strip() for part in str(request.headers.get("x-forwarded-for", "")).split(",")]
    return next((part for part in reversed(forwarded) if _is_public(part)), peer or "unknown")


def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


class Visitors:
    """How often each address has asked. At most `MOST_ADDRESSES` are kept, the ones that asked last."""

    def __init__(
        self, per_address: int = 60, window: float = 600.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.per_address, self.window = per_address, window
        self._clock, self._lock = clock, threading.Lock()
        self._asked: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, visitor: Visitor) -> None:
        """Count a question. Raises `Refused` where the address has asked `per_address` in the last `window` seconds."""
        now = self._clock()
        with self._lock:
            self._forget(now)
            times = self._asked.setdefault(visitor.address, deque())
            while times and now - times[0] >= self.window:
                times.popleft()
            if len(times) >= self.per_address:
                raise Refused(self._line(self.window - (now - times[0])))
            times.append(now)
            self._asked.move_to_end(visitor.address)

    def _line(self, left: float) -> str:
        minutes = math.ceil(left / 60)
        when = f"in {minutes} minutes" if minutes > 1 else "in a minute"
        return f"{self.per_address} questions came from your address in {self.window / 60:g} minutes; ask again {when}."

    def _forget(self, now: float) -> None:
        """Drop whoever asked longest ago, while their last question is out of the window or there are too many."""
        while self._asked:
            address, times = next(iter(self._asked.items()))
            if len(self._asked) < MOST_ADDRESSES and times and now - times[-1] < self.window:
                return
            del self._asked[address]
