"""What asking has cost, and whether one more request may be begun."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import Any

from jobs.chat_endpoint import Completion
from jobs.data_config import Budget

MILLION = 1_000_000


@dataclass
class Usage:
    """What was asked and paid for; `requests` counts every attempt. `estimated` of them had no counts from the server.

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
    with its prompt's estimate and the longest reply that it allows. One that has no room waits for those under way,
    which mostly cost less; until the first reply has told how good the estimates are, one request at a time is under
    way. Once a request was refused, all later ones are.
    """

    def __init__(self, budget: Budget) -> None:
        self.usage = Usage()
        self._budget = budget
        self._turn = threading.Condition()
        self._waiting: list[tuple[int, int]] = []  # input and output tokens expected of the requests under way
        self._longest = 0  # output tokens of a reply: some servers pass what a request allows
        self._ratio: float | None = None  # input tokens that came of an expected one, at most

    def begin(self, expected: int, most: int) -> bool:
        """Whether a request of some `expected` input and at `most` so many output tokens may be sent.

        If so, `end` must follow, come what may. Blocks while that depends on what is under way.
        """
        with self._turn:
            self._turn.wait_for(lambda: not self._waiting or self._known_room(expected, most))
            if not self.usage.stopped:
                self.usage.stopped = self._reason(expected, most)
            if self.usage.stopped:
                return False
            self._waiting.append((expected, most))
            return True

    def end(self, expected: int, most: int, made: Completion) -> None:
        """A request that was begun is over, and cost what the completion counts."""
        with self._turn:
            self._waiting.remove((expected, most))
            self.usage.requests += made.attempts
            self.usage.input_tokens += made.input_tokens
            self.usage.output_tokens += made.output_tokens
            self.usage.estimated += made.estimated
            self.usage.dollars = self._dollars(self.usage.input_tokens, self.usage.output_tokens)
            if made.output_tokens:
                self._longest = max(made.output_tokens, self._longest)
                self._ratio = max(made.input_tokens / max(expected, 1), self._ratio or 1.0)
            self._turn.notify_all()

    def from_cache(self) -> None:
        """A reply was had for nothing."""
        with self._turn:
            self.usage.cached += 1

    def _known_room(self, expected: int, most: int) -> bool:
        """Whether nothing that is under way could change the answer."""
        if self.usage.stopped or (self._budget.tokens is None and self._budget.dollars is None):
            return True
        return self._ratio is not None and not self._reason(expected, most)

    def _dollars(self, read: int, written: int) -> float:
        return (read * self._budget.input_price + written * self._budget.output_price) / MILLION

    def _reason(self, expected: int, most: int) -> str:
        """Why one more request might pass the budget; empty where it cannot."""
        begun = [*self._waiting, (expected, most)]
        read = self.usage.input_tokens + round((self._ratio or 1.0) * sum(prompt for prompt, _ in begun))
        written = self.usage.output_tokens + sum(max(reply, self._longest) for _, reply in begun)
        if self._budget.tokens is not None and read + written > self._budget.tokens:
            spent = self.usage.input_tokens + self.usage.output_tokens
            return f"the budget of {self._budget.tokens:,} tokens has no room for another request ({spent:,} spent)"
        if self._budget.dollars is not None and self._dollars(read, written) > self._budget.dollars:
            left = f"${self._budget.dollars:g} has no room for another request"
            return f"the budget of {left} (${self.usage.dollars:,.4f} spent)"
        return ""
