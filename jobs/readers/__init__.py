"""Readers of document formats: bytes of a file → `Extract`. One module a format, chosen by kind or by the suffix."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from jobs.documents import Extract, UnreadableError, pick_metadata
from jobs.errors import UserError, first_line
from jobs.licence_names import is_licence_file
from jobs.readers.alarm import time_limit
from jobs.readers.clean import clean_blocks
from jobs.readers.plain import in_utf8

TIME_LIMIT = 60  # seconds to read one document; the longest books take some 20
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
_TEXTS = frozenset({"markdown", "mdx", "latex", "rst", "plain"})
KINDS = frozenset({*FORMATS.values(), "latex_source"})  # latex_source: an archive as arXiv sends it


def read_document(
    path: Path,
    *,
    kind: str = "",
    stated: Mapping[str, str] | None = None,
    pdf: str = "pdfium",
    charset: str = "",
    root: Path | None = None,
) -> Extract:
    """Read one file, by its suffix where no kind is given. Raises `UnreadableError`.

    `stated` (title, source, licence, date) goes before what the file says of itself, its sidecar `FILE.yaml` before
    both. LaTeX may include files of its own folder; a file that another includes is refused, and that one is looked
    for up to `root`, its own folder unless given. `charset` as for `read_bytes`.
    """
    with _reasons():
        refuse_unfit(path)
        if not kind and is_licence_file(path):
            raise UnreadableError("skipped: a licence, no document")
        kind = kind or format_of(path)
        extract = _read(path.read_bytes(), kind, pdf, charset, (path, root))
        extract.metadata = pick_metadata(extract.metadata) | dict(stated or {}) | pick_metadata(_sidecar(path))
    return extract


def read_bytes(
    data: bytes, kind: str, *, stated: Mapping[str, str] | None = None, pdf: str = "pdfium", charset: str = ""
) -> Extract:
    """Read a document that is in memory; it includes no file. Raises `UnreadableError`.

    `charset`, as an HTTP header names it, is that of a text that names none and is not UTF-8.
    """
    with _reasons():
        if len(data) > LARGEST:
            raise UnreadableError(_too_large(len(data)))
        extract = _read(data, kind, pdf, charset)
        extract.metadata = pick_metadata(extract.metadata) | dict(stated or {})
    return extract


@contextmanager
def _reasons() -> Iterator[None]:
    """Whatever a reader raises becomes a reason; a package or command that is missing is no fault of the document."""
    try:
        yield
    except (UnreadableError, ImportError, UserError):
        raise
    except OSError as error:
        raise UnreadableError(f"cannot be read ({error.strerror})") from error
    except Exception as error:  # parsers raise what they please on odd input, and one document must never stop the rest
        raise UnreadableError(f"reader failed: {type(error).__name__}: {first_line(error)}") from error


def _read(data: bytes, kind: str, pdf: str, charset: str, place: tuple[Path, Path | None] | None = None) -> Extract:
    if kind not in KINDS:
        raise UnreadableError(f"skipped: no reader for {kind}")
    if not data.strip():
        raise UnreadableError("empty file")
    if (kind, pdf) == ("pdf", "docling"):  # a command with a limit of its own
        kind, seconds = "docling", None
    else:
        seconds = TIME_LIMIT
    module = import_module(f"jobs.readers.{kind}")
    with time_limit(seconds):
        if kind == "html":
            extract = module.read(data, charset)
        elif kind == "latex" and place:
            extract = module.read(in_utf8(data, charset), *place)
        else:
            extract = module.read(in_utf8(data, charset) if kind in _TEXTS else data)
        extract.blocks = clean_blocks(extract.blocks)
    return extract


def refuse_unfit(path: Path) -> None:
    """Raises `UnreadableError` for what must not be opened (a pipe would wait for ever) and for too large a file."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableError("folder that cannot be listed")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("not a regular file")
    if status.st_size > LARGEST:
        raise UnreadableError(_too_large(status.st_size))


def _too_large(size: int) -> str:
    return f"larger than {LARGEST // 1_000_000} MB ({size / 1_000_000:.0f} MB)"


def format_of(path: Path) -> str:
    """The format that a file's suffix tells. Raises `UnreadableError` for a suffix that no reader knows."""
    name = FORMATS.get(path.suffix.lower())
    if name is None:
        raise UnreadableError(f"skipped: no reader for {path.suffix or 'files without a suffix'}")
    return name


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
