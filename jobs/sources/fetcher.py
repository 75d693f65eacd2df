"""The one polite client: robots.txt, pauses, bounded retries, limits of size and time, and a store of what was fetched.

A refusal that asking again would not change is kept like a page. A server that refuses to be asked so often, or does
not answer, is left alone for the rest of the run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from jobs.errors import UserError, first_line
from jobs.readers import LARGEST
from jobs.sources.addresses import is_private, pace_of, redirected, split_address
from jobs.sources.clock import Clock, Pace, Pacer
from jobs.sources.robots import Robots
from jobs.sources.store import Page, PageStore, RefusedError

if TYPE_CHECKING:
    from httpx2 import Response

REDIRECTS = 5
PAUSES = (1.0, 4.0, 16.0)  # seconds before each further try of a server that fails
WAITS, LONGEST_WAIT, UNSTATED_WAIT = 2, 60.0, 15.0  # how often and long a server that asks for time is given it
SECONDS = 120.0  # for one document
DAY = 86_400.0
REFUSALS = {401: "behind a login", 403: "behind a login", 404: "not there", 410: "no longer there"}


class _BusyError(Exception):
    """The server asks to be left alone for so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"asks for a pause of {seconds:.0f} s")
        self.seconds = seconds


class _FailingError(Exception):
    """The server has an error of its own."""


@dataclass(frozen=True)
class _Asked:
    """One document: its address as named, the pace of its servers where it is set, and the types that can be read."""

    address: str
    pace: Pace | None
    robots: bool
    types: Collection[str]


class Fetcher:
    """Fetches pages into a store. Use it as a context manager; not for threads."""

    def __init__(self, store: PageStore, *, contact: str = "", clock: Clock | None = None, refresh: bool = False):
        import httpx2

        if not (contact.isascii() and contact.isprintable()):
            raise UserError(f"documents.contact: {contact!r} is no e-mail address; write one such as me@example.org")
        self.store, self.clock = store, clock or Clock()
        self.pacer, self.robots = Pacer(self.clock), Robots(self._rules)
        self.begun = self.clock.now() if refresh else 0.0
        self.left: dict[str, str] = {}  # a host that is asked no more, and why
        agent = f"Footnote/{version('footnote')}" + (f" (+{contact})" if contact else "")
        headers = {"User-Agent": agent, "Accept-Encoding": "gzip"}
        self.client = httpx2.Client(headers=headers, timeout=30, follow_redirects=False)

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def get(
        self,
        address: str,
        *,
        pace: Pace | None = None,
        robots: bool = True,
        types: Collection[str] = (),
        since: float = 0.0,
    ) -> Page:
        """The page at an address, from the store where it is there (and was fetched since then). Raises `RefusedError`.

        `pace` goes before the host's own; `types` are the content types that can be read (none: any). `robots` false
        is for interfaces that are made for programs and have terms of their own.
        """
        page = self.store.find(address, since=max(since, self.begun))
        if page is None:
            try:
                page = self._follow(_Asked(address, pace, robots, types))
            except RefusedError as refusal:
                if refusal.lasting:
                    self.store.refuse(Page(address, address, "", 0, self.clock.now(), problem=str(refusal)))
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
            if is_private(split_address(answer).hostname or "") and not is_private(host):
                raise RefusedError("redirected into a private network", lasting=True)
            place = answer
        raise RefusedError(f"more than {REDIRECTS} redirects", lasting=True)

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
        with self.pacer.turn(pace):
            end = self.clock.now() + SECONDS
            with self.client.stream("GET", place) as answer:
                if answer.has_redirect_location:
                    return redirected(place, answer.headers["location"])
                self._refuse_status(answer)
                kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
                if asked.types and kind not in asked.types:
                    raise RefusedError(f"skipped: no reader for the content type {kind or '(none)'}", lasting=True)
                page = Page(asked.address, place, kind, answer.status_code, self.clock.now())
                return self.store.keep(page, self._pieces(answer, end))

    def _refuse_status(self, answer: Response) -> None:
        status = answer.status_code
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

    def _pieces(self, answer: Response, end: float) -> Iterator[bytes]:
        """The body, unpacked, as long as it is neither too large nor too slow."""
        stated, size = answer.headers.get("content-length", ""), 0
        if stated.isdecimal():
            _refuse_large(int(stated))
        for piece in answer.iter_bytes():
            size += len(piece)
            if size > LARGEST:
                raise RefusedError(f"larger than {LARGEST // 1_000_000} MB", lasting=True)
            if self.clock.now() > end:
                raise RefusedError(f"slower than {SECONDS:.0f} s", lasting=False)
            yield piece

    def _rules(self, address: str) -> str:
        """A robots.txt, a day old at most; one that is refused is an empty one (RFC 9309)."""
        try:
            page = self.get(address, robots=False, since=self.clock.now() - DAY)
        except RefusedError as refusal:
            if refusal.lasting:
                return ""
            self.left[split_address(address).hostname or ""] = reason = f"its robots.txt cannot be had: {refusal}"
            raise RefusedError(reason, lasting=False) from None
        return self.store.path(page.address).read_text(encoding="utf-8", errors="replace")


def _refuse_large(size: int) -> None:
    if size > LARGEST:
        raise RefusedError(f"larger than {LARGEST // 1_000_000} MB ({size / 1_000_000:.0f} MB)", lasting=True)
