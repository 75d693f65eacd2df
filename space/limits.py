"""What of Gradio's server is open to the world, and how much may be sent to it; plain ASGI, so that streams pass.

Gradio takes files from anybody and serves them again, echoes recordings, writes links to disk. Nothing here needs that:
what the page and its endpoints use is open, and everything else is not there. Gradio also keeps thousands of sessions
under whatever name a caller makes up, so that a name, too, must be short and plain.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from space.visitors import MOST_SESSION

MOST_BODY = 2**20  # bytes; twenty turns of a conversation at their longest, every sign of them escaped, are 0.96 MB
MOST_FUNCTIONS = 1000
SESSION = re.compile(rf"[A-Za-z0-9_.-]{{1,{MOST_SESSION}}}")
MOST_QUERY = 16_384  # bytes; a link with the longest question, each sign of four bytes percent-encoded, has 7,400
OPEN = re.compile(
    r"/((config|theme\.css|favicon\.ico|robots\.txt|manifest\.json|pwa_icon"
    r"|(assets|static|svelte)/[^?]{1,300}"
    r"|gradio_api/(info|openapi\.json|startup-events|app_id|theme\.css|cancel|reset|queue/(join|data|status)"
    rf"|heartbeat/[^/]{{1,{MOST_SESSION}}}|(call|run|api)/[\w./-]{{1,200}}|mcp(/[\w./-]{{0,200}})?))/?)?"
)


class Bounds:
    """Answers 404 for what is not open, 413 for a body that is too large, 400 for what no page of ours sends."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = _refusal(scope)
        if refusal is None and scope["method"] not in ("GET", "HEAD"):
            body = await _read(receive)
            refusal, receive = _refused_body(body), _replayed(body, receive)
        await (refusal or self.app)(scope, receive, send)


def _refusal(scope: Scope) -> JSONResponse | None:
    """Why a request is refused before its body is read."""
    if not OPEN.fullmatch(scope["path"]):
        return _told(404, "There is nothing here.")
    if len(scope["query_string"]) > MOST_QUERY:
        return _told(414, f"The address is too long; {MOST_QUERY:,} bytes are read.")
    length = dict(scope["headers"]).get(b"content-length", b"0")
    return _too_large() if not length.isdigit() or int(length[:12]) > MOST_BODY else None


async def _read(receive: Receive) -> bytes:
    """The body; no more of it than shows that it is too large."""
    body = b""
    while len(body) <= MOST_BODY:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):  # also where the caller has gone
            break
    return body


def _refused_body(body: bytes) -> JSONResponse | None:
    if len(body) > MOST_BODY:
        return _too_large()
    try:
        sent = json.loads(body, parse_constant=_no_number) if body else None
    except (ValueError, RecursionError):
        return _told(400, "The body is not JSON that can be read.")
    if not isinstance(sent, dict):
        return None
    session, function = sent.get("session_hash"), sent.get("fn_index")
    if session is not None and not (isinstance(session, str) and SESSION.fullmatch(session)):
        return _told(400, f"session_hash must be at most {MOST_SESSION} letters and digits.")
    if function is not None and (type(function) is not int or not 0 <= function < MOST_FUNCTIONS):
        return _told(400, f"fn_index must be a whole number below {MOST_FUNCTIONS}.")
    return None


def _no_number(name: str) -> NoReturn:
    """NaN and Infinity, which are Python's and not JSON's."""
    raise ValueError(name)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body once more; what comes after it, the caller's leaving, comes as it does."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


def _too_large() -> JSONResponse:
    return _told(413, f"The body is too large; {MOST_BODY:,} bytes are read.")


def _told(status: int, reason: str) -> JSONResponse:
    return JSONResponse({"detail": reason}, status)
