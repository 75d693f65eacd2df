"""What asking has cost, and whether one more request may be begun."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import Any

from jobs.data_config import Budget

MILLION = 1_000_000


@dataclass
class Usage:
    """What was asked and paid for. `estimated` of the requests had no counts from the server: 4 characters a token.

    `stopped` tells why no more was asked; empty where all was.
    """

    requests: int = 0
    cached: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: int = 0
    dollars: float = 0.0
    stopped: str = ""

    def figures(self) -> dict[str, Any]:
        """As a step's figures give it; dollars to a hundredth of a cent."""
        return asdict(self) | {"dollars": round(self.dollars, 4)}


class Account:
    """Keeps the usage of many threads within a budget.

    A request is begun only if what is spent, what is under way and the request itself stay within it, each reckoned
    with the longest reply so far, and its words with the most tokens that as many made; until the first reply has come,
    one request at a time is under way. So it is passed by no more than replies longer than all before. Once a request
    was refused, all later ones are.
    """

    def __init__(self, budget: Budget) -> None:
        self.usage = Usage()
        self._budget = budget
        self._turn = threading.Condition()
        self._waiting: list[int] = []  # input tokens expected of the requests under way
        self._longest: int | None = None  # output tokens of a reply
        self._ratio = 1.0  # input tokens that came of an expected one, at most

    def begin(self, expected: int) -> bool:
        """Whether a request of some `expected` input tokens may be sent; if so, `end` must follow, come what may."""
        with self._turn:
            if self._limited:
                self._turn.wait_for(lambda: self._longest is not None or not self._waiting)
            if not self.usage.stopped:
                self.usage.stopped = self._reason(expected)
            if self.usage.stopped:
                return False
            self._waiting.append(expected)
            return True

    def end(self, expected: int, read: int = 0, written: int = 0, *, estimated: bool = False) -> None:
        """A request that was begun is over, and cost so many tokens."""
        with self._turn:
            self._waiting.remove(expected)
            self.usage.requests += 1
            self.usage.input_tokens += read
            self.usage.output_tokens += written
            self.usage.estimated += estimated
            self.usage.dollars = self._dollars(self.usage.input_tokens, self.usage.output_tokens)
            if written:
                self._longest = max(written, self._longest or 0)
                self._ratio = max(read / max(expected, 1), self._ratio)
            self._turn.notify_all()

    def from_cache(self) -> None:
        """A reply was had for nothing."""
        with self._turn:
            self.usage.cached += 1

    @property
    def _limited(self) -> bool:
        return self._budget.tokens is not None or self._budget.dollars is not None

    def _dollars(self, read: int, written: int) -> float:
        return (read * self._budget.input_price + written * self._budget.output_price) / MILLION

    def _reason(self, expected: int) -> str:
        """Why one more request would pass the budget; empty where it would not."""
        read = self.usage.input_tokens + round(self._ratio * (sum(self._waiting) + expected))
        written = self.usage.output_tokens + (self._longest or 0) * (len(self._waiting) + 1)
        if self._budget.tokens is not None and read + written > self._budget.tokens:
            spent = self.usage.input_tokens + self.usage.output_tokens
            return f"the budget of {self._budget.tokens:,} tokens has no room for another request ({spent:,} spent)"
        if self._budget.dollars is not None and self._dollars(read, written) > self._budget.dollars:
            left = f"${self._budget.dollars:g} has no room for another request"
            return f"the budget of {left} (${self.usage.dollars:,.4f} spent)"
        return ""
