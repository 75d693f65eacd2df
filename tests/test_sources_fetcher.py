"""The polite client: pauses, robots.txt, retries, limits, and a store in which a kill leaves nothing half."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from jobs.errors import UserError
from jobs.sources.addresses import ARXIV_PACE, pace_of
from jobs.sources.fetcher import Fetcher
from jobs.sources.store import PageStore
from tests.document_site import DocumentSite, Reply, article, fetcher, refusal, running_site

ROOT = Path(__file__).parents[1]


@pytest.fixture
def site() -> Iterator[DocumentSite]:
    with running_site() as running:
        yield running


def test_a_page_is_fetched_once_and_never_again(site: DocumentSite, tmp_path: Path) -> None:
    site.pages["/post"] = article(1)
    for _ in range(2):
        with fetcher(site, tmp_path, contact="me@example.org") as client:
            page = client.get(f"{site.address}/post")
            assert client.store.path(page.address).read_bytes() == site.pages["/post"].body
            assert refusal(client, f"{site.address}/gone") == ("not there (HTTP 404)", True)
    assert site.paths() == ["/robots.txt", "/post", "/gone"]
    assert site.agents == {"Footnote/0.1.0 (+me@example.org)"}
    with fetcher(site, tmp_path, refresh=True) as client:
        site.pages["/post"] = article(2)
        for _ in range(2):
            assert b"number 2" in client.store.path(client.get(f"{site.address}/post").address).read_bytes()
    assert site.paths()[3:] == ["/robots.txt", "/post"]


def test_requests_to_one_host_keep_their_pause(site: DocumentSite, tmp_path: Path) -> None:
    site.pages |= {f"/{number}": article(number) for number in range(4)}
    with fetcher(site, tmp_path) as client:
        for number in range(4):
            client.get(f"{site.address}/{number}")
    times = [when for _, when in site.asked]
    assert [later - earlier for earlier, later in pairwise(times)] == [1.0] * 4
    assert pace_of("example.org").seconds == 1.0
    assert pace_of("arxiv.org") == pace_of("export.arxiv.org") == ARXIV_PACE
    assert pace_of("notarxiv.org").name == "notarxiv.org"


def test_robots_txt_is_obeyed_and_its_delay_kept(site: DocumentSite, tmp_path: Path) -> None:
    rules = b"User-agent: *\nDisallow: /\n\nUser-agent: footnote\nCrawl-delay: 7\nDisallow: /private\n"
    site.pages |= {"/robots.txt": Reply(rules, "text/plain"), "/a": article(1), "/b": article(2)}
    with fetcher(site, tmp_path) as client:
        client.get(f"{site.address}/a")
        client.get(f"{site.address}/b")
        assert refusal(client, f"{site.address}/private/x") == ("robots.txt does not allow it", True)
    assert site.paths() == ["/robots.txt", "/a", "/b"]
    assert site.asked[2][1] - site.asked[1][1] == 7.0
    site.clock.time += 86_401
    with fetcher(site, tmp_path) as client:
        assert refusal(client, f"{site.address}/private/x") == ("robots.txt does not allow it", True)  # kept
        client.get(f"{site.address}/a")
        assert refusal(client, f"{site.address}/private/y")[0] == "robots.txt does not allow it"
    assert site.paths()[3:] == ["/robots.txt"]  # a day later asked for once more
    site.pages["/robots.txt"] = Reply(b"User-agent: *\nCrawl-delay: 3600\n")
    with fetcher(site, tmp_path / "other") as client:
        assert refusal(client, f"{site.address}/a") == ("robots.txt wants longer pauses than 60 s (3600 s)", True)


def test_a_host_whose_robots_txt_fails_is_left_alone(site: DocumentSite, tmp_path: Path) -> None:
    site.pages["/robots.txt"] = Reply(status=500)
    with fetcher(site, tmp_path) as client:
        reason = "its robots.txt cannot be had: the server does not answer (127.0.0.1: HTTP 500)"
        assert refusal(client, f"{site.address}/a") == refusal(client, f"{site.address}/b") == (reason, False)
    assert site.paths() == ["/robots.txt"] * 4


def test_a_failing_server_is_tried_again_with_growing_pauses(site: DocumentSite, tmp_path: Path) -> None:
    site.pages["/a"] = [Reply(status=502), Reply(b"cut", length=100), article(1)]
    site.pages["/b"] = Reply(status=500)
    with fetcher(site, tmp_path) as client:
        client.get(f"{site.address}/a")
        assert refusal(client, f"{site.address}/b") == ("the server does not answer (127.0.0.1: HTTP 500)", False)
        site.pages["/b"] = article(2)
        client.get(f"{site.address}/b")  # what may pass was not kept
    assert site.paths().count("/a") == 3
    assert [pause for pause in site.clock.slept if pause > 1] == [4.0, 4.0, 16.0]


def test_a_host_that_nobody_answers_at_is_asked_for_one_page_only(site: DocumentSite, tmp_path: Path) -> None:
    with fetcher(site, tmp_path) as client:
        first = refusal(client, "http://127.0.0.1:1/a")
        slept = len(site.clock.slept)
        assert first == refusal(client, "http://127.0.0.1:1/b")
    assert first[0].startswith("its robots.txt cannot be had: the server does not answer (127.0.0.1")
    assert (slept, len(site.clock.slept), first[1]) == (3, 3, False)


def test_a_rate_limit_is_waited_for_within_bounds(site: DocumentSite, tmp_path: Path) -> None:
    busy = Reply(status=429, headers={"Retry-After": "30"})
    site.pages |= {"/a": [busy, busy, article(1)], "/b": busy, "/c": article(3)}
    with fetcher(site, tmp_path) as client:
        client.get(f"{site.address}/a")
        assert site.clock.slept[-2:] == [30.0, 30.0]
        reason = ("rate limit (127.0.0.1 asks for a pause of 30 s)", False)
        assert refusal(client, f"{site.address}/b") == refusal(client, f"{site.address}/c") == reason
    assert (site.paths().count("/b"), site.paths().count("/c")) == (3, 0)
    site.pages["/b"] = Reply(status=503, headers={"Retry-After": "3600"})
    with fetcher(site, tmp_path) as client:
        asked = len(site.asked)
        assert refusal(client, f"{site.address}/b")[0] == "rate limit (127.0.0.1 asks for a pause of 3600 s)"
        assert len(site.asked) == asked + 1
    with fetcher(site, tmp_path) as client:
        site.pages["/b"] = [Reply(status=429, headers={"Retry-After": "Tue, 14 Nov 2000 00:00:00 GMT"}), article(2)]
        client.get(f"{site.address}/b")


def test_redirects_are_followed_to_a_bound_and_to_the_web_alone(
    site: DocumentSite, tmp_path: Path, monkeypatch
) -> None:
    def to(place: str) -> Reply:
        return Reply(status=302, headers={"Location": place})

    site.pages |= {"/old": to("/new"), "/new": article(1), "/loop": to("/loop"), "/file": to("file:///etc/passwd")}
    site.pages |= {"/hidden": to("/robots-say-no"), "/robots.txt": Reply(b"User-agent: *\nDisallow: /robots-say-no")}
    with fetcher(site, tmp_path) as client:
        assert client.get(f"{site.address}/old").final == f"{site.address}/new"
        assert refusal(client, f"{site.address}/loop") == ("more than 5 redirects", True)
        assert refusal(client, f"{site.address}/file") == ("neither http nor https (file)", True)
        for place in ("http://[", "http://a..b/", f"http://{'a' * 70}.org/", "//:0", "http://x:99999/", "http://a b/"):
            site.pages["/odd"] = to(place)
            assert isinstance(refusal(client, f"{site.address}/odd")[0], str), place
            client.store.path(f"{site.address}/odd").with_suffix(".json").unlink(missing_ok=True)
        assert refusal(client, f"{site.address}/hidden")[0] == "robots.txt does not allow it"
        site.pages["/inward"] = to(f"http://localhost:{site.server_address[1]}/new")
        monkeypatch.setattr("jobs.sources.fetcher.is_private", lambda host: host == "localhost")
        monkeypatch.setattr("jobs.sources.fetcher.is_private_address", lambda numbers: False)  # as if it were public
        assert refusal(client, f"{site.address}/inward") == ("redirected into a private network", True)
    assert site.paths().count("/loop") == 6


def test_what_is_too_large_too_slow_or_unreadable_is_refused(site: DocumentSite, tmp_path: Path, monkeypatch) -> None:
    site.pages |= {"/stated": Reply(b"x", length=500_000_000), "/film": Reply(b"x", "video/mp4"), "/long": article(1)}
    site.pages["/secret"] = Reply(status=403)
    with fetcher(site, tmp_path) as client:
        assert refusal(client, f"{site.address}/stated") == ("larger than 50 MB (500 MB)", True)
        film = refusal(client, f"{site.address}/film", types={"text/html"})
        assert film == ("skipped: no reader for the content type video/mp4", True)
        assert refusal(client, f"{site.address}/secret") == ("behind a login (HTTP 403)", True)
        monkeypatch.setattr("jobs.sources.connection.SECONDS", -1.0)
        assert refusal(client, f"{site.address}/long") == ("slower than -1 s", False)
        monkeypatch.undo()
        monkeypatch.setattr("jobs.sources.body.LARGEST", 100)
        site.pages["/long"].headers["X"] = "1"
        assert refusal(client, f"{site.address}/long")[0].startswith("larger than 0 MB")
    assert [path for path in tmp_path.rglob("*") if path.suffix == ".partial"] == []


def test_an_address_of_a_contact_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"documents\.contact: 'a\\nb' is no e-mail address"):
        Fetcher(PageStore(tmp_path), contact="a\nb")


def test_a_page_cut_or_changed_on_disk_is_fetched_again(site: DocumentSite, tmp_path: Path) -> None:
    site.pages["/a"] = article(1)
    with fetcher(site, tmp_path) as client:
        path = client.store.path(client.get(f"{site.address}/a").address)
        for damage in (
            lambda: path.write_bytes(b"half"),
            path.unlink,
            lambda: path.with_suffix(".json").write_text("{"),
        ):
            damage()
            client.get(f"{site.address}/a")
            assert path.read_bytes() == site.pages["/a"].body
            assert json.loads(path.with_suffix(".json").read_text())["status"] == 200
    assert site.paths().count("/a") == 4


def test_a_kill_in_the_middle_of_a_page_leaves_nothing_whole(site: DocumentSite, tmp_path: Path) -> None:
    site.pages |= {"/first": article(1), "/second": Reply(b"half of it", length=1_000_000)}
    site.pages["/second"].body += b" " * 200_000
    script = f"""
        from pathlib import Path
        from jobs.sources import store, fetcher
        pieces = fetcher.pieces
        def slowly(answer, *rest):
            for piece in pieces(answer, *rest):
                yield piece
                if b"half" in piece:
                    print("in the middle", flush=True)
                    __import__("time").sleep(60)
        fetcher.pieces = slowly
        client = fetcher.Fetcher(store.PageStore(Path({str(tmp_path)!r})))
        client.get("{site.address}/first")
        client.get("{site.address}/second")
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"in the middle\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    site.clock.time = time.time()
    store = PageStore(tmp_path)
    assert store.find(f"{site.address}/first") is not None
    assert store.find(f"{site.address}/second") is None
    site.pages["/second"] = article(2)
    asked = len(site.asked)
    with fetcher(site, tmp_path) as client:
        client.get(f"{site.address}/first")
        client.get(f"{site.address}/second")
    assert site.paths()[asked:] == ["/second"]
    assert store.path(f"{site.address}/second").read_bytes() == site.pages["/second"].body
