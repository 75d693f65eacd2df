"""Readers of document formats: bytes of a file → `Extract`. One module a format, chosen by the file's suffix."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from jobs.documents import Extract, UnreadableError

FORMATS = {  # suffix: format; `jobs.readers.<format>` has `read(data: bytes) -> Extract`
    ".md": "markdown",
    ".markdown": "markdown",
    ".mdx": "mdx",
    ".html": "html",
    ".htm": "html",
    ".tex": "latex",
    ".rst": "rst",
    ".pdf": "pdf",
    ".txt": "plain",
}


def read_document(path: Path) -> Extract:
    """Read one file by its suffix, and its sidecar `FILE.yaml` over what it says itself. Raises `UnreadableError`."""
    reader = reader_of(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"cannot be read ({error.strerror})") from error
    if not data.strip():
        raise UnreadableError("empty file")
    extract = reader(data)
    extract.metadata |= _sidecar(path)
    return extract


def reader_of(path: Path) -> Callable[[bytes], Extract]:
    """The reader for a file's suffix. Raises `UnreadableError` for a suffix that no reader knows."""
    name = FORMATS.get(path.suffix.lower())
    if name is None:
        raise UnreadableError(f"skipped: no reader for {path.suffix or 'files without a suffix'}")
    return partial(_read, name)


def _read(name: str, data: bytes) -> Extract:
    return import_module(f"jobs.readers.{name}").read(data)


def _sidecar(path: Path) -> dict[str, Any]:
    import yaml

    sidecar = path.with_name(path.name + ".yaml")
    if not sidecar.is_file():
        return {}
    try:
        values = yaml.safe_load(sidecar.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UnreadableError(f"sidecar {sidecar.name} is not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise UnreadableError(f"sidecar {sidecar.name} is not a mapping such as `licence: CC-BY-4.0`")
    return values
