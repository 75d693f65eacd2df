"""The one polite client: robots.txt, pauses, bounded retries, limits of size and time, and a store of what was fetched.

A refusal that asking again would not change is kept like a page. A server that refuses to be asked so often, or does
not answer, is left alone for the rest of the run.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import getproxies

from jobs.errors import UserError, first_line
from jobs.sources.addresses import ARXIV_PACE, is_private, is_private_address, pace_of, redirected, split_address
from jobs.sources.body import pieces
from jobs.sources.clock import Clock, Pace, Pacer
from jobs.sources.connection import Connection
from jobs.sources.robots import LONGEST, Robots
from jobs.sources.store import DAY, Page, PageStore, RefusedError

if TYPE_CHECKING:
    from httpx2 import Response

REDIRECTS = 5
PAUSES = (1.0, 4.0, 16.0)  # seconds before each further try of a server that fails
WAITS, LONGEST_WAIT, UNSTATED_WAIT = 2, 60.0, 15.0  # how often and long a server that asks for time is given it
INWARD = "redirected into a private network"
REFUSALS = {401: "behind a login", 403: "behind a login", 404: "not there", 410: "no longer there"}


class _BusyError(Exception):
    """The server asks to be left alone for so many seconds."""

    def __init__(self, seconds: float, reason: str = "") -> None:
        super().__init__(reason or f"asks for a pause of {seconds:.0f} s")
        self.seconds = seconds


class _FailingError(Exception):
    """The server has an error of its own."""


@dataclass(frozen=True)
class _Asked:
    """One document: its address as named, the pace of its servers where it is set, and the types that can be read."""

    address: str
    pace: Pace | None = None
    robots: bool = True
    types: Collection[str] = ()
    since: float = 0.0
    most: int = 0  # bytes after which the rest is left (0: none; too large a document is refused)


class Fetcher:
    """Fetches pages into a store. Use it as a context manager; not for threads."""

    def __init__(self, store: PageStore, *, contact: str = "", clock: Clock | None = None, refresh: bool = False):
        import httpx2

        if not (contact.isascii() and contact.isprintable()):
            raise UserError(f"documents.contact: {contact!r} is no e-mail address; write one such as me@example.org")
        self.store, self.clock = store, clock or Clock()
        self.unruled = PageStore(store.folder / "unruled")  # what robots.txt has no say in: itself, and interfaces
        self.pacer, self.robots = Pacer(self.clock), Robots(self._rules)
        self.begun = self.clock.now() if refresh else 0.0
        self.left: dict[str, str] = {}  # a host that is asked no more, and why
        self.outward: set[str] = set()  # hosts that a public one named: they must not be of this network
        self.inside, self.proxied = False, bool({"http", "https", "all"} & getproxies().keys())
        agent = f"Footnote/{version('footnote')}" + (f" (+{contact})" if contact else "")
        headers = {"User-Agent": agent, "Accept-Encoding": "gzip"}
        limits = httpx2.Limits(max_keepalive_connections=0)  # a connection a request, which ends with it
        self.client = httpx2.Client(headers=headers, timeout=30, follow_redirects=False, limits=limits)

    def __enter__(self) -> Fetcher:
        self.store.sweep()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def get(self, address: str, *, pace: Pace | None = None, robots: bool = True, types: Collection[str] = ()) -> Page:
        """The page at an address, from the store where it is there. Raises `RefusedError`.

        `pace` goes before the host's own; `types` are the content types that can be read (none: any). `robots` false
        is for interfaces that are made for programs and have terms of their own.
        """
        return self._get(_Asked(address, pace, robots, types))

    def path(self, page: Page, *, robots: bool = True) -> Path:
        """Where the bytes of a page are that was asked for so."""
        return self._store(robots).path(page.address)

    def drop(self, page: Page, *, robots: bool = True) -> None:
        """Forget a page that is not what was asked for, so that it is asked for again."""
        self._store(robots).drop(page.address)

    def _store(self, robots: bool) -> PageStore:
        return self.store if robots else self.unruled

    def _get(self, asked: _Asked) -> Page:
        store, address = self._store(asked.robots), asked.address
        page = store.find(address, since=max(asked.since, self.begun))
        if page is not None and (page.content_type or not page.problem):  # kept for who asked for other types, perhaps
            _refuse_type(asked, page.content_type)
            page = None if page.problem else page
        if page is None:
            try:
                return self._follow(asked)
            except RefusedError as refusal:
                if refusal.lasting:
                    store.refuse(Page(address, address, refusal.kind, 0, self.clock.now(), problem=str(refusal)))
                raise
        if page.problem:
            raise RefusedError(page.problem, lasting=True)
        return page

    def _follow(self, asked: _Asked) -> Page:
        place = asked.address
        for _ in range(REDIRECTS + 1):
            host = split_address(place).hostname or ""
            self._refuse_left(host)
            delay = self.robots.delay(place) if asked.robots else 0.0
            pace = asked.pace or pace_of(host)
            answer = self._persist(asked, place, replace(pace, seconds=max(pace.seconds, delay)))
            if isinstance(answer, Page):
                return answer
            if not (is_private(host) if self.proxied else self.inside):
                self._refuse_inward(answer)
            place = answer
        raise RefusedError(f"more than {REDIRECTS} redirects", lasting=True)

    def _refuse_inward(self, place: str) -> None:
        host = split_address(place).hostname or ""
        if is_private(host):
            raise RefusedError(INWARD, lasting=True)
        self.outward.add(host)  # its name may lead elsewhere by the time it is asked

    def _connected(self, host: str, numbers: str) -> None:
        """Note where a request goes, which a proxy hides. Raises `RefusedError` before it is sent."""
        self.inside = is_private_address(numbers)
        if self.inside and host in self.outward and not self.proxied:
            raise RefusedError(INWARD, lasting=True)

    def _persist(self, asked: _Asked, place: str, pace: Pace) -> Page | str:
        """The page, or the address that it is redirected to, within the bounds of trying and waiting."""
        import httpx2

        host, pauses, waits = split_address(place).hostname or "", list(PAUSES), WAITS
        while True:
            self._refuse_left(host)
            try:
                return self._once(asked, place, pace)
            except (httpx2.InvalidURL, ValueError) as error:  # ValueError: no host in it, or one with too long a label
                raise RefusedError(f"address that cannot be used ({first_line(error)})", lasting=True) from None
            except _BusyError as error:
                if waits and error.seconds <= LONGEST_WAIT:
                    waits -= 1
                    self.clock.sleep(error.seconds)
                else:
                    self.left[host] = f"rate limit ({host} {error})"
            except (httpx2.RequestError, _FailingError) as error:
                reason = f"the server does not answer ({host}: {first_line(error)})"
                if pauses:
                    self.clock.sleep(pauses.pop(0))
                elif isinstance(error, httpx2.ConnectError):
                    self.left[host] = reason
                else:
                    raise RefusedError(reason, lasting=False) from None

    def _refuse_left(self, host: str) -> None:
        if host in self.left:
            raise RefusedError(self.left[host], lasting=False)

    def _once(self, asked: _Asked, place: str, pace: Pace) -> Page | str:
        import httpx2

        host = split_address(place).hostname or ""
        with self.pacer.turn(pace), Connection(lambda numbers: self._connected(host, numbers)) as connection:
            try:
                with self.client.stream("GET", place, extensions={"trace": connection.trace}) as answer:
                    return self._answered(asked, place, pace, answer, connection)
            except httpx2.RequestError:
                connection.refuse_late()
                raise

    def _answered(self, asked: _Asked, place: str, pace: Pace, answer: Response, connection: Connection) -> Page | str:
        if answer.has_redirect_location:
            return redirected(place, answer.headers["location"])
        self._refuse_status(answer, pace)
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower() or "(none)"
        _refuse_type(asked, kind)
        charset = answer.charset_encoding or ""
        page = Page(asked.address, place, kind, answer.status_code, self.clock.now(), charset=charset)
        return self._store(asked.robots).keep(page, pieces(answer, asked.most, connection))

    def _refuse_status(self, answer: Response, pace: Pace) -> None:
        status = answer.status_code
        if status == 403 and pace.name == ARXIV_PACE.name:  # what it answers those whom it blocks for a while
            raise _BusyError(math.inf, "blocks us, HTTP 403")
        if status == 429 or (status == 503 and "retry-after" in answer.headers):
            raise _BusyError(self._wait_asked(answer.headers.get("retry-after", "")))
        if status >= 500 or status == 408:
            raise _FailingError(f"HTTP {status}")
        if status != 200:
            raise RefusedError(f"{REFUSALS.get(status, 'refused')} (HTTP {status})", lasting=True)

    def _wait_asked(self, text: str) -> float:
        """Seconds of a Retry-After, which is a number or a date."""
        if text.strip().isdecimal():
            return float(text)
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - self.clock.now())
        except ValueError:
            return UNSTATED_WAIT

    def _rules(self, address: str) -> str:
        """A robots.txt, a day old at most; one that is refused is an empty one (RFC 9309)."""
        try:
            page = self._get(_Asked(address, robots=False, since=self.clock.now() - DAY, most=LONGEST))
        except RefusedError as refusal:
            if refusal.lasting:
                return ""
            self.left[split_address(address).hostname or ""] = reason = f"its robots.txt cannot be had: {refusal}"
            raise RefusedError(reason, lasting=False) from None
        return self.path(page, robots=False).read_text(encoding="utf-8-sig", errors="replace")


def _refuse_type(asked: _Asked, kind: str) -> None:
    if asked.types and kind not in asked.types:
        raise RefusedError(f"skipped: no reader for the content type {kind}", lasting=True, kind=kind)
