"""Asks a language model many things: in order, several at once, what was asked before from disk, within a budget."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tqdm.auto import tqdm

from jobs.budget import Account, Usage
from jobs.chat_endpoint import ChatEndpoint, Completion, Layout, estimate_tokens
from jobs.data_config import Budget
from jobs.errors import UserError
from jobs.progress import bar
from jobs.reply_cache import ReplyCache, request_key
from jobs.user_cache import user_cache
from jobs.workers import workers
from qa.prompts import Message

if TYPE_CHECKING:
    from multiprocessing.pool import AsyncResult

    from jobs.shared_model import Helpers

REPLY_TOKENS = 1536
AHEAD = 4  # requests taken from the caller for each that is under way, so that one slow reply holds up no other


@dataclass(frozen=True)
class Request:
    """What a model is asked; `layout` is the name and JSON schema of its reply, None for prose.

    `fault` says what is wrong with a reply, nothing where it will do: one with a fault is asked for once more, with
    the fault stated. Its words are sent to the model, so they must not be the reply's.
    """

    messages: Sequence[Message]
    layout: Layout | None = None
    fault: Callable[[str], str] | None = None
    max_tokens: int = REPLY_TOKENS


@dataclass(frozen=True)
class Reply:
    """The model's words, or the `problem` that there are none. `asked` is false where the budget had no room."""

    text: str
    problem: str = ""
    asked: bool = True


class Model(Protocol):
    """What can be asked: an endpoint, or a model in this process. `identity` tells models apart in the cache."""

    identity: str

    def answer(self, messages: Sequence[Message], layout: Layout | None, max_tokens: int) -> Completion:
        """The reply, greedy."""


class Asker:
    """One model with its cache and its account. `usage` counts over all calls."""

    def __init__(self, model: Model, cache: ReplyCache, budget: Budget, *, concurrency: int) -> None:
        self._model, self._cache, self._account = model, cache, Account(budget)
        self._concurrency = concurrency

    @property
    def usage(self) -> Usage:
        """What was asked and spent so far."""
        return self._account.usage

    def within(self, budget: Budget) -> Asker:
        """The same model and cache on an account of its own."""
        return Asker(self._model, self._cache, budget, concurrency=self._concurrency)

    def ask_all(self, requests: Iterable[Request], what: str, *, total: int | None = None) -> Iterator[Reply]:
        """A reply to each request, in order, under a bar that says `what` is done and, given a total, how long still.

        Requests are taken as they are needed, never all at once. Raises `UserError` where the model cannot be asked;
        what it answered till then is kept.
        """
        waiting: deque[AsyncResult[Reply]] = deque()
        with bar(total, what, unit="request") as moving, workers(self._concurrency) as pool:
            for request in requests:
                waiting.append(pool.apply_async(self._reply, (request,)))
                if len(waiting) > AHEAD * self._concurrency:
                    yield self._first(waiting, moving)
            while waiting:
                yield self._first(waiting, moving)

    def _first(self, waiting: deque[AsyncResult[Reply]], moving: tqdm) -> Reply:
        reply = waiting.popleft().get()
        used = self.usage
        cost = f", ${used.dollars:.2f}" if used.dollars else ""
        moving.set_postfix_str(f"{used.input_tokens + used.output_tokens:,} tokens{cost}", refresh=False)
        moving.update()
        return reply

    def _reply(self, request: Request) -> Reply:
        reply = self._once(request.messages, request)
        if reply.problem or request.fault is None or not (fault := request.fault(reply.text)):
            return reply
        second = self._once(_again(request.messages, fault), request)
        return reply if second.problem else second

    def _once(self, messages: Sequence[Message], request: Request) -> Reply:
        settings = {"temperature": 0, "max_tokens": request.max_tokens}
        key = request_key(self._model.identity, messages, request.layout, settings)
        known = self._cache.get(key)
        if known and known.text.strip():
            self._account.from_cache()
            return Reply(known.text)
        expected, most = estimate_tokens(messages), request.max_tokens
        if not self._account.begin(expected, most):
            return Reply("", self.usage.stopped, asked=False)
        made = Completion("")
        try:
            made = self._model.answer(messages, request.layout, most)
        finally:
            self._account.end(expected, most, made)
        if made.problem or not made.text.strip():
            return Reply("", made.problem or "the reply was empty")
        self._cache.put(key, made)
        return Reply(made.text)


def _again(messages: Sequence[Message], fault: str) -> list[Message]:
    """The same request in other words, since a greedy model repeats itself: the last message says what was wrong."""
    *before, last = messages
    return [*before, {"role": last["role"], "content": f"{last['content']}\n\nYour last reply was refused: {fault}."}]


def open_asker(
    kind: str,
    model: str,
    endpoint: str,
    *,
    concurrency: int,
    cache: str,
    budget: Budget,
    section: str = "writer",
    helpers: Helpers | None = None,
) -> Asker:
    """The asker of a configuration's `section`: kind is openai, transformers or llama_cpp.

    A model in this process is asked one thing at a time, and so is its like in each of the `helpers`. Raises
    `UserError` where it is not fully named or cannot be had.
    """
    if not model:
        raise UserError(f"{section}.model: {kind} needs the name of a model (--model NAME)")
    replies = ReplyCache(user_cache("replies", cache))
    if kind == "openai":
        if not endpoint:
            raise UserError(f"{section}.endpoint: openai needs an address, such as http://127.0.0.1:8000/v1")
        return Asker(ChatEndpoint(model, endpoint, section), replies, budget, concurrency=concurrency)
    from jobs.writers.teachers import load_local

    own = load_local(kind, model, section)
    if helpers is None:
        return Asker(own, replies, budget, concurrency=1)
    from jobs.shared_model import SharedModel

    return Asker(SharedModel(own, helpers), replies, budget, concurrency=helpers.team.world)
