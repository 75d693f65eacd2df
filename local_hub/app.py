"""The ASGI application: the route tables in order, behind the faults that a test may ask for."""

from collections.abc import Collection

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Route as StarletteRoute
from starlette.types import Receive, Scope, Send

from local_hub import lfs, pages, routes_files, routes_repo, routes_spaces, routes_upload
from local_hub.auth import Signer, Tokens
from local_hub.faults import Fault, FaultMiddleware
from local_hub.http import Dispatcher, Hub
from local_hub.store import Store

TABLE = [
    *routes_repo.ROUTES,
    *routes_spaces.ROUTES,
    *routes_files.ROUTES,
    *routes_upload.ROUTES,
    *lfs.ROUTES,
    *routes_repo.LAST_ROUTES,
    *pages.ROUTES,
]


class _Endpoint:
    """The dispatcher as an ASGI application, so that Starlette leaves all methods to it."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        await (await self.dispatcher(request))(scope, receive, send)


def create_app(store: Store, faults: Collection[Fault] = ()) -> Starlette:
    """The Hub over a store; makes the demo user's tokens at the first start."""
    tokens = Tokens(store.root)
    tokens.ensure_demo()
    endpoint = _Endpoint(Dispatcher(Hub(store, tokens, Signer(store.root)), TABLE))
    routes = [StarletteRoute("/{path:path}", endpoint)]
    return Starlette(routes=routes, middleware=[Middleware(FaultMiddleware, faults=faults)])
