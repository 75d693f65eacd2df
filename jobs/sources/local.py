"""Documents on this machine: files and folders as they were named."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from jobs.documents import Item, printable
from jobs.errors import UserError
from jobs.licence_names import folder_licence


def local_items(paths: Sequence[Path]) -> Iterator[Item]:
    """Every file in order. Raises `UserError` for a wrong path.

    Hidden files and folders, folders that are links, and other files' sidecars are passed over.

    An id is the path below the folder given, or the file's name. Ids are published: they hold no more of a place on
    this machine than the name of the folder given.
    """
    for path in paths:
        _refuse_missing(path)
    taken: set[str] = set()
    for root in paths:
        for path in walk(root) if root.is_dir() else [root]:
            name = next(name for name in _names(root, path) if name not in taken)
            taken.add(name)
            top = root if path != root else path.parent
            place, base = str(path.absolute()), str(top.absolute())
            yield Item(name=name, path=place, root=base, folder_licence=folder_licence(path, top))


def _refuse_missing(path: Path) -> None:
    try:
        path.stat()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file or folder; check the path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check its rights") from None


def _names(root: Path, path: Path) -> Iterator[str]:
    """Ids for a file, the next where the one before is another's: `a.md`, `docs/a.md`, `docs-2/a.md`, ..."""
    inner = path.relative_to(root).as_posix() if path != root else path.name
    folder = (root.resolve().name or "root") if path != root else "file"
    yield printable(inner)
    yield printable(f"{folder}/{inner}")
    yield from (printable(f"{folder}-{number}/{inner}") for number in count(2))


def walk(root: Path) -> Iterator[Path]:
    """Files below a folder in order, and last the folders that cannot be listed."""
    closed: list[OSError] = []
    for folder, folders, names in os.walk(root, onerror=closed.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            sidecar = name.endswith(".yaml") and name.removesuffix(".yaml") in names
            if not name.startswith(".") and not sidecar:
                yield Path(folder, name)
    yield from (Path(error.filename) for error in closed)
