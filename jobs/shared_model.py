"""A model that every process of a team holds: the leader asks whichever is free, and the others answer.

Requests and replies pass as JSON through the key-value store in which the processes met.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import count
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from jobs.chat_endpoint import Completion, Layout
from jobs.team import Team, meeting_place, wait_until
from qa.prompts import Message

if TYPE_CHECKING:
    from jobs.asker import Model

END = b"end"


class Helpers:
    """The other processes, as the leader sees them; `ranks` holds those that are free, its own too."""

    def __init__(self, team: Team) -> None:
        self.team, self.store, self.ranks = team, meeting_place(), SimpleQueue[int]()
        self._numbers = {rank: count() for rank in range(1, team.world)}
        for rank in range(team.world):
            self.ranks.put(rank)

    def ask(self, rank: int, request: dict[str, Any]) -> Completion:
        """The reply of a process to a request for `help_out`."""
        number = next(self._numbers[rank])
        self.store.set(_key("ask", rank, number), json.dumps(request))
        return Completion(**json.loads(_taken(self.store, _key("reply", rank, number))))

    def dismiss(self) -> None:
        """Let the others leave `help_out`."""
        for rank, numbers in self._numbers.items():
            self.store.set(_key("ask", rank, next(numbers)), END)


class SharedModel:
    """A model of this process and its like in the others: as many answers at once as there are processes."""

    def __init__(self, model: Model, helpers: Helpers) -> None:
        self.identity, self._model, self._helpers = model.identity, model, helpers

    def answer(self, messages: Sequence[Message], layout: Layout | None, max_tokens: int) -> Completion:
        """The reply of the first process that is free; which one it is changes nothing in it."""
        rank = self._helpers.ranks.get()
        try:
            if rank == self._helpers.team.rank:
                return self._model.answer(messages, layout, max_tokens)
            asked = {"messages": list(messages), "layout": layout, "max_tokens": max_tokens}
            return self._helpers.ask(rank, {"model": self.identity, **asked})
        finally:
            self._helpers.ranks.put(rank)


def help_out(models: Sequence[Model], team: Team) -> None:
    """Answer what the leader asks of these models until it has no more to ask."""
    store, known = meeting_place(), {model.identity: model for model in models}
    for number in count():
        asked = _taken(store, _key("ask", team.rank, number))
        if asked == END:
            return
        request = json.loads(asked)
        layout = tuple(request["layout"]) if request["layout"] else None
        reply = known[request["model"]].answer(request["messages"], layout, request["max_tokens"])
        store.set(_key("reply", team.rank, number), json.dumps(asdict(reply)))


def _taken(store: Any, key: str) -> bytes:
    """A value once it is there, which is then forgotten."""
    wait_until(lambda: store.check([key]))
    value = store.get(key)
    store.delete_key(key)
    return value


def _key(kind: str, rank: int, number: int) -> str:
    return f"{kind}/{rank}/{number}"
