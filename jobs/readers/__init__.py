"""Readers of document formats: bytes of a file → `Extract`. One module a format, chosen by the file's suffix."""

from __future__ import annotations

import stat
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from jobs.documents import Extract, UnreadableError
from jobs.errors import first_line

LARGEST = 50_000_000  # bytes of a file: readers hold a document in memory as a tree of many times its size

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
    try:
        return _read_document(path)
    except (UnreadableError, ImportError):  # a package that is missing is no fault of the document
        raise
    except OSError as error:
        raise UnreadableError(f"cannot be read ({error.strerror})") from error
    except Exception as error:  # parsers raise what they please on odd input, and one document must never stop the rest
        raise UnreadableError(f"reader failed: {type(error).__name__}: {first_line(error)}") from error


def _read_document(path: Path) -> Extract:
    refuse_unfit(path)
    reader = reader_of(path)
    data = path.read_bytes()
    if not data.strip():
        raise UnreadableError("empty file")
    extract = reader(data)
    extract.metadata |= _sidecar(path)
    return extract


def refuse_unfit(path: Path) -> None:
    """Raises `UnreadableError` for what must not be opened (a pipe would wait for ever) and for too large a file."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableError("folder that cannot be listed")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("not a regular file")
    if status.st_size > LARGEST:
        raise UnreadableError(f"larger than {LARGEST // 1_000_000} MB ({status.st_size / 1_000_000:.0f} MB)")


def reader_of(path: Path) -> Callable[[bytes], Extract]:
    """The reader for a file's suffix. Raises `UnreadableError` for a suffix that no reader knows."""
    name = FORMATS.get(path.suffix.lower())
    if name is None:
        raise UnreadableError(f"skipped: no reader for {path.suffix or 'files without a suffix'}")
    return partial(_read, name)


def _read(name: str, data: bytes) -> Extract:
    return import_module(f"jobs.readers.{name}").read(data)


def sidecar_of(path: Path) -> Path:
    """Where metadata of a file stands that it cannot hold itself."""
    return path.with_name(path.name + ".yaml")


def _sidecar(path: Path) -> dict[str, Any]:
    import yaml

    sidecar = sidecar_of(path)
    try:
        if not sidecar.is_file():
            return {}
        refuse_unfit(sidecar)
        values = yaml.safe_load(sidecar.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableError(f"sidecar {sidecar.name} cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date that is none
        raise UnreadableError(f"sidecar {sidecar.name} is not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise UnreadableError(f"sidecar {sidecar.name} is not a mapping such as `licence: CC-BY-4.0`")
    return values
