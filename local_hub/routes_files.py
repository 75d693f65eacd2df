"""Reading: trees, path information, and the files themselves."""

from urllib.parse import parse_qs

from starlette.responses import FileResponse, JSONResponse, Response

from local_hub.errors import entry_not_found
from local_hub.http import API, WEB, Call, Route, route
from local_hub.trees import is_folder, listing, paths_info, with_last_commits


class Download(FileResponse):
    """Starlette's file answer (Range, If-Range) with larger reads: a chunk is one hop to a thread and back."""

    chunk_size = 1024 * 1024


def tree(call: Call) -> Response:
    repo, commit = call.at_revision()
    folder = call.args.get("path", "").strip("/")
    if not is_folder(commit["tree"], folder):
        raise entry_not_found(folder, commit["id"])
    items = listing(commit["tree"], folder, call.flag("recursive"))
    if not call.flag("expand"):
        return call.page(items, 1000)
    return call.page(with_last_commits(call.store, repo, commit, items), 50)


def paths(call: Call) -> Response:
    repo, commit = call.at_revision()
    # The client sends a form, not JSON.
    form = parse_qs(call.body.decode("utf-8", "replace"))
    items = paths_info(commit["tree"], form.get("paths", []))
    if form.get("expand", [""])[0].lower() in ("1", "true"):
        items = with_last_commits(call.store, repo, commit, items)
    return JSONResponse(items)


def resolve(call: Call) -> Response:
    """HEAD and GET of one file; the ETag is the sha256 of an LFS file and the git sha1 of any other."""
    _, commit = call.at_revision()
    path = call.args["path"]
    entry = commit["tree"].get(path)
    if entry is None:
        raise entry_not_found(path, commit["id"])
    etag = f'"{entry["sha256"] or entry["oid"]}"'
    headers = {"X-Repo-Commit": commit["id"], "ETag": etag, "X-Content-Type-Options": "nosniff"}
    if entry["lfs"]:
        headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(entry["size"])}
    if etag in [tag.strip().removeprefix("W/") for tag in call.request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    # Never HTML or script: an uploaded page must not run at the Hub's own address.
    media_type = "application/octet-stream" if entry["lfs"] else "text/plain; charset=utf-8"
    content, name = call.store.content_path(entry), path.rsplit("/", 1)[-1]
    return Download(content, 200, headers, media_type, filename=name, content_disposition_type="inline")


ROUTES: list[Route] = [
    route("GET", API + r"/tree/(?P<rev>[^/]+)(?:/(?P<path>.*))?", tree),
    route("POST", API + r"/paths-info/(?P<rev>[^/]+)", paths),
    route("GET HEAD", WEB + r"/resolve/(?P<rev>[^/]+)/(?P<path>.+)", resolve),
]
