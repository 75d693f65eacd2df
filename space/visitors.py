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


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


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

    What stands before that in the header is what the caller itself has sent. Where the proxy forwards no public one, as
    inside a company, it is the last of all.
    """
    peer = str(request.client.host) if request.client else ""
    direct = _parsed(peer)
    if direct and direct.is_global:
        return _bucket(direct)
    parts = str(request.headers.get("x-forwarded-for", "")).split(",")
    forwarded = [address for part in reversed(parts) if (address := _parsed(part.strip()))]
    found = next((address for address in forwarded if address.is_global), next(iter(forwarded), direct))
    return _bucket(found) if found else peer or "unknown"


def _parsed(address: str) -> Address | None:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return None
    return (found.version == 6 and found.ipv4_mapped) or found


def _bucket(address: Address) -> str:
    """What counts as one address: of IPv6 a /64, all of which is one household's to choose from."""
    if address.version == 4 or not address.is_global:
        return str(address)
    return str(ipaddress.IPv6Network((int(address), 64), strict=False).network_address)


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
        came = "1 question" if self.per_address == 1 else f"{self.per_address} questions"
        return f"{came} came from your address in {self.window / 60:g} minutes; ask again {when}."

    def _forget(self, now: float) -> None:
        """Drop whoever asked longest ago, while their last question is out of the window or there are too many."""
        while self._asked:
            address, times = next(iter(self._asked.items()))
            if len(self._asked) < MOST_ADDRESSES and times and now - times[-1] < self.window:
                return
            del self._asked[address]
