"""robots.txt: whether a page may be fetched, and how much time a host wants between two requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from jobs.sources.store import RefusedError

if TYPE_CHECKING:
    from protego import Protego

AGENT = "Footnote"
LONGEST = 512_000  # bytes of a file that are read (RFC 9309 wants 500 KiB or more)
SLOWEST = 60.0  # seconds between two requests: a host that wants more does not want to be read by programs


class Robots:
    """Rules by host, each asked for once. `read` is given an address and returns the text of the file there."""

    def __init__(self, read: Callable[[str], str]) -> None:
        self.read = read
        self.rules: dict[str, Protego] = {}

    def delay(self, address: str) -> float:
        """Seconds between two requests to the address's host. Raises `RefusedError` where it may not be fetched."""
        from protego import Protego

        parts = urlsplit(address)
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in self.rules:
            self.rules[origin] = Protego.parse(self.read(f"{origin}/robots.txt"))
        rules = self.rules[origin]
        if not rules.can_fetch(address, AGENT):
            raise RefusedError("robots.txt does not allow it", lasting=True)
        rate = rules.request_rate(AGENT)
        delay = max(rules.crawl_delay(AGENT) or 0.0, rate.seconds / rate.requests if rate else 0.0)
        if delay > SLOWEST:
            raise RefusedError(f"robots.txt wants longer pauses than {SLOWEST:.0f} s ({delay:.0f} s)", lasting=True)
        return delay
