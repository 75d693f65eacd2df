"""Writing: the card check, the choice between LFS and git, and the commit."""

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any, TypeGuard

from starlette.responses import JSONResponse, Response

from local_hub.cards import validate
from local_hub.commits import Delete, Operation, Put, blob_entry, lfs_entry
from local_hub.errors import bad_request
from local_hub.gitpatterns import is_ignored, is_lfs, lfs_patterns
from local_hub.http import API, Call, Route, route
from local_hub.names import check_path
from local_hub.payload import objects, text, whole


def validate_yaml(call: Call) -> Response:
    body = call.json()
    errors, warnings = validate(text(body, "content"), text(body, "repoType", "model"))
    shown = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
    return JSONResponse(shown, 400 if errors else 200)


def preupload(call: Call) -> Response:
    repo, _ = call.writable(contribute=call.flag("create_pr"))
    commit = call.store.resolve(repo, call.args["rev"])
    patterns = lfs_patterns(call.store.read_text(commit, ".gitattributes"))
    body = call.json()
    gitignore = text(body, "gitIgnore", call.store.read_text(commit, ".gitignore"))
    answers = []
    for file in objects(body, "files"):
        path = check_path(file.get("path"))
        entry = commit["tree"].get(path)
        lfs = is_lfs(path, whole(file, "size"), _decode(text(file, "sample")), patterns)
        # The client compares this with its own hash and skips a file that has not changed.
        oid = (entry["sha256"] or entry["oid"]) if entry else None
        answer = {"path": path, "uploadMode": "lfs" if lfs else "regular", "oid": oid}
        answers.append({**answer, "shouldIgnore": is_ignored(path, gitignore)})
    return JSONResponse({"files": answers})


def _decode(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise bad_request("invalid base64 content") from None


def _lines(body: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(body.splitlines(), 1):
        try:
            item = json.loads(line) if line.strip() else None
            if item is not None:
                yield str(item["key"]), dict(item["value"])
        except (ValueError, KeyError, TypeError):
            raise bad_request(f"line {number} of the commit is not a JSON object with key and value") from None


def commit(call: Call) -> Response:
    create_pr = call.flag("create_pr")
    repo, _ = call.writable(contribute=create_pr)
    header: dict[str, Any] = {}
    operations: list[Operation] = []
    for key, value in _lines(call.body):
        if key == "header":
            header = value
        else:
            operations.append(_operation(call, repo.kind, key, value))
    title = text(header, "summary")
    if not title:
        raise bad_request("the commit has no summary")
    made, ref = call.store.commit(
        repo,
        operations,
        title,
        call.writer().name,
        revision=call.args["rev"],
        message=text(header, "description"),
        parent=text(header, "parentCommit") or None,
        create_pr=create_pr,
    )
    web = f"{call.base}/{repo.web_path}"
    answer = {"success": True, "commitOid": made["id"], "commitUrl": f"{web}/commit/{made['id']}", "hookOutput": ""}
    if create_pr:
        answer["pullRequestUrl"] = f"{web}/discussions/{ref.rsplit('/', 1)[-1]}"
    return JSONResponse(answer)


def _operation(call: Call, kind: str, key: str, value: dict[str, Any]) -> Operation:
    path = text(value, "path")
    if key == "file":
        return _regular_file(call, kind, path, value)
    if key == "lfsFile":
        return _lfs_file(call, path, value)
    if key in ("deletedFile", "deletedFolder"):
        return Delete(path, folder=key == "deletedFolder")
    raise bad_request(f"unknown operation {key!r} in the commit")


def _regular_file(call: Call, kind: str, path: str, value: dict[str, Any]) -> Put:
    raw = text(value, "content")
    content = _decode(raw) if value.get("encoding") == "base64" else raw.encode()
    if path == "README.md":
        errors, _ = validate(content.decode("utf-8", "replace"), kind)
        if errors:
            raise bad_request("; ".join(errors))
    return Put(path, blob_entry(call.store.objects.put_blob(content), len(content)))


def _lfs_file(call: Call, path: str, value: dict[str, Any]) -> Put:
    sha256 = value.get("oid")
    if not is_sha256(sha256):
        raise bad_request(f"the LFS line for {path} needs a sha256 as its oid")
    stored = call.store.objects.lfs_size(sha256)
    size = value.get("size", stored)  # CommitOperationCopy names no size
    if stored is None or size != stored:
        raise bad_request(f"the LFS content of {path} was never uploaded (sha256 {sha256}, {size} bytes)")
    return Put(path, lfs_entry(sha256, stored))


def is_sha256(oid: object) -> TypeGuard[str]:
    return isinstance(oid, str) and len(oid) == 64 and not set(oid) - set("0123456789abcdef")


ROUTES: list[Route] = [
    route("POST", r"/api/validate-yaml", validate_yaml),
    route("POST", API + r"/preupload/(?P<rev>[^/]+)", preupload),
    route("POST", API + r"/commit/(?P<rev>[^/]+)", commit),
]
