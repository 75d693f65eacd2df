"""A site on loopback whose pages a test decides, arXiv among them, and a clock that nobody waits for.

Not a test: test modules import it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from jobs.sources.arxiv_metadata import ArxivSite
from jobs.sources.clock import Clock
from jobs.sources.fetcher import Fetcher
from jobs.sources.net import Net
from jobs.sources.store import PageStore, RefusedError
from tests.documents_world import PROSE

CC_BY, NOT_OPEN = "http://creativecommons.org/licenses/by/4.0/", "http://arxiv.org/licenses/nonexclusive-distrib/1.0/"


class PatientClock(Clock):
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


@dataclass
class Reply:
    """What the site answers. `length` is the Content-Length stated, where it is not the true one.

    With `drip` the body is sent as it is, headers and all, and then that without end, a piece each 20 ms.
    """

    body: bytes = b""
    kind: str = "text/html; charset=utf-8"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    drip: bytes = b""


class DocumentSite(ThreadingHTTPServer):
    """Pages by path and query; a list of replies is answered one by one, the last for ever. Keeps every request."""

    def __init__(self, clock: PatientClock) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.clock = clock
        self.pages: dict[str, Reply | list[Reply]] = {}
        self.papers: dict[str, tuple[str, str]] = {}  # id with version: title and licence, "" for none
        self.asked: list[tuple[str, float]] = []  # path and time
        self.agents: set[str] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def net(self) -> Net:
        """arXiv at this site, and its clock."""
        return Net(ArxivSite(f"{self.address}/api", f"{self.address}/oai", self.address), self.clock)

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def answer(self, path: str) -> Reply:
        query = parse_qs(urlsplit(path).query)
        if path.startswith("/api?"):
            return Reply(self._feed(query["id_list"][0].split(",")).encode(), "application/atom+xml")
        if path.startswith("/oai?"):
            return Reply(self._record(query["identifier"][0].removeprefix("oai:arXiv.org:")).encode(), "text/xml")
        reply = self.pages.get(path, Reply(b"nothing here", status=404))
        if isinstance(reply, list):
            return reply.pop(0) if len(reply) > 1 else reply[0]
        return reply

    def _feed(self, ids: list[str]) -> str:
        entries = ""
        for asked in ids:
            known = [paper for paper in self.papers if paper == asked or paper.rpartition("v")[0] == asked]
            for paper in sorted(known)[-1:]:
                entries += (
                    f"<entry><id>http://arxiv.org/abs/{paper}</id><title>{self.papers[paper][0]}</title>"
                    "<updated>2024-02-03T10:00:00Z</updated><published>2023-01-02T17:59:59Z</published></entry>"
                )
        return f'<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"><title>q</title>{entries}</feed>'

    def _record(self, paper: str) -> str:
        licence = next(licence for known, (_, licence) in self.papers.items() if known.startswith(paper))
        stated = f"<license>{licence}</license>" if licence else ""
        return (
            '<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/"><GetRecord><record><header/><metadata>'
            f'<arXiv xmlns="http://arxiv.org/OAI/arXiv/"><id>{paper}</id>{stated}</arXiv></metadata></record>'
            "</GetRecord></OAI-PMH>"
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.server.clock.now()))
        self.server.agents.add(self.headers["User-Agent"])
        reply = self.server.answer(self.path)
        if reply.drip:
            return self._drip(reply)
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.kind)
        self.send_header("Content-Length", str(len(reply.body) if reply.length is None else reply.length))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)
        self.close_connection = reply.length is not None

    def _drip(self, reply: Reply) -> None:
        self.close_connection = True
        with suppress(OSError):  # until the other side has had enough
            self.wfile.write(reply.body)
            while True:
                self.wfile.write(reply.drip)
                time.sleep(0.02)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def running_site() -> Iterator[DocumentSite]:
    """A site that listens until the block ends."""
    server = DocumentSite(PatientClock())
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def article(number: int, title: str = "A post", extra: str = "") -> Reply:
    """A page of prose that differs by its number."""
    text = f"<p class=ltx_p>{PROSE['first']}</p><p>{PROSE['second']} This is article number {number} of the site.</p>"
    return Reply(
        f"<html><head><title>{title}</title>{extra}</head><body><article>{text}</article></body></html>".encode()
    )


def fetcher(site: DocumentSite, folder: Path, **options) -> Fetcher:
    """A client of the site's own clock, with its store in a folder."""
    return Fetcher(PageStore(folder), clock=site.clock, **options)


def refusal(client: Fetcher, address: str, **options) -> tuple[str, bool]:
    """Why an address is refused, and whether that lasts."""
    with pytest.raises(RefusedError) as refused:
        client.get(address, **options)
    return str(refused.value), refused.value.lasting
