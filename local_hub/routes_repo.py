"""Repositories: create, delete, move, settings, info, listings, refs; and who the caller is."""

from typing import Any

from starlette.responses import JSONResponse, Response

from local_hub.cards import SPACE_SDKS
from local_hub.commits import as_json
from local_hub.errors import HubError, bad_request, repo_not_found
from local_hub.http import API, Call, Route, route
from local_hub.info import repo_info
from local_hub.names import SINGULAR, RepoId
from local_hub.payload import objects, text
from local_hub.store import HEADS, PULLS, TAGS


def whoami(call: Call) -> Response:
    if call.user is None:
        raise HubError(401, "Invalid username or password.")
    name, role = call.user.name, call.user.role
    token = {"displayName": f"local {role} token", "role": role}
    user = {"type": "user", "id": name, "name": name, "fullname": name, "orgs": [], "isPro": False, "canPay": False}
    return JSONResponse({**user, "auth": {"type": "access_token", "accessToken": token}})


def create(call: Call) -> Response:
    user, body = call.writer(), call.json()
    owner = text(body, "organization") or user.name
    repo = RepoId.parse(text(body, "type", "model"), f"{owner}/{text(body, 'name')}")
    if owner != user.name:
        raise HubError(403, f"You don't have the rights to create a {repo.kind} under the namespace {owner!r}")
    url = f"{call.base}/{repo.web_path}"
    try:
        call.store.create(repo, _is_private(body) is True, **_space_settings(repo, body))
    except HubError as error:
        error.extra["url"] = url  # exist_ok=True reads the address from the refusal
        raise
    return JSONResponse({"url": url, "name": repo.id, "id": repo.id})


def _is_private(body: dict[str, Any]) -> bool | None:
    """From `visibility` (2.x clients) or `private` (older ones); None when neither is given."""
    visibility = text(body, "visibility")
    if visibility not in ("", "public", "private"):
        raise bad_request(f"visibility {visibility!r} is not supported here: public or private")
    older = body.get("private")
    return visibility == "private" if visibility else older if isinstance(older, bool) else None


def _space_settings(repo: RepoId, body: dict[str, Any]) -> dict[str, Any]:
    if repo.kind != "space":
        return {}
    if text(body, "sdk") not in SPACE_SDKS:
        raise bad_request(f'"sdk" must be one of {", ".join(sorted(SPACE_SDKS))}')
    variables = {text(item, "key"): text(item, "value") for item in objects(body, "variables")}
    settings = {"sdk": body["sdk"], "hardware": body.get("hardware"), "sleep_time": body.get("sleepTimeSeconds")}
    return {**settings, "variables": variables, "volumes": objects(body, "volumes")}


def delete(call: Call) -> Response:
    call.store.delete(_owned(call, call.json()))
    return JSONResponse({})


def _owned(call: Call, body: dict[str, Any]) -> RepoId:
    user = call.writer()
    owner = text(body, "organization") or user.name
    repo, _ = call.readable(text(body, "type", "model"), f"{owner}/{text(body, 'name')}")
    if repo.owner != user.name:
        raise HubError(403, f"You don't have the rights to change {repo.id}")
    return repo


def move(call: Call) -> Response:
    body = call.json()
    kind = text(body, "type", "model")
    owner, _, name = text(body, "fromRepo").partition("/")
    source = _owned(call, {"type": kind, "organization": owner, "name": name})
    target = RepoId.parse(kind, text(body, "toRepo"))
    if target.owner != source.owner:
        raise HubError(403, f"You don't have the rights to move a repository to {target.owner}")
    call.store.move(source, target)
    return JSONResponse({"url": f"{call.base}/{target.web_path}"})


def settings(call: Call) -> Response:
    repo, _ = call.writable()
    body = call.json()
    if body.get("gated"):
        raise bad_request("gated repositories are not supported by this local Hub")
    private = _is_private(body)
    if private is not None:
        call.store.update(repo, private=private)
    return JSONResponse({"private": private})


def info(call: Call) -> Response:
    repo, meta = call.repo()
    commit = call.store.resolve(repo, call.args.get("rev", "main"))
    payload = repo_info(call.store, repo, meta, commit, blobs=call.flag("blobs"))
    expand = _many(call, "expand")
    if expand:
        payload = {key: payload[key] for key in ("_id", "id", *expand) if key in payload}
    return JSONResponse(payload)


def _many(call: Call, key: str) -> list[str]:
    params = call.request.query_params
    return [value for name in (key, f"{key}[]") for value in params.getlist(name)]


def listing(call: Call) -> Response:
    """GET /api/models and its like: newest first, private ones only for their owner."""
    found = []
    for repo in call.store.repos(SINGULAR[call.args["kind"]]):
        meta = call.store.meta(repo)
        if meta and call.may_read(repo, meta) and _wanted(call, repo):
            shown = repo_info(call.store, repo, meta, call.store.resolve(repo, "main"))
            if set(_many(call, "filter")) <= set(shown["tags"]):
                found.append(shown)
    found.sort(key=lambda shown: shown["lastModified"], reverse=True)
    limit = call.query("limit")
    return call.page(found, int(limit) if limit.isdecimal() else 1000)


def _wanted(call: Call, repo: RepoId) -> bool:
    author, search = call.query("author"), call.query("search").lower()
    return (not author or author == repo.owner) and search in repo.id.lower()


def auth_check(call: Call) -> Response:
    repo, _ = call.repo()
    if call.flag("write") and (call.user is None or not call.user.writes or call.user.name != repo.owner):
        raise HubError(403, f"You don't have the rights to write to {repo.id}")
    return JSONResponse({"ok": True})


def unknown_repo(call: Call) -> Response:
    """Names without an owner (`gpt2`) are on no local Hub; the client wants to hear it in the usual way."""
    raise repo_not_found(call.user is None)


def unknown_address(call: Call) -> Response:
    raise HubError(404, "this local Hub does not know this address")


def refs(call: Call) -> Response:
    _, meta = call.repo()

    def of(prefix: str) -> list[dict[str, str]]:
        names = [(ref, sha) for ref, sha in meta["refs"].items() if ref.startswith(prefix)]
        return [{"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": sha} for ref, sha in names]

    answer: dict[str, Any] = {"branches": of(HEADS), "tags": of(TAGS), "converts": []}
    if call.flag("include_prs"):
        answer["pullRequests"] = of(PULLS)
    return JSONResponse(answer)


def commits(call: Call) -> Response:
    repo, head = call.at_revision()
    return call.page([as_json(commit) for commit in call.store.history(repo, head)], 1000)


def squash(call: Call) -> Response:
    """One commit in place of a branch's history; earlier commits are answered for no more by any branch."""
    repo, _ = call.writable()
    call.store.squash(repo, call.args["ref"], text(call.json(), "message", "Super-squash"))
    return JSONResponse({})


def create_branch(call: Call) -> Response:
    repo, _ = call.writable()
    start = call.store.resolve(repo, text(call.json(), "startingPoint", "main"))
    call.store.add_ref(repo, HEADS, call.args["ref"], start["id"])
    return JSONResponse({})


def delete_branch(call: Call) -> Response:
    call.store.delete_ref(call.writable()[0], HEADS, call.args["ref"])
    return JSONResponse({})


def create_tag(call: Call) -> Response:
    repo, _ = call.writable()
    commit = call.store.resolve(repo, call.args["ref"])
    call.store.add_ref(repo, TAGS, text(call.json(), "tag"), commit["id"])
    return JSONResponse({})


def delete_tag(call: Call) -> Response:
    call.store.delete_ref(call.writable()[0], TAGS, call.args["ref"])
    return JSONResponse({})


ROUTES: list[Route] = [
    route("GET", r"/api/whoami-v2", whoami),
    route("POST", r"/api/repos/create", create),
    route("DELETE", r"/api/repos/delete", delete),
    route("POST", r"/api/repos/move", move),
    route("GET", r"/api/(?P<kind>models|datasets|spaces)", listing),
    route("GET", API, info),
    route("GET", API + r"/revision/(?P<rev>[^/]+)", info),
    route("PUT", API + r"/settings", settings),
    route("GET", API + r"/auth-check(?:/[a-z]+)?", auth_check),
    route("GET", API + r"/refs", refs),
    route("GET", API + r"/commits/(?P<rev>[^/]+)", commits),
    route("POST", API + r"/super-squash/(?P<ref>[^/]+)", squash),
    route("POST", API + r"/branch/(?P<ref>.+)", create_branch),
    route("DELETE", API + r"/branch/(?P<ref>.+)", delete_branch),
    route("POST", API + r"/tag/(?P<ref>.+)", create_tag),
    route("DELETE", API + r"/tag/(?P<ref>.+)", delete_tag),
]
# What no earlier route knows, before the pages take any /owner/name.
LAST_ROUTES: list[Route] = [
    route("GET", r"/api/(?:models|datasets|spaces)/[^/]+(?:/revision/[^/]+|/tree/.+)?", unknown_repo),
    route("GET HEAD", r"/(?:(?:datasets|spaces)/)?[^/]+/resolve/.+", unknown_repo),
    route("GET HEAD", r"/api/.*", unknown_address),
]
