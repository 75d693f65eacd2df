"""The local Hub below the clients: raw requests, hostile input, a restart."""

import base64
import hashlib
import http.client
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_hub.commits import Put, blob_entry
from local_hub.names import RepoId
from local_hub.store import Store
from local_hub.testing import RunningHub, running_hub

REPO = RepoId("model", "demo", "tiny")


@pytest.fixture(scope="module")
def shared_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """For requests that must change nothing; starting and stopping one takes 0.2 s."""
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        running.store.create(REPO)
        yield running


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "root") as running:
        running.store.create(REPO)
        yield running


def ask(hub: RunningHub, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """One request on the raw path: no client of ours tidies `..` or `%2f` up on the way."""
    connection = http.client.HTTPConnection(hub.endpoint.removeprefix("http://"), timeout=30)
    token = headers.pop("token", hub.write_token)
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    sent |= {"Authorization": f"Bearer {token}"} if token else {}
    connection.request(method, path, body if isinstance(body, bytes | None) else json.dumps(body), sent)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, {key.lower(): value for key, value in answer.getheaders()}, content


def commit_lines(*operations: tuple[str, dict[str, Any]]) -> bytes:
    lines = [("header", {"summary": "raw"}), *operations]
    return "\n".join(json.dumps({"key": key, "value": value}) for key, value in lines).encode()


def file_line(path: str, content: bytes) -> tuple[str, dict[str, Any]]:
    return "file", {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}


def put(store: Store, path: str, content: bytes) -> Put:
    return Put(path, blob_entry(store.objects.put_blob(content), len(content)))


def head(hub: RunningHub) -> str:
    return hub.store.resolve(REPO, "main")["id"]


def lfs_link(hub: RunningHub, content: bytes) -> str:
    body = {"operation": "upload", "objects": [{"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}]}
    status, _, answer = ask(hub, "POST", "/demo/tiny.git/info/lfs/objects/batch", body)
    assert status == 200
    return json.loads(answer)["objects"][0]["actions"]["upload"]["href"].removeprefix(hub.endpoint)


@pytest.mark.parametrize("sent", [b"WRONG bytes", b"short", b"right bytes and more"])
def test_lfs_bytes_that_are_not_the_announced_ones_are_refused(hub: RunningHub, sent: bytes) -> None:
    link = lfs_link(hub, b"right bytes")
    assert ask(hub, "PUT", link, sent, token="")[0] == 422
    assert ask(hub, "POST", link.replace("?", "/verify?"))[0] == 404
    assert not list(hub.store.objects.tmp.iterdir()), "nothing is left behind"
    line = ("lfsFile", {"path": "f", "oid": hashlib.sha256(b"right bytes").hexdigest(), "size": 11})
    assert ask(hub, "POST", "/api/models/demo/tiny/commit/main", commit_lines(line))[0] == 400
    assert ask(hub, "PUT", link, b"right bytes", token="")[0] == 200
    assert ask(hub, "POST", link.replace("?", "/verify?"))[0] == 200
    assert ask(hub, "POST", "/api/models/demo/tiny/commit/main", commit_lines(line))[0] == 200


def test_lfs_links_cannot_be_forged(hub: RunningHub) -> None:
    link = lfs_link(hub, b"right bytes")
    for forged in (
        link[:-1],
        link.replace("size=11", "size=12"),
        link.replace("expires=", "expires=9"),
        "/_lfs/" + "0" * 64,
    ):
        assert ask(hub, "PUT", forged, b"right bytes", token="")[0] == 403


def test_ranges_and_etags(hub: RunningHub) -> None:
    content = bytes(range(200)) * 50
    sha256, size = hub.store.objects.put_lfs([content])
    assert ask(hub, "POST", "/api/models/demo/tiny/commit/main",
               commit_lines(("lfsFile", {"path": "a.bin", "oid": sha256, "size": size})))[0] == 200  # fmt: skip
    path = "/demo/tiny/resolve/main/a.bin"
    for asked, expected in (("bytes=5-9", content[5:10]), ("bytes=9990-", content[9990:]), ("bytes=-3", content[-3:])):
        status, headers, body = ask(hub, "GET", path, Range=asked)
        assert (status, body) == (206, expected)
        assert headers["content-range"].endswith(f"/{size}")
    assert ask(hub, "GET", path, Range="bytes=10000-")[0] == 416
    status, headers, body = ask(hub, "HEAD", path)
    assert (status, body, headers["content-length"], headers["x-linked-size"]) == (200, b"", str(size), str(size))
    assert headers["etag"] == headers["x-linked-etag"] == f'"{sha256}"'
    assert headers["x-repo-commit"] == head(hub)
    assert ask(hub, "GET", path, If_None_Match=headers["etag"])[0] == 304
    status, headers, _ = ask(hub, "HEAD", "/demo/tiny/resolve/main/none")
    assert (status, headers["x-error-code"], headers["x-repo-commit"]) == (404, "EntryNotFound", head(hub))


HOSTILE_PATHS = [
    "../x",
    "/etc/passwd",
    "a/../../b",
    "./a",
    "a//b",
    ".git/config",
    "a\\b",
    "a\0b",
    "",
    "..",
    "x/.GIT/y",
    "n" * 300,
]


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_hostile_paths_are_not_committed(shared_hub: RunningHub, path: str) -> None:
    before = head(shared_hub)
    for line in (file_line(path, b"x"), ("deletedFolder", {"path": path})):
        assert ask(shared_hub, "POST", "/api/models/demo/tiny/commit/main", commit_lines(line))[0] == 400
    body = {"files": [{"path": path, "size": 1, "sample": ""}]}
    assert ask(shared_hub, "POST", "/api/models/demo/tiny/preupload/main", body)[0] == 400
    assert head(shared_hub) == before


@pytest.mark.parametrize("path", [
    "/demo/tiny/resolve/main/..%2f..%2f..%2f..%2ftokens.json",
    "/demo/tiny/resolve/main/../../../../tokens.json",
    "/demo/tiny/resolve/..%2f..%2f..%2f..%2fsecret/x",
    "/demo/..%2f..%2f..%2ftokens.json/resolve/main/x",
    "/../tokens.json",
    "/api/models/..%2f..%2fmodels%2fdemo/tiny",
    "/api/models/demo/tiny/tree/main/..%2f..",
    "/api/models/demo/tiny/revision/..%2frepo",
    "/_lfs/..%2f..%2ftokens.json",
    "/demo/%ff/resolve/main/x",
    "/datasets/../demo/tiny",
])  # fmt: skip
def test_addresses_cannot_leave_the_repository(shared_hub: RunningHub, path: str) -> None:
    status, _, body = ask(shared_hub, "GET", path)
    assert 400 <= status < 500
    assert shared_hub.write_token.encode() not in body


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a--b", "a.git", "", "-a", "a b", "x" * 97, "é"])
def test_hostile_repository_names(shared_hub: RunningHub, name: str) -> None:
    assert ask(shared_hub, "POST", "/api/repos/create", {"name": name, "type": "model"})[0] == 400
    move = {"fromRepo": "demo/tiny", "toRepo": f"demo/{name}", "type": "model"}
    assert ask(shared_hub, "POST", "/api/repos/move", move)[0] == 400


@pytest.mark.parametrize("body", [
    b"", b"not json", b"[]", b'{"key": "file"}', b'{"key": "header", "value": {"summary": ""}}',
    b'{"key": "header", "value": {"summary": 5}}',
    commit_lines(("file", {"path": "a", "content": "%%%", "encoding": "base64"})), commit_lines(("file", {})),
    commit_lines(("lfsFile", {"path": "a", "oid": "../../tokens.json", "size": 1})),
    commit_lines(("lfsFile", {"path": "a", "oid": "0" * 64, "size": "1"})), commit_lines(("nonsense", {"path": "a"})),
    commit_lines(file_line("a", b""), file_line("a/b", b"")), commit_lines(file_line("README.md", b"---\na: [\n---\n")),
])  # fmt: skip
def test_broken_commits_are_refused_whole(shared_hub: RunningHub, body: bytes) -> None:
    before = head(shared_hub)
    status, headers, _ = ask(shared_hub, "POST", "/api/models/demo/tiny/commit/main", body)
    assert status == 400
    assert headers["x-error-message"]
    assert head(shared_hub) == before


def test_bodies_of_the_wrong_shape_are_the_callers_fault(shared_hub: RunningHub) -> None:
    api = "/api/models/demo/tiny"
    wrong = [
        ("POST", "/api/repos/create", {"name": 5, "type": ["model"]}),
        ("POST", f"{api}/preupload/main", {"files": 3}),
    ]
    wrong += [("POST", f"{api}/preupload/main", {"files": ["x"]}), ("POST", f"{api}/preupload/main", b"\xff")]
    wrong += [
        ("POST", f"{api}/tag/main", {"tag": 5}),
        ("POST", f"{api}/branch/a..b", {}),
        ("PUT", f"{api}/settings", []),
    ]
    wrong += [("POST", "/demo/tiny.git/info/lfs/objects/batch", {"operation": "upload", "objects": [5]})]
    wrong += [
        ("POST", "/api/repos/create", {"name": "s", "type": "space"}),
        ("PUT", f"{api}/settings", {"gated": "auto"}),
    ]
    stray = {"key": "header", "value": {"summary": "s", "parentCommit": "../repo"}}
    assert ask(shared_hub, "POST", f"{api}/commit/main?create_pr=1", stray)[0] == 404
    for method, path, body in wrong:
        status, _, answer = ask(shared_hub, method, path, body)
        assert status == 400, (path, body, answer)
    assert ask(shared_hub, "DELETE", f"{api}/branch/main")[0] == 403
    assert ask(shared_hub, "PATCH", api)[0] == 405
    assert ask(shared_hub, "GET", "/api/agent-harnesses")[0] == 404


def test_listings_come_in_pages(hub: RunningHub) -> None:
    hub.store.commit(REPO, [put(hub.store, f"d/{n:02}.txt", b"") for n in range(7)], "many", "demo")
    path, seen = "/api/models/demo/tiny/tree/main/d?limit=3", []
    while path:
        _, headers, body = ask(hub, "GET", path)
        seen += [item["path"] for item in json.loads(body)]
        link = headers.get("link", "")
        path = link.partition(">")[0].removeprefix(f"<{hub.endpoint}")
    assert seen == [f"d/{n:02}.txt" for n in range(7)]


def test_pages_for_people(hub: RunningHub) -> None:
    files = [put(hub.store, "README.md", b"<script>alert(1)</script>"), put(hub.store, 'a"<b>.txt', b"")]
    hub.store.commit(REPO, files, "<i>title</i>", "demo")
    hub.store.create(RepoId("dataset", "demo", "hidden"), private=True)
    status, headers, body = ask(hub, "GET", "/demo/tiny", token="")
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    for raw in (b"<script>", b"<i>", b"<b>"):
        assert raw not in body
    assert b"&lt;script&gt;alert(1)" in body
    listing = ask(hub, "GET", "/", token="")[2]
    assert b'href="/demo/tiny"' in listing
    assert b"hidden" not in listing
    assert ask(hub, "GET", "/datasets/demo/hidden", token="")[0] == 404
    assert ask(hub, "GET", "/datasets/demo/hidden")[0] == 200


def test_a_restart_keeps_everything(tmp_path: Path) -> None:
    def all_files() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in (tmp_path / "root").rglob("*") if path.is_file()}

    with running_hub(tmp_path / "root") as hub:
        hub.store.create(REPO, private=True)
        hub.store.commit(REPO, [put(hub.store, "f", b"content")], "kept", "demo")
        before, token = all_files(), hub.write_token
    with running_hub(tmp_path / "root") as hub:
        assert hub.write_token == token
        assert ask(hub, "GET", "/demo/tiny/resolve/main/f")[2] == b"content"
        assert ask(hub, "GET", "/demo/tiny/resolve/main/f", token="")[0] == 401
        assert all_files() == before
    assert stat.S_IMODE((tmp_path / "root" / "tokens.json").stat().st_mode) == 0o600


def test_an_upload_that_breaks_off_leaves_nothing(hub: RunningHub) -> None:
    link = lfs_link(hub, b"x" * 1_000_000)
    host, port = hub.endpoint.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"PUT {link} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000\r\n\r\nxxx".encode())
        time.sleep(0.2)
    deadline = time.monotonic() + 10
    while list(hub.store.objects.tmp.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not list(hub.store.objects.tmp.iterdir())
    assert not any(files for _, _, files in os.walk(hub.store.objects.lfs))
