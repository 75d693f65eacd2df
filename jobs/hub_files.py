"""The files of a repository as they are here and as they stand there, told apart by size and hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.hf_api import RepoFile

from jobs.step import file_sha256

Kind = Literal["model", "dataset", "space"]
Content = Path | bytes
Operation = CommitOperationAdd | CommitOperationDelete
KEPT = ".gitattributes"  # made by the Hub itself with the repository


@dataclass(frozen=True)
class Local:
    """A file as it is here; its hashes are computed once, since weights are gigabytes."""

    content: Content

    @cached_property
    def size(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    @cached_property
    def sha256(self) -> str:
        content = self.content
        return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else file_sha256(content)

    @cached_property
    def git_sha1(self) -> str:
        data = self.content if isinstance(self.content, bytes) else self.content.read_bytes()
        return hashlib.sha1(f"blob {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()

    def is_same(self, size: int, identity: str) -> bool:
        """Whether a file there, of this size and this SHA-256 or git SHA-1, is this one."""
        return size == self.size and identity == (self.git_sha1 if len(identity) == 40 else self.sha256)


def tree(api: HfApi, repository: str, kind: Kind, revision: str) -> dict[str, tuple[int, str]]:
    """Path → size and identity of every file."""
    entries = api.list_repo_tree(repository, recursive=True, revision=revision, repo_type=kind)
    return {entry.path: size_and_identity(entry) for entry in entries if isinstance(entry, RepoFile)}


def size_and_identity(entry: RepoFile) -> tuple[int, str]:
    """What `Local.is_same` compares: SHA-256 of a file that is stored as LFS, git's SHA-1 of another."""
    return entry.size, entry.lfs.sha256 if entry.lfs else entry.blob_id


def difference(files: Mapping[str, Local], there: Mapping[str, tuple[int, str]]) -> list[Operation]:
    """What makes a tree hold exactly these files; empty where it does."""
    changed = [path for path, local in files.items() if not (path in there and local.is_same(*there[path]))]
    stale = [path for path in there if path not in files and path != KEPT]
    return [
        *(CommitOperationAdd(path_in_repo=path, path_or_fileobj=files[path].content) for path in sorted(changed)),
        *(CommitOperationDelete(path_in_repo=path) for path in sorted(stale)),
    ]
