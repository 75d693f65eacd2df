"""Listings of a commit's files, as the tree and paths-info routes answer them."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from local_hub.commits import Commit, Entry, Tree
from local_hub.info import lfs_info
from local_hub.names import RepoId
from local_hub.store import Store


def file_item(path: str, entry: Entry) -> dict[str, Any]:
    item: dict[str, Any] = {"type": "file", "path": path, "size": entry["size"], "oid": entry["oid"]}
    if entry["lfs"]:
        lfs = lfs_info(entry)
        item["lfs"] = {"oid": lfs["sha256"], "size": lfs["size"], "pointerSize": lfs["pointerSize"]}
    return item


def folder_oid(tree: Tree, folder: str) -> str:
    """Changes exactly when something below the folder changes, which is all that a client uses it for."""
    below = [f"{path}\0{entry['oid']}" for path, entry in tree.items() if path.startswith(folder + "/")]
    return hashlib.sha1("\n".join(below).encode(), usedforsecurity=False).hexdigest()


def folder_item(tree: Tree, folder: str) -> dict[str, Any]:
    return {"type": "directory", "path": folder, "size": 0, "oid": folder_oid(tree, folder)}


def is_folder(tree: Tree, path: str) -> bool:
    return path == "" or any(name.startswith(path + "/") for name in tree)


def listing(tree: Tree, folder: str, recursive: bool) -> list[dict[str, Any]]:
    """Files and folders below a folder, each folder before what it holds."""
    prefix = f"{folder}/" if folder else ""
    items: dict[str, dict[str, Any]] = {}
    for path, entry in tree.items():
        if not path.startswith(prefix):
            continue
        for parent in _parents(path, len(prefix)):
            if parent not in items and (recursive or "/" not in parent[len(prefix) :]):
                items[parent] = folder_item(tree, parent)
        if recursive or "/" not in path[len(prefix) :]:
            items[path] = file_item(path, entry)
    return list(items.values())


def _parents(path: str, start: int) -> Iterator[str]:
    position = path.find("/", start)
    while position != -1:
        yield path[:position]
        position = path.find("/", position + 1)


def paths_info(tree: Tree, paths: Iterable[str]) -> list[dict[str, Any]]:
    """The items that exist among these paths; missing ones are silently left out, as on the Hub."""
    found = []
    for path in dict.fromkeys(path.strip("/") for path in paths):
        if path in tree:
            found.append(file_item(path, tree[path]))
        elif path and is_folder(tree, path):
            found.append(folder_item(tree, path))
    return found


def with_last_commits(store: Store, repo: RepoId, head: Commit, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same items, each with the last commit that changed it."""
    history = list(store.history(repo, head)) if items else []
    for item in items:
        commit = last_commit(history, item["path"])
        item["lastCommit"] = {"id": commit["id"], "title": commit["title"], "date": commit["date"]}
    return items


def last_commit(history: list[Commit], path: str) -> Commit:
    """The newest commit (history begins with the head) since which the path has stayed as it is."""

    def state(commit: Commit) -> object:
        return commit["tree"].get(path) or folder_oid(commit["tree"], path)

    latest, wanted = history[0], state(history[0])
    for commit in history:
        if state(commit) != wanted:
            break
        latest = commit
    return latest
