"""Names that come from outside: repository ids, file paths, branches. What these functions let through is safe."""

import re
from dataclasses import dataclass
from typing import Self

from local_hub.errors import HubError, bad_request

KINDS = {"model": "models", "dataset": "datasets", "space": "spaces"}
SINGULAR = {plural: kind for kind, plural in KINDS.items()}
RESERVED_OWNERS = {"api", "models", "datasets", "spaces", "buckets", "kernels", "_lfs"}

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}")
_REF_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]{0,199}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")


@dataclass(frozen=True)
class RepoId:
    """A repository's full name: kind is model, dataset or space."""

    kind: str
    owner: str
    name: str

    @classmethod
    def parse(cls, kind: str, repo_id: str) -> Self:
        owner, slash, name = repo_id.partition("/")
        if kind not in KINDS:
            raise bad_request(f"unknown repository type {kind!r}: model, dataset or space")
        if not slash or not valid_name(owner) or not valid_name(name) or owner in RESERVED_OWNERS:
            raise bad_request(f"invalid repository id {repo_id!r}: owner/name of letters, digits, '.', '_' and '-'")
        return cls(kind, owner, name)

    @property
    def id(self) -> str:
        return f"{self.owner}/{self.name}"

    @property
    def plural(self) -> str:
        return KINDS[self.kind]

    @property
    def web_path(self) -> str:
        """The path of the repository's page; models have no prefix."""
        return self.id if self.kind == "model" else f"{self.plural}/{self.id}"


def valid_name(name: str) -> bool:
    """One half of a repository id, by the client's own rules: no `..`, no `--`, no `.git` at the end."""
    if ".." in name or "--" in name or name.endswith((".git", ".", "-")):
        return False
    return _NAME.fullmatch(name) is not None


def check_path(path: object) -> str:
    """A file's path inside a repository: relative, normalised, harmless on the disk of whoever downloads it."""
    if not isinstance(path, str) or _CONTROL.search(path):
        raise bad_request(f"invalid path {path!r}")
    parts = path.split("/")
    if len(path.encode()) > 1024 or any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts):
        raise bad_request(f"invalid path {path!r}")
    if any(part.lower() == ".git" for part in parts):
        raise bad_request(f"invalid path {path!r}: .git is reserved")
    return path


def check_ref_name(name: object) -> str:
    """A new branch or tag name; what looks like a commit or a full ref would shadow one."""
    bad = not isinstance(name, str) or not _REF_NAME.fullmatch(name) or ".." in name or "//" in name
    if bad or name.endswith(("/", ".", ".lock")) or name.startswith("refs/") or is_commit_id(name):
        raise HubError(400, f"invalid branch or tag name {name!r}")
    return name


def is_commit_id(text: str) -> bool:
    return _COMMIT.fullmatch(text) is not None
