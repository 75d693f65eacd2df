"""Repositories on disk.

ROOT/repos/<models|datasets|spaces>/<owner>/<name>/repo.json   settings and refs
ROOT/repos/<…>/commits/<id>.json                               one immutable file per commit, with its whole tree
ROOT/blobs, ROOT/lfs                                           contents, see objects.py

A commit is written before the ref that names it, and each file is renamed into place: a kill between the two leaves an
unreferenced commit, never half a one. Contents are never collected; delete ROOT to reclaim the space.
"""

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local_hub.commits import Commit, Entry, Operation, Put, apply, blob_entry
from local_hub.errors import HubError, bad_request, revision_not_found
from local_hub.gitpatterns import DEFAULT_GITATTRIBUTES
from local_hub.names import KINDS, SINGULAR, RepoId, check_ref_name, is_commit_id
from local_hub.objects import Objects

Meta = dict[str, Any]
HEADS, TAGS, PULLS = "refs/heads/", "refs/tags/", "refs/pr/"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Store:
    """All repositories under one root. Reads need no lock, since every file is replaced whole; writes share one."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).resolve()
        self.objects = Objects(self.root)
        self.lock = threading.RLock()
        for plural in KINDS.values():
            (self.root / "repos" / plural).mkdir(parents=True, exist_ok=True)

    # Repositories

    def folder(self, repo: RepoId) -> Path:
        return self.root / "repos" / repo.plural / repo.owner / repo.name

    def meta(self, repo: RepoId) -> Meta | None:
        """Settings and refs of a repository, None if it does not exist."""
        try:
            return json.loads((self.folder(repo) / "repo.json").read_bytes())
        except FileNotFoundError:
            return None

    def repos(self, kind: str) -> Iterator[RepoId]:
        for path in sorted((self.root / "repos" / KINDS[kind]).glob("*/*/repo.json")):
            yield RepoId(SINGULAR[path.parts[-4]], path.parts[-3], path.parts[-2])

    def create(self, repo: RepoId, private: bool = False, **settings: Any) -> None:
        """A new repository, which begins with a commit of .gitattributes as on the real Hub."""
        with self.lock:
            if self._taken(repo):
                raise HubError(409, f"You already created this {repo.kind} repo")
            attributes = blob_entry(self.objects.put_blob(DEFAULT_GITATTRIBUTES), len(DEFAULT_GITATTRIBUTES))
            tree = apply({}, [Put(".gitattributes", attributes)])
            first = self._write_commit(repo, [], tree, "initial commit", "", repo.owner)
            meta = {"private": private, "created": now(), "next_pr": 1, **settings}
            self._write_meta(repo, {**meta, "refs": {HEADS + "main": first["id"]}})

    def _taken(self, repo: RepoId) -> bool:
        """Names differ by more than case, so that no client on a case-blind disk mixes two repositories up."""
        wanted = repo.id.lower()
        return any(other.id.lower() == wanted for other in self.repos(repo.kind))

    def delete(self, repo: RepoId) -> None:
        with self.lock:
            self._existing(repo)
            gone = self.objects.tmp_path()
            self.folder(repo).rename(gone)  # atomic; the slow removal follows where nobody looks
        shutil.rmtree(gone, ignore_errors=True)

    def move(self, source: RepoId, target: RepoId) -> None:
        with self.lock:
            self._existing(source)
            if self._taken(target) and source.id.lower() != target.id.lower():
                raise HubError(409, f"{target.id} exists already")
            self.folder(target).parent.mkdir(parents=True, exist_ok=True)
            self.folder(source).rename(self.folder(target))

    def update(self, repo: RepoId, **settings: Any) -> None:
        with self.lock:
            self._write_meta(repo, {**self._existing(repo), **settings})

    def _existing(self, repo: RepoId) -> Meta:
        meta = self.meta(repo)
        if meta is None:  # deleted while the request was under way
            raise HubError(404, "Repository not found", "RepoNotFound")
        return meta

    def _write_meta(self, repo: RepoId, meta: Meta) -> None:
        self.objects.write_json(self.folder(repo) / "repo.json", meta)

    # Revisions

    def refs(self, repo: RepoId) -> dict[str, str]:
        return self._existing(repo)["refs"]

    def resolve(self, repo: RepoId, revision: str) -> Commit:
        """The commit that a branch, tag, full ref or commit id names."""
        refs = self.refs(repo)
        for name in (HEADS + revision, TAGS + revision, revision):
            if name in refs:
                return self.commit_at(repo, refs[name])
        return self.commit_at(repo, revision)

    def commit_at(self, repo: RepoId, commit_id: str) -> Commit:
        if not is_commit_id(commit_id):
            raise revision_not_found(commit_id)
        try:
            return json.loads((self.folder(repo) / "commits" / f"{commit_id}.json").read_bytes())
        except FileNotFoundError:
            raise revision_not_found(commit_id) from None

    def history(self, repo: RepoId, commit: Commit) -> Iterator[Commit]:
        """The commit and its ancestors; history is linear, since nothing merges."""
        yield commit
        while commit["parents"]:
            commit = self.commit_at(repo, commit["parents"][0])
            yield commit

    def add_ref(self, repo: RepoId, prefix: str, name: str, commit_id: str) -> None:
        with self.lock:
            refs, full = self.refs(repo), prefix + check_ref_name(name)
            if full in refs:
                raise HubError(409, f"{full} exists already")
            self.update(repo, refs={**refs, full: commit_id})

    def delete_ref(self, repo: RepoId, prefix: str, name: str) -> None:
        with self.lock:
            refs, full = dict(self.refs(repo)), prefix + name
            if full == HEADS + "main":
                raise HubError(403, "the main branch cannot be deleted")
            if refs.pop(full, None) is None:
                raise revision_not_found(name)
            self.update(repo, refs=refs)

    def squash(self, repo: RepoId, branch: str, title: str) -> None:
        """Make a branch begin with its newest tree; the commits before it stay on disk."""
        with self.lock:
            refs = self.refs(repo)
            if HEADS + branch not in refs:
                raise revision_not_found(branch)
            newest = self.commit_at(repo, refs[HEADS + branch])
            first = self._write_commit(repo, [], newest["tree"], title, "", newest["author"])
            self.update(repo, refs={**refs, HEADS + branch: first["id"]})

    # Commits

    def commit(
        self,
        repo: RepoId,
        operations: Sequence[Operation],
        title: str,
        author: str,
        *,
        revision: str = "main",
        message: str = "",
        parent: str | None = None,
        create_pr: bool = False,
    ) -> tuple[Commit, str]:
        """Applies the operations on top of a branch (or of a new pull request); returns the commit and its ref."""
        self._check_contents(operations)
        with self.lock:
            meta = self._existing(repo)
            ref, base = self._base(repo, meta, revision, parent, create_pr)
            tree = apply(base["tree"], operations)
            commit = self._write_commit(repo, [base["id"]], tree, title, message, author)
            next_pr = meta["next_pr"] + create_pr
            self._write_meta(repo, {**meta, "next_pr": next_pr, "refs": {**meta["refs"], ref: commit["id"]}})
            return commit, ref

    def _check_contents(self, operations: Sequence[Operation]) -> None:
        for operation in operations:
            if isinstance(operation, Put) and not self.content_path(operation.entry).is_file():
                raise bad_request(f"the content of {operation.path} was never uploaded")

    def _base(self, repo: RepoId, meta: Meta, revision: str, parent: str | None, pr: bool) -> tuple[str, Commit]:
        refs = meta["refs"]
        ref = next((name for name in (HEADS + revision, revision) if name in refs), None)
        if ref is None or ref.startswith(TAGS):
            raise revision_not_found(revision)
        if pr:
            return f"{PULLS}{meta['next_pr']}", self.commit_at(repo, parent or refs[ref])
        if parent and parent != refs[ref]:
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        return ref, self.commit_at(repo, refs[ref])

    def _write_commit(
        self, repo: RepoId, parents: list[str], tree: dict[str, Entry], title: str, message: str, author: str
    ) -> Commit:
        body = {"parents": parents, "title": title, "message": message, "author": author, "date": now(), "tree": tree}
        commit_id = hashlib.sha1(json.dumps(body, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
        commit: Commit = {"id": commit_id, **body}  # type: ignore[typeddict-item]
        self.objects.write_json(self.folder(repo) / "commits" / f"{commit_id}.json", commit)
        return commit

    # Contents

    def content_path(self, entry: Entry) -> Path:
        return self.objects.lfs_path(entry["sha256"]) if entry["sha256"] else self.objects.blob_path(entry["oid"])

    def read(self, commit: Commit, path: str) -> bytes | None:
        """A file's content at a commit, None if there is no such file."""
        entry = commit["tree"].get(path)
        return None if entry is None else self.content_path(entry).read_bytes()

    def read_text(self, commit: Commit, path: str) -> str:
        return (self.read(commit, path) or b"").decode("utf-8", "replace")
