"""Remembers which copy of a model loaded well, so that one that does not never leaves the page without a model."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from huggingface_hub import constants

from qa.artifacts import Reference


def remember(role: str, reference: Reference) -> None:
    """Note the commit and file that a role's engine was made from. Raises `OSError`."""
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    entry = {"revision": reference.revision, "filename": reference.filename}
    text = json.dumps({**_read(path), _key(role, reference.repository): entry}, indent=1)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # taken away whatever happens
        file = Path(folder) / path.name
        file.write_text(text, encoding="utf-8")
        file.replace(path)


def last_good(role: str, repository: str) -> Reference | None:
    """The copy of the repository that last loaded well in this role; None where none ever did.

    Another repository's is never taken: whoever names a new one does not want the old one served.
    """
    entry = _read(_path()).get(_key(role, repository))
    if not isinstance(entry, dict) or not all(isinstance(entry.get(name), str) for name in ("revision", "filename")):
        return None
    return Reference(repository, entry["revision"], entry["filename"])


def _key(role: str, repository: str) -> str:
    return f"{role} {repository}"


def _path() -> Path:
    return Path(constants.HF_HOME) / "footnote" / "last_good.json"


def _read(path: Path) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or a disk that lost it: the next model that loads writes it anew
        return {}
    return found if isinstance(found, dict) else {}
