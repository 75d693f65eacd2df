"""What a commit does to a tree: pure functions, no storage."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from local_hub.errors import HubError, bad_request
from local_hub.names import check_path
from local_hub.objects import git_oid, pointer


class Entry(TypedDict):
    """One file of a tree: its git oid (of the pointer, for LFS), size, and the sha256 of an LFS file."""

    oid: str
    size: int
    sha256: str | None
    lfs: bool


Tree = dict[str, Entry]


class Commit(TypedDict):
    id: str
    parents: list[str]
    title: str
    message: str
    author: str
    date: str
    tree: Tree


@dataclass(frozen=True)
class Put:
    """Adds or replaces a file whose content is stored already."""

    path: str
    entry: Entry


@dataclass(frozen=True)
class Delete:
    path: str
    folder: bool = False


Operation = Put | Delete


def blob_entry(oid: str, size: int) -> Entry:
    return {"oid": oid, "size": size, "sha256": None, "lfs": False}


def lfs_entry(sha256: str, size: int) -> Entry:
    return {"oid": git_oid(pointer(sha256, size)), "size": size, "sha256": sha256, "lfs": True}


def apply(tree: Mapping[str, Entry], operations: Iterable[Operation]) -> Tree:
    """The tree after the operations, in order; paths are checked here, whoever the caller is."""
    result = dict(tree)
    for operation in operations:
        path = check_path(operation.path.rstrip("/"))
        if isinstance(operation, Put):
            result[path] = operation.entry
        else:
            for gone in _deleted(result, path, operation.folder):
                del result[gone]
    _refuse_file_and_folder(result)
    return dict(sorted(result.items()))


def _deleted(tree: Tree, path: str, folder: bool) -> list[str]:
    gone = [p for p in tree if p.startswith(path + "/")] if folder else [p for p in (path,) if p in tree]
    if not gone:
        raise HubError(404, f"cannot delete {path}: no such {'folder' if folder else 'file'}", "EntryNotFound")
    return gone


def _refuse_file_and_folder(tree: Tree) -> None:
    """No path may be a file and a folder at once: nobody could check it out."""
    for path in tree:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            parent = "/".join(parts[:depth])
            if parent in tree:
                raise bad_request(f"{parent} cannot be both a file and a folder (of {path})")


def as_json(commit: Commit, **more: Any) -> dict[str, Any]:
    """A commit as the listing of commits shows it."""
    shown = {key: commit[key] for key in ("id", "title", "message", "date")}  # type: ignore[literal-required]
    return {**shown, "authors": [{"user": commit["author"]}], **more}
