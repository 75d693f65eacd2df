"""Faults of what is on its way in: connections that break, lines that are slow, contents that are not what was sent."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local_hub.faults import Around, OnNth


class _CutHereError(Exception):
    pass


def cut_upload(path: str, after: int, nth: int = 1, times: int = 1) -> OnNth:
    """Resets the connection when `after` bytes of a PUT have been read; no answer is given."""
    return OnNth(lambda: Around(lambda app: _CutUpload(app, after)), "PUT", path, nth, times)


def drop_answer(method: str, path: str, nth: int = 1, times: int = 1) -> OnNth:
    """The request does its work (a commit lands), then the connection is reset instead of an answer."""
    return OnNth(lambda: Around(_DropAnswer), method, path, nth, times)


def slow_upload(path: str, bytes_per_second: int, nth: int = 1, times: int = 1) -> OnNth:
    """Reads a PUT no faster than this."""
    return OnNth(lambda: Around(lambda app: _Slow(app, bytes_per_second)), "PUT", path, nth, times)


def exchange(path: str, sent: str, kept: str, nth: int = 1, times: int = 1) -> OnNth:
    """A POST in whose body one text stands for another: a commit that names another object than was sent."""
    swap = (sent.encode(), kept.encode())
    return OnNth(lambda: Around(lambda app: _Exchange(app, *swap)), "POST", path, nth, times)


def _reset(receive: Receive) -> None:
    """Break the connection of a request; uvicorn hands its transport to no application, only to this bound method."""
    cycle: Any = receive.__self__  # type: ignore[attr-defined]
    cycle.transport.abort()


@dataclass(frozen=True)
class _CutUpload:
    app: ASGIApp
    after: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        left = self.after

        async def cutting() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left <= 0:
                _reset(receive)
                raise _CutHereError
            return message

        with suppress(_CutHereError):
            await self.app(scope, cutting, send)


@dataclass(frozen=True)
class _DropAnswer:
    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def swallow(_: Message) -> None:
            pass

        await self.app(scope, receive, swallow)
        _reset(receive)


@dataclass(frozen=True)
class _Slow:
    app: ASGIApp
    bytes_per_second: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def slowly() -> Message:
            message = await receive()
            await asyncio.sleep(len(message.get("body", b"")) / self.bytes_per_second)
            return message

        await self.app(scope, slowly, send)


@dataclass(frozen=True)
class _Exchange:
    app: ASGIApp
    sent: bytes
    kept: bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        spoilt = {"type": "http.request", "body": body.replace(self.sent, self.kept), "more_body": False}

        async def once() -> Message:
            return spoilt

        await self.app(scope, once, send)
