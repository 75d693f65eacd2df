"""Uploads under faults: whatever happens, the repository holds one whole commit or none, and the message says which."""

from __future__ import annotations

import errno
import hashlib
import random
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _http
from starlette.responses import JSONResponse

from jobs import hub_commit, sending
from jobs.errors import UserError, run_main
from jobs.hub import Published, commit_files
from local_hub.commits import Put, blob_entry
from local_hub.faults import Fault, OnNth, fail, lose_answer, too_many
from local_hub.names import RepoId
from local_hub.testing import RunningHub, running_hub
from local_hub.upload_faults import cut_upload, drop_answer, exchange, slow_upload
from tests.publishing import api

hf_tqdm = sys.modules["huggingface_hub.utils.tqdm"]  # the module: the package has a class of this name
SIZE = 300_000  # bytes of the weights
CARD = b"---\nlicense: mit\ntags: [footnote]\n---\n# Weights\n"
WHOLE, NOTHING = "one whole commit", "no commit"
COMMIT, PREUPLOAD, BATCH, PUT = r"/commit/main$", r"/preupload/", r"/lfs/objects/batch$", r"/_lfs/[0-9a-f]+$"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture
def waits(hub: RunningHub, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """This process as a client of the Hub, and how long it would have waited; nobody waits here."""
    waited: list[float] = []
    for module in (_http, hub_commit):
        monkeypatch.setattr(module, "time", SimpleNamespace(sleep=waited.append))
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", hub.write_token)
    yield waited
    hub.faults.clear()


@pytest.fixture
def weights(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A repository of this test's own, and the files that are to be in it."""
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:12]
    gguf = tmp_path / "weights.gguf"
    gguf.write_bytes(b"GGUF\x03\0\0\0" + random.Random(name).randbytes(SIZE - 8))  # a NUL: kept as a large file
    files = {"README.md": CARD, "weights.gguf": gguf, "params": b"{}\n"}
    return SimpleNamespace(repository=f"demo/{name}", files=files, gguf=gguf)


def send(weights: Any) -> Published:
    return commit_files(weights.repository, "model", weights.files, private=False, title="Publish weights")


def state(hub: RunningHub, weights: Any) -> str:
    """What stands in the repository, by its commits and by the bytes of every file on the Hub's own disk."""
    repository = RepoId.parse("model", weights.repository)
    tree = hub.store.resolve(repository, "main")["tree"]
    del tree[".gitattributes"]
    held = {path: hub.store.content_path(entry).read_bytes() for path, entry in tree.items()}
    whole = {path: Path(file).read_bytes() if isinstance(file, Path) else file for path, file in weights.files.items()}
    assert all(hashlib.sha256(held[path]).hexdigest() == tree[path]["sha256"] for path in held if tree[path]["lfs"])
    if held == whole:
        return WHOLE
    return NOTHING if not held else f"{sorted(held)}"


def commits(hub: RunningHub, weights: Any) -> list[str]:
    return [commit.title for commit in api(hub).list_repo_commits(weights.repository)]


def rate_limit(left: int) -> Fault:
    """429 at the commit with the Hub's own header, which comes with every answer, and another."""
    headers = {"RateLimit": f'"api";r={left};t=240', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
    refusal = JSONResponse({"error": "Too Many Requests"}, 429, headers | {"Retry-After": "5"})
    return OnNth(lambda: refusal, "POST", COMMIT, 1, 1)


def their_commit(hub: RunningHub, weights: Any) -> None:
    hub.faults.clear()
    note = blob_entry(hub.store.objects.put_blob(b"theirs"), 6)
    hub.store.commit(RepoId.parse("model", weights.repository), [Put("note.txt", note)], "A note", "somebody")


def by_somebody_else(hub: RunningHub, weights: Any) -> Fault:
    """Another commit lands just before ours is looked at."""

    def fault(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/commit/main"):
            their_commit(hub, weights)

    return fault


def followed_by_somebody(hub: RunningHub, weights: Any) -> Fault:
    """Ours lands, its answer is lost, and another commit is there when the head is read again."""
    lost = lose_answer("POST", COMMIT)

    def fault(method: str, path: str) -> Any:
        if method == "GET" and lost.seen:
            their_commit(hub, weights)
        return lost(method, path)

    return fault


def deleted(hub: RunningHub, weights: Any) -> Fault:
    def fault(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/objects/batch"):
            hub.faults.clear()
            hub.store.delete(RepoId.parse("model", weights.repository))

    return fault


def expired(at: str) -> Fault:
    """From this request on the token is not known."""
    seen, refusal = re.compile(at), fail("POST", "", 401, message="Invalid credentials")
    over: list[bool] = []

    def fault(method: str, path: str) -> Any:
        over.extend([True] if seen.search(path) else [])
        return refusal.make() if over else None

    return fault


def damaged(hub: RunningHub, weights: Any) -> Fault:
    """The Hub keeps other bytes than were sent, and says so in its tree."""
    content = weights.gguf.read_bytes()
    other, _ = hub.store.objects.put_lfs([content[:-1] + bytes([content[-1] ^ 1])])
    return exchange(COMMIT, hashlib.sha256(content).hexdigest(), other)


NOTHING_CHANGED = "nothing was changed there"
ALWAYS = {"times": 99}
PASSES: dict[str, tuple[Callable[[], Fault], list[float]]] = {  # what one commit outlives, and the waits that it takes
    **{f"cut at {tens} %": (lambda tens=tens: cut_upload(PUT, SIZE * tens // 100), [1]) for tens in range(10, 101, 10)},
    "cut five times": (lambda: cut_upload(PUT, SIZE // 2, times=5), [1, 2, 4, 8, 8]),
    "429 at preupload": (lambda: too_many("POST", PREUPLOAD, 7), [8.0]),
    "429 at the batch": (lambda: too_many("POST", BATCH, 7), [8.0]),
    "429 at the commit": (lambda: too_many("POST", COMMIT, 7), [7.0]),
    "429 by the other header": (lambda: rate_limit(left=0), [241.0]),
    "429 with requests left": (lambda: rate_limit(left=3), [5.0]),
    "500 on commit": (lambda: fail("POST", COMMIT), [2.0]),
    "500 on commit, three times": (lambda: fail("POST", COMMIT, times=3), [2.0, 10.0, 30.0]),
    "landed, answer lost (504)": (lambda: lose_answer("POST", COMMIT), []),
    "landed, connection dropped": (lambda: drop_answer("POST", COMMIT), []),
    "503 when verified": (lambda: fail("POST", r"/verify$", 503), [1]),
}


@pytest.mark.parametrize("case", PASSES)
def test_what_passes_ends_in_one_commit(hub: RunningHub, waits: list[float], weights: Any, case: str) -> None:
    fault, expected = PASSES[case]
    hub.faults[:] = [fault()]
    done = send(weights)
    assert hub.faults[0].seen  # type: ignore[attr-defined]
    assert state(hub, weights) == WHOLE
    assert commits(hub, weights) == ["Publish weights", "initial commit"]
    assert done.revision == api(hub).model_info(weights.repository).sha
    assert waits == expected
    assert not send(weights).committed
    assert len(commits(hub, weights)) == 2


ENDS: dict[str, tuple[Callable[[RunningHub, Any], Fault], str, list[str], int]] = {
    # fault, what the repository holds then, words of the message, commits after the same command was run again
    "cut for good": (lambda *_: cut_upload(PUT, SIZE // 2, **ALWAYS), NOTHING, [NOTHING_CHANGED, "reached"], 2),
    "500 for good": (lambda *_: fail("POST", COMMIT, **ALWAYS), NOTHING, ["500", NOTHING_CHANGED], 2),
    "429 for an hour": (lambda *_: too_many("POST", COMMIT, 3600), NOTHING, ["429", NOTHING_CHANGED], 2),
    "wrong checksum": (lambda *_: fail("PUT", PUT, 422, **ALWAYS), NOTHING, ["422", NOTHING_CHANGED], 2),
    "not verified": (lambda *_: fail("POST", r"/verify$", 404, **ALWAYS), NOTHING, ["404", NOTHING_CHANGED], 2),
    "damaged there": (damaged, "damaged", ["weights.gguf there is not what was sent", "is published"], 3),
    "full there": (
        lambda *_: fail("PUT", PUT, 507, **ALWAYS, message="Insufficient storage"),
        NOTHING,
        ["507", "Insufficient storage", NOTHING_CHANGED],
        2,
    ),
    "over the quota": (
        lambda *_: fail("POST", COMMIT, 403, message="Private repository storage limit reached"),
        NOTHING,
        ["storage limit reached", NOTHING_CHANGED],
        2,
    ),
    "expired half-way": (lambda *_: expired(BATCH), NOTHING, ["401", "HF_TOKEN", "nothing was changed"], 2),
    "expired at the commit": (lambda *_: expired(COMMIT), NOTHING, ["401", "HF_TOKEN", "cannot be read now"], 2),
    "right withdrawn": (lambda *_: fail("POST", BATCH, 403), NOTHING, ["403", "may write", NOTHING_CHANGED], 2),
    "deleted meanwhile": (deleted, "deleted", ["is gone", "run the same command again"], 2),
    "moved by somebody": (by_somebody_else, "['note.txt']", ["somebody committed", "'A note'", "nothing of this"], 3),
    "followed by somebody": (
        followed_by_somebody,
        "['README.md', 'note.txt', 'params', 'weights.gguf']",
        ["somebody committed", "'A note'", "this run's files are in", "before it"],
        4,
    ),
}


@pytest.mark.parametrize("case", ENDS)
def test_what_does_not_pass_is_told_and_healed_by_a_second_run(
    hub: RunningHub, waits: list[float], weights: Any, case: str
) -> None:
    fault, expected, words, then = ENDS[case]
    hub.faults[:] = [fault(hub, weights)]
    with pytest.raises(UserError) as raised:
        send(weights)
    hub.faults.clear()
    line = str(raised.value)
    assert line.startswith(f"{weights.repository}: ")
    assert "\n" not in line
    for word in words:
        assert word in line
    if expected == "deleted":
        assert not api(hub).repo_exists(weights.repository)
    elif expected == "damaged":
        assert state(hub, weights) not in (WHOLE, NOTHING)
    else:
        assert state(hub, weights) == expected
    assert send(weights).committed
    assert state(hub, weights) == WHOLE
    assert len(commits(hub, weights)) == then


def test_a_slow_upload_ends_and_a_bar_shows_it(
    hub: RunningHub, waits: list[float], weights: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setattr(hf_tqdm, "HF_HUB_DISABLE_PROGRESS_BARS", None)
    monkeypatch.setattr(hf_tqdm, "is_tqdm_disabled", lambda _: False)  # as on a terminal
    hf_tqdm.enable_progress_bars()
    weights.gguf.write_bytes(weights.gguf.read_bytes()[:64_000])
    hub.faults[:] = [slow_upload(PUT, 64_000)]
    assert send(weights).committed
    assert state(hub, weights) == WHOLE
    assert "weights.gguf: 100%" in capfd.readouterr().err


def test_what_was_to_be_private_is_not_put_where_all_can_read(
    hub: RunningHub, waits: list[float], weights: Any
) -> None:
    api(hub).create_repo(weights.repository)
    with pytest.raises(UserError, match=r"is public, but --private was asked"):
        commit_files(weights.repository, "model", weights.files, private=True, title="Publish weights")
    assert state(hub, weights) == NOTHING
    api(hub).update_repo_settings(weights.repository, private=True)
    assert send(weights).private  # asked to be public, and left as its owner made it


def test_a_disk_that_is_full_here_changes_nothing_there(
    hub: RunningHub, waits: list[float], weights: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "cards/dataset/README.md")

    monkeypatch.setattr(sending, "render_card", lambda *_: CARD.decode())
    monkeypatch.setattr(Path, "write_text", full)
    run = SimpleNamespace(verified=None)
    wish = sending.Wish(["dataset"])
    with pytest.raises(SystemExit, match="2"):
        run_main(lambda: sending.send(run, wish, {}, tmp_path))  # type: ignore[arg-type]
    line = capsys.readouterr().err.strip()
    assert line == "error: cards/dataset/README.md: no space left; free some and run again"
    assert not list(api(hub).list_datasets())


def test_a_space_without_a_plan_is_explained(hub: RunningHub, waits: list[float], weights: Any) -> None:
    hub.faults[:] = [fail("POST", "/repos/create", 402, message="Payment required")]
    with pytest.raises(UserError) as raised:
        commit_files(weights.repository, "space", {"README.md": CARD}, private=False, title="Publish a page")
    for word in ("402", "July 2026", "PRO", "--space OWNER/NAME", "python app.py", "static", "nothing was changed"):
        assert word in str(raised.value)
    assert not api(hub).repo_exists(weights.repository, repo_type="space")
    hub.faults[:] = [fail("POST", "/repos/create", 402)]
    with pytest.raises(UserError, match="a paid plan is needed there") as raised:
        send(weights)  # a model
    assert "Space" not in str(raised.value)
