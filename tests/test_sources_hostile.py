"""Servers that mean no good: endless answers, robots.txt that is not what it looks like, names that change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.sources.addresses import is_private_address
from jobs.sources.fetcher import Fetcher
from jobs.sources.store import Page, PageStore
from jobs.sources.web import web_items
from tests.document_site import DocumentSite, Reply, article, fetcher, refusal, running_site

GZIP = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08" + bytes(6) + b"\x03"
RULES = b"User-agent: *\nDisallow: /secret\n"


@pytest.fixture
def site() -> Iterator[DocumentSite]:
    with running_site() as running:
        yield running


def problems(client: Fetcher, *addresses: str) -> list[str]:
    """Why each page is not taken; "" for one that is."""
    return [item.problem for item in web_items(addresses, client)]


@pytest.mark.parametrize(
    "endless",
    [
        Reply(b"HTTP/1.1 200 OK\r\nX-Long: ", drip=b"a"),
        Reply(GZIP, drip=b"\0\0\0\xff\xff"),  # empty blocks, which unpack to nothing
        Reply(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>whole without a length", drip=b"."),
    ],
    ids=["header", "empty blocks", "body"],
)
def test_an_answer_without_end_is_cut(site: DocumentSite, tmp_path: Path, monkeypatch, endless: Reply) -> None:
    monkeypatch.setattr("jobs.sources.connection.SECONDS", 0.2)
    site.pages["/endless"] = endless
    with fetcher(site, tmp_path) as client:
        assert refusal(client, f"{site.address}/endless") == ("slower than 0 s", False)
        assert client.store.find(f"{site.address}/endless") is None
        site.pages["/endless"] = article(1)
        client.get(f"{site.address}/endless")


def test_an_answer_packed_twice_is_not_unpacked(site: DocumentSite, tmp_path: Path) -> None:
    site.pages["/twice"] = Reply(b"x", headers={"Content-Encoding": "gzip, gzip"})
    with fetcher(site, tmp_path) as client:
        assert refusal(client, f"{site.address}/twice") == (
            "packed in a way that was not asked for (gzip, gzip)",
            True,
        )


@pytest.mark.parametrize("rules", [RULES + b"#" * 51_000_000, b"\xef\xbb\xbf" + RULES], ids=["51 MB", "mark"])
def test_robots_txt_is_obeyed_however_long_and_begun(site: DocumentSite, tmp_path: Path, rules: bytes) -> None:
    site.pages |= {"/robots.txt": Reply(rules, "text/plain"), "/secret": article(1), "/open": article(2)}
    with fetcher(site, tmp_path) as client:
        assert problems(client, f"{site.address}/secret", f"{site.address}/open") == [
            "robots.txt does not allow it",
            "",
        ]
    assert site.paths() == ["/robots.txt", "/open"]


def test_robots_txt_named_as_a_page_does_not_take_the_place_of_the_rules(site: DocumentSite, tmp_path: Path) -> None:
    site.pages |= {"/robots.txt": Reply(RULES, "application/octet-stream"), "/secret": article(1)}
    addresses = [f"{site.address}/robots.txt", f"{site.address}/secret"]
    expected = ["skipped: no reader for the content type application/octet-stream", "robots.txt does not allow it"]
    for order in (1, -1):
        folder = tmp_path / str(order)
        for _ in range(2):
            with fetcher(site, folder) as client:
                assert problems(client, *addresses[::order]) == expected[::order]


def test_types_are_looked_at_in_the_store_too(site: DocumentSite, tmp_path: Path) -> None:
    site.pages |= {"/data": Reply(b"\0", "application/octet-stream"), "/bare": Reply(b"x", "")}
    reason = "skipped: no reader for the content type application/octet-stream"
    with fetcher(site, tmp_path) as client:
        client.get(f"{site.address}/data")
        client.get(f"{site.address}/bare")
        assert problems(client, f"{site.address}/data", f"{site.address}/bare") == [
            reason,
            "skipped: no reader for the content type (none)",
        ]
        client.get(f"{site.address}/data")
    assert site.paths().count("/data") == 1
    with fetcher(site, tmp_path / "other") as client:
        assert problems(client, f"{site.address}/data") * 2 == [reason, reason]
        client.get(f"{site.address}/data")  # refused to others for its type alone
        assert client.store.find(f"{site.address}/data").problem == ""


def test_the_charset_that_a_server_states_is_kept(site: DocumentSite, tmp_path: Path) -> None:
    site.pages |= {"/a": Reply(b"caf\xe9", "text/plain; charset=ISO-8859-1"), "/b": Reply(b"x", "text/plain")}
    for _ in range(2):
        with fetcher(site, tmp_path) as client:
            items = list(web_items([f"{site.address}/a", f"{site.address}/b"], client))
        assert [item.charset.lower() for item in items] == ["iso-8859-1", ""]


def test_a_name_that_changes_after_it_was_looked_up_leads_nowhere(
    site: DocumentSite, tmp_path: Path, monkeypatch
) -> None:
    inward = f"http://localhost:{site.server_address[1]}/inside"
    site.pages |= {"/out": Reply(status=302, headers={"Location": inward}), "/inside": article(1)}
    with fetcher(site, tmp_path) as client:
        client.get(f"{site.address}/out")  # who names this machine may be sent on within it
    monkeypatch.setattr("jobs.sources.fetcher.is_private", lambda host: False)
    connected = []  # the first two to the site named, as if it were public
    monkeypatch.setattr("jobs.sources.fetcher.is_private_address", lambda _: connected.append(1) or len(connected) > 2)
    asked = len(site.asked)
    with fetcher(site, tmp_path / "other") as client:
        assert refusal(client, f"{site.address}/out") == ("redirected into a private network", True)
    assert (site.paths()[asked:], len(connected)) == (["/robots.txt", "/out"], 4)


def test_addresses_of_this_network() -> None:
    private = (
        "127.0.0.1 10.0.0.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 ::1 fe80::1%eth0 ff02::1 "
        "::ffff:127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 2002:7f00:1::"
    )
    assert [address for address in private.split() if not is_private_address(address)] == []
    public = "8.8.8.8 2001:4860:4860::8888 ::ffff:8.8.8.8 64:ff9b::808:808"
    assert [address for address in public.split() if is_private_address(address)] == []


def test_a_failure_leaves_the_page_that_was_there_and_old_remains_are_swept(tmp_path: Path) -> None:
    store, page = PageStore(tmp_path), Page("http://a.org/", "http://a.org/", "text/html", 200, 1.0)
    store.keep(page, [b"first"])

    def cut() -> Iterator[bytes]:
        yield b"second"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        store.keep(page, cut())
    assert store.find(page.address) is not None
    assert store.path(page.address).read_bytes() == b"first"
    old, new = (store.path(page.address).with_name(f"{name}.partial") for name in ("old", "new"))
    for partial in (old, new):
        partial.write_bytes(b"half")
    os.utime(old, (1.0, 1.0))
    with Fetcher(store):
        assert (old.exists(), new.exists()) == (False, True)
