"""The local Hub's storage and pure parts: failing writes, kills, races, card checks, git patterns."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local_hub.cards import validate
from local_hub.commits import Put, blob_entry
from local_hub.errors import HubError
from local_hub.gitpatterns import is_ignored, is_lfs, matches
from local_hub.names import RepoId
from local_hub.store import Store

REPO = RepoId("model", "demo", "tiny")
ROOT = Path(__file__).parents[1]


def put(store: Store, path: str, content: bytes) -> Put:
    return Put(path, blob_entry(store.objects.put_blob(content), len(content)))


def test_a_commit_that_fails_at_any_write_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.create(REPO)
    before, real, failed = store.resolve(REPO, "main")["id"], Path.replace, 0
    for survivors in range(3):  # the blob, the commit, the ref
        left = survivors

        def replace(self: Path, target: Path) -> Path:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError("disk full")
            return real(self, target)

        monkeypatch.setattr(Path, "replace", replace)
        content = f"try {survivors}".encode()
        with pytest.raises(OSError, match="disk full"):
            store.commit(REPO, [put(store, "f", content)], "lost", "demo")
        failed += 1
        monkeypatch.setattr(Path, "replace", real)
        assert Store(tmp_path).resolve(REPO, "main")["id"] == before
    commit, _ = store.commit(REPO, [put(store, "f", b"kept")], "kept", "demo", parent=before)
    assert failed == 3
    assert Store(tmp_path).read(commit, "f") == b"kept"


WRITER = """
import sys
from local_hub.commits import Put, blob_entry
from local_hub.names import RepoId
from local_hub.store import Store
store, repo = Store(sys.argv[1]), RepoId("model", "demo", "tiny")
for n in range(10**6):
    content = str(n).encode() * 1000
    store.commit(repo, [Put(f"{n % 50}", blob_entry(store.objects.put_blob(content), len(content)))], str(n), "demo")
    print(n, flush=True)
"""


def test_a_kill_leaves_no_half_commit(tmp_path: Path) -> None:
    Store(tmp_path).create(REPO)
    done = 0
    for lines in (3, 10, 40):
        with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], cwd=ROOT, stdout=subprocess.PIPE) as writer:
            assert writer.stdout
            done += sum(1 for _ in zip(range(lines), writer.stdout, strict=False))
            writer.kill()
        store = Store(tmp_path)
        history = list(store.history(REPO, store.resolve(REPO, "main")))
        assert len(history) > done, "what was reported as landed is there"
        assert all(store.content_path(entry).stat().st_size == entry["size"] for entry in history[0]["tree"].values())


def test_concurrent_commits(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create(REPO)
    parent = store.resolve(REPO, "main")["id"]

    def race(n: int) -> int:
        try:
            store.commit(REPO, [put(store, f"race{n}", b"")], "race", "demo", parent=parent)
        except HubError as error:
            return error.status
        return 200

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(race, range(8))) == [200, *[412] * 7]
        list(pool.map(lambda n: store.commit(REPO, [put(store, f"all{n}", b"")], "all", "demo"), range(8)))
    tree = store.resolve(REPO, "main")["tree"]
    assert {f"all{n}" for n in range(8)} <= set(tree)
    assert len(list(store.history(REPO, store.resolve(REPO, "main")))) == 10


@pytest.mark.parametrize(
    ("kind", "card", "complaint"),
    [
        ("model", "---\nlicense: license\n---\n", "license"),
        ("model", "---\nlicense: other\nbase_model: [a/b]\nbase_model_relation: merge\n---\n", None),
        ("model", "---\nbase_model: None of them\n---\n", "base_model"),
        ("model", "---\nbase_model_relation: child\n---\n", "base_model_relation"),
        ("model", "---\nmodel-index:\n- results: []\n---\n", "name"),
        ("model", "---\n- a list\n---\n", "mapping"),
        ("model", "---\ntags: [1]\n---\n", "tags"),
        ("model", "---\ndate: 2026-99-99\n---\n", "YAML"),
        ("dataset", "---\nconfigs: []\nlanguage: en\n---\n", None),
        ("space", "---\nsdk: gradio\ncolorFrom: blue\n---\n", None),
        ("space", "---\nsdk: streamlit\n---\n", "sdk"),
        ("space", "---\nsdk: gradio\ncolorFrom: mauve\n---\n", "colorFrom"),
        ("space", "# no front matter", "sdk"),
    ],
)
def test_card_checks(kind: str, card: str, complaint: str | None) -> None:
    errors, _ = validate(card, kind)
    assert (complaint in errors[0]) if complaint else errors == []


def test_git_patterns() -> None:
    assert matches("*.bin", "a/b.bin")
    assert matches("saved_model/**/*", "saved_model/x/y/z")
    assert not matches("/a/*.txt", "a/b/c.txt")
    assert is_lfs("x.txt", 20, b"\0", [])
    assert is_lfs("x", 10 << 20, b"", [])
    assert not is_lfs("x.bin", 0, b"", ["*.bin"])
    rules = "# comment\n*.log\n!keep.log\nbuild/\n"
    ignored = {path: is_ignored(path, rules) for path in ("a/x.log", "keep.log", "build/x/y", "build", "src/a.py")}
    assert ignored == {"a/x.log": True, "keep.log": False, "build/x/y": True, "build": False, "src/a.py": False}
