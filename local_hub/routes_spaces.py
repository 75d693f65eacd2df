"""Spaces: how far they are, variables, secrets, hardware, restart and pause, and their logs."""

import json
from datetime import datetime, timedelta

from starlette.responses import JSONResponse, Response

from local_hub import spaces
from local_hub.commits import Commit
from local_hub.http import API, Call, Route, route
from local_hub.names import RepoId
from local_hub.payload import text
from local_hub.store import Meta, now

# The client reads on until an event that is younger than the answer's Date, which uvicorn renews once a second.
CLOCK = timedelta(seconds=2)
SPACE = API.replace("models|datasets|spaces", "spaces")


def runtime(call: Call) -> Response:
    """The stage; whoever asks again finds the next one."""
    repo, meta = call.repo()
    head = call.store.resolve(repo, "main")
    answer = spaces.runtime(call.store, meta, head)
    call.store.update(repo, **spaces.looked(meta, head))
    return JSONResponse(answer)


def variables(call: Call) -> Response:
    """A Space's variables; one that changes restarts it."""
    repo, meta = call.writable()
    known, body = dict(meta.get("variables") or {}), call.json()
    if call.request.method == "POST":
        known[text(body, "key")] = text(body, "value")
    elif call.request.method == "DELETE":
        known.pop(text(body, "key"), None)
    if call.request.method != "GET":
        call.store.update(repo, variables=known, **spaces.restarted(meta))
    return JSONResponse({key: {"value": value} for key, value in known.items()})


def secrets(call: Call) -> Response:
    """The names of a Space's secrets; their values are thrown away: nothing here may read them."""
    repo, meta = call.writable()
    known, body = dict(meta.get("secrets") or {}), call.json()
    if call.request.method == "POST":
        known[text(body, "key")] = {"description": text(body, "description"), "updatedAt": now()}
    elif call.request.method == "DELETE":
        known.pop(text(body, "key"), None)
    if call.request.method != "GET":
        call.store.update(repo, secrets=known, **spaces.restarted(meta))
    return JSONResponse(known)


def restart(call: Call) -> Response:
    repo, meta = call.writable()
    return _changed(call, repo, spaces.restarted(meta, factory=call.flag("factory")))


def pause(call: Call) -> Response:
    repo, _ = call.writable()
    return _changed(call, repo, {"paused": True})


def hardware(call: Call) -> Response:
    repo, meta = call.writable()
    settings = {"hardware": text(call.json(), "flavor")}
    return _changed(call, repo, settings | spaces.restarted(meta))


def _changed(call: Call, repo: RepoId, settings: Meta) -> Response:
    call.store.update(repo, **settings)
    meta = call.store.meta(repo) or {}
    return JSONResponse(spaces.runtime(call.store, meta, call.store.resolve(repo, "main")))


def logs(call: Call) -> Response:
    """The log's lines so far, as server-sent events."""
    repo, meta = call.writable()
    head: Commit = call.store.resolve(repo, "main")
    begun = (datetime.fromisoformat(head["date"]) - CLOCK).isoformat().replace("+00:00", "Z")
    events = [{"data": f"{line}\n", "timestamp": begun} for line in spaces.log_lines(meta, head)]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    return Response(body, media_type="text/event-stream")


ROUTES: list[Route] = [
    route("GET", SPACE + r"/runtime", runtime),
    route("GET POST DELETE", SPACE + r"/variables", variables),
    route("GET POST DELETE", SPACE + r"/secrets", secrets),
    route("POST", SPACE + r"/restart", restart),
    route("POST", SPACE + r"/pause", pause),
    route("POST", SPACE + r"/hardware", hardware),
    route("GET", SPACE + r"/logs/(?:build|run)", logs),
]
