"""Papers by id: what an id is, licence before text, the order of texts, versions, and the pause of 3 s."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from jobs.collect import collect
from jobs.config import Documents
from jobs.documents import DocumentText
from jobs.errors import UserError
from jobs.rejections import read_rejections
from jobs.sources.arxiv import arxiv_ids
from jobs.sources.arxiv_ids import parse_id
from qa.records import Passage, read_records
from tests.document_site import CC_BY, NOT_OPEN, DocumentSite, Reply, article, running_site
from tests.documents_world import LATEX, PDF_LINES, pdf

BARE_LATEX = "\n".join(line for line in LATEX.splitlines() if not line.startswith("%") and "\\input" not in line)


@pytest.fixture
def site() -> Iterator[DocumentSite]:
    with running_site() as running:
        yield running


def gather(site: DocumentSite, folder: Path, *ids: str, **settings):
    """Documents by id, (stage, reason) by name, and the step's figures."""
    documents = Documents(arxiv=ids, cache=str(folder / "cache"), passage_min_chars=40, **settings)
    record, _ = collect(folder / "out", documents=documents, net=site.net)
    taken = {entry.document: entry for entry in read_records(folder / "out" / "documents.jsonl", DocumentText)}
    rejected = {row.name: (row.stage, row.reason) for row in read_rejections(folder / "out" / "rejected.parquet")}
    return taken, rejected, record.figures


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2106.09685", "2106.09685"),
        ("arXiv:2106.09685v2", "2106.09685v2"),
        ("0704.0001", "0704.0001"),
        ("cs/0112017", "cs/0112017"),
        ("math.GT/0309136v1", "math/0309136v1"),
        ("https://arxiv.org/abs/2106.09685", "2106.09685"),
        ("http://www.arxiv.org/pdf/2106.09685v1.pdf", "2106.09685v1"),
        ("https://arxiv.org/html/2106.09685v2#S1", "2106.09685v2"),
        ("export.arxiv.org/abs/cs/0112017", "cs/0112017"),
    ],
)
def test_spellings_of_an_id(text: str, read: str) -> None:
    assert str(parse_id(text)) == read


def test_what_is_no_id_is_named_with_its_file_and_line(tmp_path: Path) -> None:
    for text in ("2106.0968", "2106.09685v0", "lora", "https://example.org/abs/2106.09685", "2106.09685&x=1"):
        assert parse_id(text) is None, text
    listed = tmp_path / "ids.txt"
    listed.write_text("# papers\n2106.09685  # LoRA\n\ncs/0112017\n")
    assert [str(found) for found in arxiv_ids(["1706.03762", str(listed)])] == [
        "1706.03762",
        "2106.09685",
        "cs/0112017",
    ]
    listed.write_text("2106.09685\n\nnot one\n")
    with pytest.raises(UserError, match=r"ids\.txt, line 3: 'not one' is not an arXiv id such as 2106\.09685$"):
        arxiv_ids([str(listed)])
    with pytest.raises(UserError, match=r"^21060: neither an arXiv id such as 2106\.09685 nor a file with one a line$"):
        arxiv_ids(["21060"])
    listed.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"ids\.txt: cannot be read as a list"):
        arxiv_ids([str(listed)])


def test_html_goes_before_source_and_source_before_pdf(site: DocumentSite, tmp_path: Path) -> None:
    for number in range(1, 6):
        site.papers[f"2301.0000{number}v{number}"] = (f"Paper\n  {number}", CC_BY)
    site.pages |= {
        "/html/2301.00001v1": article(1),
        "/src/2301.00001v1": Reply(status=500),
        "/src/2301.00002v2": Reply(gzip.compress(BARE_LATEX.encode()), "application/gzip"),
        "/src/2301.00003v3": Reply(pdf([PDF_LINES]), "application/pdf"),
        "/pdf/2301.00004v4": Reply(
            pdf([[*PDF_LINES[:2], (12, False, "Another line of prose.", 14), *PDF_LINES[3:]]]), "application/pdf"
        ),
    }
    taken, rejected, figures = gather(site, tmp_path, *(f"2301.0000{number}" for number in range(1, 7)))
    assert {name: entry.format for name, entry in taken.items()} == {
        "arxiv:2301.00001": "html",
        "arxiv:2301.00002": "latex_source",
        "arxiv:2301.00003": "pdf",
        "arxiv:2301.00004": "pdf",
    }
    second = taken["arxiv:2301.00002"]
    assert (second.title, second.licence, second.date) == ("Paper 2", "CC-BY-4.0", "2023-01-02")
    assert second.source == "https://arxiv.org/abs/2301.00002v2"
    assert "LoRA is a fine-tuning method" in second.text
    nowhere = "no text to be had (html not there (HTTP 404); src not there (HTTP 404); pdf not there (HTTP 404))"
    assert rejected == {
        "arxiv:2301.00005": ("fetch", nowhere),
        "arxiv:2301.00006": ("fetch", "unknown to arXiv"),
    }
    assert figures["documents_by_source"] == {"arxiv": 4}
    assert "/src/2301.00001v1" not in site.paths()
    assert all(
        p.source.startswith("https://arxiv.org/abs/") for p in read_records(tmp_path / "out/passages.jsonl", Passage)
    )


def test_requests_to_arxiv_are_three_seconds_apart_and_not_repeated(site: DocumentSite, tmp_path: Path) -> None:
    site.papers |= {"2301.00001v1": ("One", CC_BY), "cs/0112017v1": ("Two", CC_BY)}
    site.pages |= {"/html/2301.00001v1": article(1), "/pdf/cs/0112017v1": Reply(pdf([PDF_LINES]), "application/pdf")}
    taken, *_ = gather(site, tmp_path, "2301.00001", "cs/0112017")
    assert set(taken) == {"arxiv:2301.00001", "arxiv:cs/0112017"}
    arxiv = [when for path, when in site.asked if path != "/robots.txt"]
    assert len(arxiv) == 7  # metadata of both, a licence each, one page, and two that are not there before the PDF
    assert min(later - earlier for earlier, later in pairwise(arxiv)) >= 3.0
    asked = len(site.asked)
    gather(site, tmp_path, "2301.00001", "cs/0112017")
    gather(site, tmp_path, "2301.00001", "cs/0112017", languages=("en", "de"))  # done again, from the store
    assert len(site.asked) == asked


def test_a_paper_under_a_licence_not_on_the_list_is_never_fetched(site: DocumentSite, tmp_path: Path) -> None:
    site.papers |= {"2301.00001v1": ("Open", CC_BY), "2301.00002v1": ("Closed", NOT_OPEN), "2301.00003v1": ("None", "")}
    site.pages |= {f"/html/2301.0000{number}v1": article(number) for number in (1, 2, 3)}
    taken, rejected, figures = gather(site, tmp_path, "2301.00001", "2301.00002", "2301.00003")
    assert set(taken) == {"arxiv:2301.00001"}
    assert rejected == {
        "arxiv:2301.00002": ("licence", "licence not on the list (arXiv-nonexclusive-distrib-1.0)"),
        "arxiv:2301.00003": ("licence", "states no licence"),
    }
    assert [path for path in site.paths() if path.startswith("/html")] == ["/html/2301.00001v1"]
    assert {"filter": "licence", "given": 3, "taken": 2, "left": 1} in figures["funnel"]
    wide = ("CC-BY-4.0", "arXiv-nonexclusive-distrib-1.0")
    taken, rejected, _ = gather(site, tmp_path, "2301.00002", "2301.00003", licences=wide, unstated="all")
    assert ({name: entry.licence for name, entry in taken.items()}, rejected) == (
        {"arxiv:2301.00002": wide[1], "arxiv:2301.00003": ""},
        {},
    )


def test_two_versions_of_a_paper_have_two_ids(site: DocumentSite, tmp_path: Path) -> None:
    site.papers |= {"2301.00001v1": ("First", CC_BY), "2301.00001v2": ("Second", CC_BY)}
    site.pages |= {"/html/2301.00001v1": article(1), "/html/2301.00001v2": article(2)}
    taken, rejected, _ = gather(site, tmp_path, "2301.00001v1", "2301.00001")
    assert {name: entry.title for name, entry in taken.items()} == {
        "arxiv:2301.00001v1": "First",
        "arxiv:2301.00001v2": "Second",
    }
    assert rejected == {}
    taken, rejected, _ = gather(site, tmp_path, "2301.00001v2", "arXiv:2301.00001")
    assert set(taken) == {"arxiv:2301.00001"}
    reason = "another document has this id (https://arxiv.org/abs/2301.00001v2)"
    assert rejected == {"arxiv:2301.00001": ("id", reason)}


def test_an_interface_that_fails_is_the_papers_reason(site: DocumentSite, tmp_path: Path) -> None:
    site.papers["2301.00001v1"] = ("One", CC_BY)
    site.pages["/html/2301.00001v1"] = article(1)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("A text of this machine is read although arXiv fails, as it has to be.")
    answer = site.answer
    site.answer = lambda path: Reply(b"<feed", "text/xml") if path.startswith("/api") else answer(path)
    _, rejected, _ = gather(site, tmp_path, "2301.00001", paths=(str(tmp_path / "docs"),))
    assert rejected == {"arxiv:2301.00001": ("fetch", "metadata cannot be had: arXiv's answer is not XML")}
    site.answer = lambda path: Reply(status=503) if path.startswith("/oai") else answer(path)
    _, rejected, _ = gather(site, tmp_path / "2", "2301.00001", paths=(str(tmp_path / "docs"),))
    assert rejected["arxiv:2301.00001"][1] == "the server does not answer (127.0.0.1: HTTP 503)"
    entity = b'<!DOCTYPE f [<!ENTITY e SYSTEM "file:///etc/passwd">]><feed xmlns="http://www.w3.org/2005/Atom">' + (
        b"<entry><id>http://arxiv.org/abs/2301.00001v1</id><title>&e;root</title></entry></feed>"
    )
    site.answer = lambda path: Reply(entity, "text/xml") if path.startswith("/api") else answer(path)
    taken, _, _ = gather(site, tmp_path / "3", "2301.00001")
    assert taken["arxiv:2301.00001"].title in ("", "A post", "2301")


def test_what_a_busy_arxiv_answers_is_asked_for_again(site: DocumentSite, tmp_path: Path) -> None:
    site.papers["2301.00001v1"] = ("One", CC_BY)
    site.pages["/html/2301.00001v1"] = article(1)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("A text of this machine is read although arXiv is busy, as it has to be.")
    answer = site.answer
    for path, busy, reason in (
        ("/api", b"<html>Rate exceeded.</html><p>", "metadata cannot be had: arXiv's answer is not XML"),
        ("/api", b'<feed xmlns="x"></feed>', "metadata cannot be had: arXiv has no entry of it, or is busy"),
        (
            "/oai",
            b'<OAI-PMH xmlns="x"><error code="e">later</error></OAI-PMH>',
            "arXiv has no record of it, or is busy",
        ),
        ("/html", b"<html>Rate exceeded.</html>", "no text to be had (html without its text; src not there"),
    ):
        site.answer = lambda at, busy=busy, path=path: Reply(busy) if at.startswith(path) else answer(at)
        folder = tmp_path / str(len(site.asked))
        _, rejected, _ = gather(site, folder, "2301.00001", paths=(str(tmp_path / "docs"),))
        assert rejected["arxiv:2301.00001"][1].startswith(reason)
        site.answer = answer
        taken, rejected, _ = gather(site, folder, "2301.00001", paths=(str(tmp_path / "docs"),))
        assert (set(taken), rejected) == ({"a.txt", "arxiv:2301.00001"}, {})


def test_html_without_its_text_goes_behind_the_source(site: DocumentSite, tmp_path: Path) -> None:
    site.papers["2301.00001v1"] = ("One", CC_BY)
    failed = b'<html><body><article class="ltx_document"><h1 class="ltx_title">One</h1></article></body></html>'
    site.pages["/html/2301.00001v1"] = Reply(failed)
    site.pages["/src/2301.00001v1"] = Reply(b"<!DOCTYPE html><p>Rate exceeded.")
    site.pages["/pdf/2301.00001v1"] = Reply(pdf([PDF_LINES]), "application/pdf")
    assert gather(site, tmp_path, "2301.00001")[0]["arxiv:2301.00001"].format == "pdf"
    asked = len(site.asked)
    site.pages["/src/2301.00001v1"] = Reply(gzip.compress(BARE_LATEX.encode()), "application/gzip")
    taken, *_ = gather(site, tmp_path, "2301.00001")
    assert taken["arxiv:2301.00001"].format == "latex_source"
    assert site.paths()[asked:] == ["/src/2301.00001v1"]


def test_an_arxiv_that_blocks_is_left_alone_but_not_for_ever(site: DocumentSite, tmp_path: Path) -> None:
    site.papers |= {"2301.00001v1": ("One", CC_BY), "2301.00002v1": ("Two", CC_BY)}
    site.pages |= {"/html/2301.00001v1": Reply(status=403), "/html/2301.00002v1": article(2)}
    with pytest.raises(UserError, match=r"no passage found in 2 documents; rate limit: 2; the first is arxiv:"):
        gather(site, tmp_path, "2301.00001", "2301.00002")
    site.pages["/html/2301.00001v1"] = article(1)
    taken, rejected, _ = gather(site, tmp_path, "2301.00001", "2301.00002")
    assert (set(taken), rejected) == ({"arxiv:2301.00001", "arxiv:2301.00002"}, {})
