"""Requests: a route table matched on the raw path, and what every handler is given.

The raw path matters: a revision such as refs/pr/1 arrives as `refs%2Fpr%2F1`, which a decoded path would split.
"""

import inspect
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from local_hub.auth import Signer, Tokens, User
from local_hub.commits import Commit
from local_hub.errors import HubError, bad_request, repo_not_found
from local_hub.names import SINGULAR, RepoId
from local_hub.store import Meta, Store

API = r"/api/(?P<kind>models|datasets|spaces)/(?P<owner>[^/]+)/(?P<name>[^/]+)"
WEB = r"/(?:(?P<kind>datasets|spaces)/)?(?P<owner>[^/]+)/(?P<name>[^/]+)"


@dataclass(frozen=True)
class Hub:
    """What a running server holds."""

    store: Store
    tokens: Tokens
    signer: Signer


@dataclass
class Call:
    """One request with its decoded path arguments and, once a handler runs, its body."""

    request: Request
    hub: Hub
    args: dict[str, str]
    user: User | None
    body: bytes = b""

    @property
    def store(self) -> Store:
        return self.hub.store

    @property
    def base(self) -> str:
        """The address the client used, so that links lead back the same way."""
        return str(self.request.base_url).rstrip("/")

    def query(self, key: str, default: str = "") -> str:
        return self.request.query_params.get(key, default)

    def flag(self, key: str) -> bool:
        return self.query(key).lower() in ("1", "true")

    def json(self) -> dict[str, Any]:
        try:
            value = json.loads(self.body or b"{}")
        except ValueError:
            raise bad_request("the request body is not valid JSON") from None
        if not isinstance(value, dict):
            raise bad_request("the request body must be a JSON object")
        return value

    # Access

    def repo(self) -> tuple[RepoId, Meta]:
        """The repository of the path, if the user may read it."""
        kind = SINGULAR[self.args.get("kind") or "models"]
        return self.readable(kind, f"{self.args['owner']}/{self.args['name']}")

    def readable(self, kind: str, repo_id: str) -> tuple[RepoId, Meta]:
        try:
            repo = RepoId.parse(kind, repo_id)
        except HubError:
            raise repo_not_found(self.user is None) from None
        meta = self.store.meta(repo)
        if meta is None or not self.may_read(repo, meta):
            raise repo_not_found(self.user is None)
        return repo, meta

    def may_read(self, repo: RepoId, meta: Meta) -> bool:
        return not meta["private"] or (self.user is not None and self.user.name == repo.owner)

    def writer(self) -> User:
        """The user, if the token may write at all."""
        if self.user is None:
            raise HubError(401, "Invalid username or password.")
        if not self.user.writes:
            raise HubError(403, "This token has no write permission: use one with role write")
        return self.user

    def writable(self, contribute: bool = False) -> tuple[RepoId, Meta]:
        """The repository of the path, if the user may write to it (or, to contribute, may open a pull request)."""
        repo, meta = self.repo()
        if self.writer().name != repo.owner and not contribute:
            raise HubError(403, f"You don't have the rights to write to {repo.id}")
        return repo, meta

    def at_revision(self) -> tuple[RepoId, Commit]:
        repo, _ = self.repo()
        return repo, self.store.resolve(repo, self.args["rev"])

    def page(self, items: list[Any], size: int) -> Response:
        """One page of a listing, with the `Link` that the client follows to the next."""
        limit, start = _number(self.query("limit")) or size, _number(self.query("cursor"))
        headers = {}
        if start + limit < len(items):
            following = self.request.url.include_query_params(cursor=start + limit)
            headers["Link"] = f'<{following}>; rel="next"'
        return JSONResponse(items[start : start + limit], headers=headers)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 10 else 0


Handler = Callable[[Call], Response] | Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    methods: str
    path: re.Pattern[str]
    handler: Handler


def route(methods: str, path: str, handler: Handler) -> Route:
    """A plain handler runs in a thread with the body read; an async one reads its body itself."""
    return Route(methods, re.compile(path), handler)


class Dispatcher:
    """The one endpoint of the Starlette application."""

    def __init__(self, hub: Hub, routes: list[Route]) -> None:
        self.hub, self.routes = hub, routes

    async def __call__(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except HubError as error:
            return error.response()
        except ClientDisconnect:
            return Response(status_code=499)  # nobody is left to read it

    async def _answer(self, request: Request) -> Response:
        found, args = self._find(request)
        authorization = request.headers.get("authorization")
        user = await run_in_threadpool(self.hub.tokens.authenticate, authorization)
        call = Call(request, self.hub, args, user)
        if inspect.iscoroutinefunction(found.handler):
            return await found.handler(call)
        call.body = await request.body()
        return await run_in_threadpool(found.handler, call)

    def _find(self, request: Request) -> tuple[Route, dict[str, str]]:
        raw = request.scope["raw_path"].decode("latin-1").partition("?")[0]
        other_method = False
        for candidate in self.routes:
            match = candidate.path.fullmatch(raw)
            if match and request.method in candidate.methods.split():
                return candidate, {key: _decode(value) for key, value in match.groupdict().items() if value}
            other_method = other_method or match is not None
        if other_method:
            raise HubError(405, f"{request.method} is not allowed here")
        raise HubError(404, "this local Hub does not know this address")


def _decode(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise bad_request("the address is not valid UTF-8") from None
