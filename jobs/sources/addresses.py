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
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # IPv4 addresses as networks of IPv6 alone reach them (RFC 6052)


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
    return any(is_private_address(str(entry[4][0])) for entry in found)


def is_private_address(numbers: str) -> bool:
    """Whether an IP address is of this network, or of many machines at once. One that holds an IPv4 address is that."""
    address = ipaddress.ip_address(numbers.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        translated = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF) if address in NAT64 else None
        address = address.ipv4_mapped or address.sixtofour or translated or address
    return not address.is_global or address.is_multicast


def entries(named: Sequence[str], what: str, accept: Callable[[str], T | None]) -> Iterator[T]:
    """What `accept` makes of each name, or of each line of a file named; `#` begins a comment.

    Raises `UserError` that names the entry, or file and line, where `accept` gives None, or a file without an entry.
    """
    for name in named:
        if (entry := accept(name)) is not None:
            yield entry
            continue
        if not _is_file(name):
            raise UserError(f"{name[:300]}: neither {what} nor a file with one a line")
        listed = [(number, text) for number, line in enumerate(_lines(Path(name)), start=1) if (text := _entry(line))]
        if not listed:
            raise UserError(f"{name}: holds no {what.partition(' ')[2]}; write one a line")
        for number, text in listed:
            if (entry := accept(text)) is None:
                raise UserError(f"{name}, line {number}: {text[:100]!r} is not {what}")
            yield entry


def _entry(line: str) -> str:
    """A line without its comment."""
    text = line.partition(" #")[0].strip()
    return "" if text.startswith("#") else text


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except OSError:  # longer than a name can be
        return False


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a list ({first_line(error)}); give a text file in UTF-8") from None
