"""Folders on disk as repositories: `--seed DIR` publishes every DIR/<owner>/<name>/ that has a README.md."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from local_hub.cards import CardError, front_matter, validate
from local_hub.commits import Delete, Entry, Operation, Put, blob_entry, lfs_entry
from local_hub.gitpatterns import DEFAULT_GITATTRIBUTES, is_lfs, lfs_patterns
from local_hub.names import KINDS, RepoId
from local_hub.store import Store

TYPE_FILE = ".repo_type"
MODEL_KEYS = {"pipeline_tag", "library_name", "base_model", "model-index"}
DATASET_KEYS = {"task_categories", "task_ids", "configs", "dataset_info", "size_categories", "annotations_creators"}
MODEL_FILES = ("config.json", "adapter_config.json", ".safetensors", ".gguf")
DATASET_FILES = (".parquet", ".arrow", ".jsonl", ".csv")
_CHUNK = 1024 * 1024


class SeedError(ValueError):
    """A folder that cannot become a repository."""


def seed_all(store: Store, root: Path) -> list[RepoId]:
    """Seeds every repository folder under root; returns those that were new or had changed."""
    if not root.is_dir():
        raise SeedError(f"--seed {root}: no such folder")
    changed = []
    for readme in sorted(root.glob("*/*/README.md")):
        folder = readme.parent
        kind = repo_kind(folder)
        if seed(store, folder, f"{folder.parent.name}/{folder.name}", kind):
            changed.append(RepoId.parse(kind, f"{folder.parent.name}/{folder.name}"))
    return changed


def repo_kind(folder: Path) -> str:
    """model, dataset or space: `.repo_type` decides, else the card, else the files; in doubt a model."""
    if (folder / TYPE_FILE).is_file():
        kind = (folder / TYPE_FILE).read_text().strip()
        if kind not in KINDS:
            raise SeedError(f"{folder / TYPE_FILE}: {kind!r} is none of {', '.join(KINDS)}")
        return kind
    try:
        keys = set(front_matter((folder / "README.md").read_text(encoding="utf-8")))
    except CardError as error:
        raise SeedError(f"{folder / 'README.md'}: {error}") from None
    if "sdk" in keys:
        return "space"
    if keys & DATASET_KEYS and not keys & MODEL_KEYS:
        return "dataset"
    return "model" if keys & MODEL_KEYS else _kind_by_files(folder)


def _kind_by_files(folder: Path) -> str:
    paths = [path for path, _ in _files(folder)]
    has_model = any(path.rsplit("/", 1)[-1].endswith(MODEL_FILES) for path in paths)
    return "dataset" if not has_model and any(path.endswith(DATASET_FILES) for path in paths) else "model"


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Path in the repository and on disk; leaves version control and download caches out."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not {".git", ".cache"} & set(relative.parts) and str(relative) != TYPE_FILE:
            yield relative.as_posix(), path


def seed(store: Store, folder: Path, repo_id: str, repo_type: str) -> bool:
    """Publishes a folder unless it is as it was at its last seeding; returns whether it was published.

    What clients pushed in the meantime stays as long as the folder does not change.
    """
    repo, mark = RepoId.parse(repo_type, repo_id), _fingerprint(folder)
    meta = store.meta(repo)
    if meta is not None and meta.get("seed") == mark:
        return False
    errors, _ = validate((folder / "README.md").read_text(encoding="utf-8"), repo_type)
    if errors:
        raise SeedError(f"{folder / 'README.md'}: {'; '.join(errors)}")
    if meta is None:
        store.create(repo)
    tree = _store_files(store, folder)
    head = store.resolve(repo, "main")["tree"]
    gone = [Delete(path) for path in head if path not in tree and path != ".gitattributes"]
    put = [Put(path, entry) for path, entry in tree.items() if head.get(path) != entry]
    operations: list[Operation] = [*gone, *put]
    if operations:
        store.commit(repo, operations, f"Seed from {folder.name}", repo.owner)
    store.update(repo, seed=mark)
    return True


def _fingerprint(folder: Path) -> str:
    """Names, sizes and times of the files: a start must not read gigabytes to find that nothing changed."""
    stats = [(name, path.stat()) for name, path in _files(folder)]
    lines = [f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}" for name, stat in stats]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _store_files(store: Store, folder: Path) -> dict[str, Entry]:
    attributes = folder / ".gitattributes"
    text = attributes.read_text(encoding="utf-8") if attributes.is_file() else DEFAULT_GITATTRIBUTES.decode()
    patterns = lfs_patterns(text)
    return {name: _store_file(store, name, path, patterns) for name, path in _files(folder)}


def _store_file(store: Store, name: str, path: Path, patterns: list[str]) -> Entry:
    size = path.stat().st_size
    with path.open("rb") as file:
        if is_lfs(name, size, file.read(512), patterns):
            file.seek(0)
            return lfs_entry(*store.objects.put_lfs(iter(lambda: file.read(_CHUNK), b"")))
    content = path.read_bytes()
    return blob_entry(store.objects.put_blob(content), len(content))
