"""Faults on purpose: callables asked before the router, and the ones that tests want most.

A fault is given method and path and returns None (not this request), a Response (sent instead of the real answer) or
an `Around` (the real answer, spoilt on its way out).
"""

import re
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True)
class Around:
    """Runs the real application inside something else."""

    wrap: Callable[[ASGIApp], ASGIApp]


Fault = Callable[[str, str], Response | Around | None]


class FaultMiddleware:
    """The first fault that answers decides; the collection may change while the server runs."""

    def __init__(self, app: ASGIApp, faults: Collection[Fault]) -> None:
        self.app, self.faults = app, faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        chosen: ASGIApp = self.app
        if scope["type"] == "http":
            path = scope["raw_path"].decode("latin-1").partition("?")[0]
            for fault in list(self.faults):
                answer = fault(scope["method"], path)
                if answer is not None:
                    chosen = answer.wrap(self.app) if isinstance(answer, Around) else answer
                    break
        await chosen(scope, receive, send)


class OnNth:
    """Makes an answer for the matching requests number `first` to `first + times - 1`, counted from 1."""

    def __init__(self, make: Callable[[], Response | Around], method: str, path: str, first: int, times: int) -> None:
        self.make, self.method, self.path = make, method, re.compile(path)
        self.first, self.times, self.seen = first, times, 0

    def __call__(self, method: str, path: str) -> Response | Around | None:
        if method != self.method or not self.path.search(path):
            return None
        self.seen += 1
        return self.make() if self.first <= self.seen < self.first + self.times else None


def fail(method: str, path: str, status: int = 500, nth: int = 1, times: int = 1, message: str = "fault") -> OnNth:
    """Answers the nth matching request, and the next `times - 1`, with an error; `path` is a regular expression."""

    def make() -> Response:
        return JSONResponse({"error": message}, status, {"X-Error-Message": message})

    return OnNth(make, method, path, nth, times)


def too_many(method: str, path: str, retry_after: int = 1, nth: int = 1, times: int = 1) -> OnNth:
    """429 with Retry-After, in seconds."""

    def make() -> Response:
        return JSONResponse({"error": "Too Many Requests"}, 429, {"Retry-After": str(retry_after)})

    return OnNth(make, method, path, nth, times)


def cut_download(path: str, after: int, nth: int = 1, times: int = 1) -> OnNth:
    """Drops the connection when `after` bytes of the body have been sent."""
    return OnNth(lambda: Around(lambda app: _Cut(app, after)), "GET", path, nth, times)


def lose_answer(method: str, path: str, status: int = 504, nth: int = 1, times: int = 1) -> OnNth:
    """The request does its work (a commit lands), but the client is told of a failure."""

    def make() -> Around:
        return Around(lambda app: _Lose(app, JSONResponse({"error": "the answer was lost"}, status)))

    return OnNth(make, method, path, nth, times)


class _CutHereError(Exception):
    pass


@dataclass(frozen=True)
class _Cut:
    app: ASGIApp
    after: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        left = self.after

        async def cutting(message: Message) -> None:
            nonlocal left
            if message["type"] == "http.response.body":
                body = message.get("body", b"")[:left]
                left -= len(body)
                message = {**message, "body": body, "more_body": True}
            await send(message)
            if left <= 0:
                raise _CutHereError

        with suppress(_CutHereError):  # uvicorn closes a connection whose answer was never finished
            await self.app(scope, receive, cutting)


@dataclass(frozen=True)
class _Lose:
    app: ASGIApp
    answer: Response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def swallow(_: Message) -> None:
            pass

        await self.app(scope, receive, swallow)
        await self.answer(scope, receive, send)
