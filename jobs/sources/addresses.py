"""Addresses and lists of them: hosts, the pace that each is asked at, and files with one entry a line."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

from jobs.errors import UserError, first_line
from jobs.sources.clock import Pace
from jobs.sources.store import RefusedError

T = TypeVar("T")
ARXIV_PACE = Pace("arxiv.org", 3.0)  # all its hosts together: the terms of its interface
WEB_SECONDS = 1.0


def split_address(address: str) -> SplitResult:
    """The parts of a web address. Raises `RefusedError` for anything else, which a redirect may name."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise RefusedError(f"address that cannot be used ({first_line(error)})", lasting=True) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise RefusedError(f"neither http nor https ({parts.scheme or 'no scheme'})", lasting=True)
    return parts


def redirected(place: str, location: str) -> str:
    """Where a redirect leads. Raises `RefusedError` where that is no address of the web."""
    try:
        found = urljoin(place, location)
    except ValueError as error:
        raise RefusedError(f"address that cannot be used ({first_line(error)})", lasting=True) from None
    split_address(found)
    return found


def pace_of(host: str) -> Pace:
    """How often a host is asked."""
    return ARXIV_PACE if f".{host}".endswith(".arxiv.org") else Pace(host, WEB_SECONDS)


def is_private(host: str) -> bool:
    """Whether a host's name leads to an address that only this network knows; unknown names are not private."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # the request itself will say what is wrong with it
        return False
    return any(not ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_global for entry in found)


def entries(named: Sequence[str], what: str, accept: Callable[[str], T | None]) -> Iterator[T]:
    """What `accept` makes of each name, or of each line of a file named; `#` begins a comment.

    Raises `UserError` that names the entry, or file and line, where `accept` gives None.
    """
    for name in named:
        if (entry := accept(name)) is not None:
            yield entry
            continue
        if not Path(name).is_file():
            raise UserError(f"{name}: neither {what} nor a file with one a line")
        for number, line in enumerate(_lines(Path(name)), start=1):
            text = line.partition(" #")[0].strip()
            if not text or text.startswith("#"):
                continue
            if (entry := accept(text)) is None:
                raise UserError(f"{name}, line {number}: {text[:100]!r} is not {what}")
            yield entry


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a list ({first_line(error)}); give a text file in UTF-8") from None
