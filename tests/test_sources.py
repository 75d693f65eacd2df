"""The web, the Hub and all sources together, as `collect` takes them: ids, reasons, and nothing asked for twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.collect import collect
from jobs.config import Documents
from jobs.documents import DocumentText
from jobs.errors import UserError
from jobs.rejections import read_rejections
from jobs.sources.hub_papers import HubPapers, _item
from jobs.sources.web import web_addresses
from local_hub.seeding import seed_all
from local_hub.testing import RunningHub, running_hub
from qa.records import read_records
from tests.document_site import CC_BY, DocumentSite, Reply, article, running_site
from tests.documents_world import PDF_LINES, PROSE, pdf

ROOT = Path(__file__).parents[1]
LICENCE = f'<link rel="license" href="{CC_BY}">'
GERMAN = (
    "Große Sprachmodelle werden heute meist mit wenigen zusätzlichen Gewichten angepasst, weil das vollständige "
    "Training teuer ist. Die ursprünglichen Gewichte bleiben dabei unverändert, und nur kleine Matrizen lernen etwas. "
    "Das Verfahren wurde im Jahr 2021 von Forschern vorgestellt und ist seitdem weit verbreitet."
)


@pytest.fixture
def site() -> Iterator[DocumentSite]:
    with running_site() as running:
        yield running


def gather(folder: Path, site: DocumentSite | None = None, **settings):
    """Documents by id, (stage, reason) by name, and the step's figures."""
    documents = Documents(**{"cache": str(folder / "cache"), "passage_min_chars": 40, **settings})
    record, _ = collect(folder / "out", documents=documents, net=site.net if site else None)
    taken = {entry.document: entry for entry in read_records(folder / "out" / "documents.jsonl", DocumentText)}
    rejected = {row.name: (row.stage, row.reason) for row in read_rejections(folder / "out" / "rejected.parquet")}
    return taken, rejected, record.figures


def test_addresses_are_named_one_by_one_or_in_files(tmp_path: Path) -> None:
    listed = tmp_path / "pages.txt"
    listed.write_text("# blogs\nhttps://a.org/x#part # the first\nhttp://b.org/y?z=1\n")
    assert web_addresses([str(listed), "https://c.org"]) == ["https://a.org/x", "http://b.org/y?z=1", "https://c.org"]
    for wrong in ("ftp://a.org/x", "a.org/x", "https://", "http://a.org/a b"):
        listed.write_text(f"https://a.org\n{wrong}\n")
        with pytest.raises(UserError, match=r"pages\.txt, line 2: '.*' is not a web address"):
            web_addresses([str(listed)])
    with pytest.raises(UserError, match=r"^a\.org: an address with a name or a password in it"):
        web_addresses(["https://me:secret@a.org/x"])


def test_pages_that_cannot_be_used_are_listed_and_the_rest_is_taken(site: DocumentSite, tmp_path: Path) -> None:
    login = b'<html><body><h1>Sign in</h1><form><input name=u><input type="password" name=p></form></body></html>'
    site.pages |= {
        "/robots.txt": Reply(b"User-agent: *\nDisallow: /members\n", "text/plain"),
        "/post": article(1, "A post on LoRA", LICENCE + "<script>alert('never in a passage')</script>"),
        "/notes": Reply(f"# Notes\n\n{PROSE['first']} These are notes.\n".encode(), "text/markdown"),
        "/raw/notes.md": Reply(f"## Raw\n\n{PROSE['second']} These are raw.\n".encode(), "text/plain; charset=utf-8"),
        "/paper": Reply(pdf([PDF_LINES]), "application/pdf"),
        "/paid": Reply(status=401),
        "/login": Reply(login),
        "/members/page": article(2, extra=LICENCE),
        "/large": Reply(b"x", length=500_000_000),
        "/film": Reply(b"x", "video/mp4"),
        "/german": Reply(f"<html><head>{LICENCE}</head><body><p>{GERMAN}</p></body></html>".encode()),
        "/closed": article(3, extra='<link rel="license" href="https://creativecommons.org/licenses/by-nc-nd/4.0/">'),
        "/broken": Reply(b"%PDF-1.4 and then nothing", "application/pdf"),
        "/locked": Reply(pdf([[(12, False, "Nobody may read this.", 14)]], encrypted=True), "application/pdf"),
        "/drawing": Reply(pdf([[]]), "application/pdf"),
        "/moved": Reply(status=301, headers={"Location": "/post"}),
        "/busy": Reply(status=429, headers={"Retry-After": "600"}),
    }
    paths = [path for path in site.pages if path != "/robots.txt"]
    listed = tmp_path / "pages.txt"
    listed.write_text("\n".join(f"{site.address}{path}" for path in [*paths[:-1], "/nowhere", "/post", "/busy"]))
    taken, rejected, figures = gather(tmp_path, site, urls=(str(listed),), unstated="all")
    host = site.address.removeprefix("http://")
    assert {name.removeprefix(host): entry.format for name, entry in taken.items()} == {
        "/post": "html",
        "/notes": "markdown",
        "/raw/notes.md": "markdown",
        "/paper": "pdf",
    }
    post = taken[f"{host}/post"]
    assert (post.title, post.licence, post.source) == ("A post on LoRA", "CC-BY-4.0", f"{site.address}/post")
    assert "never in a passage" not in post.text
    reasons = {name.removeprefix(host): found for name, found in rejected.items()}
    assert {name: found[0] for name, found in reasons.items()} == {
        **dict.fromkeys(("/paid", "/members/page", "/large", "/film", "/nowhere", "/busy"), "fetch"),
        **dict.fromkeys(("/login", "/broken", "/locked", "/drawing"), "read"),
        **{"/german": "language", "/closed": "licence", "/post": "id", "/moved": "twin"},
    }
    assert {name: found[1].split(" (")[0] for name, found in reasons.items()} == {
        "/paid": "behind a login",
        "/members/page": "robots.txt does not allow it",
        "/large": "larger than 50 MB",
        "/film": "skipped: no reader for the content type video/mp4",
        "/nowhere": "not there",
        "/busy": "rate limit",
        "/login": "behind a login",
        "/broken": "broken, or not a PDF",
        "/locked": "encrypted: needs a password",
        "/drawing": "no text in it",
        "/german": "in another language",
        "/closed": "licence not on the list",
        "/post": "another document has this id",
        "/moved": "duplicate: same text as another document",
    }
    assert reasons["/german"][1].endswith("(de)")
    assert reasons["/closed"][1].endswith("(CC-BY-NC-ND-4.0)")
    assert figures["documents_by_source"] == {"web": 4}
    assert figures["rejected"] == len(rejected) == 14
    assert figures["funnel"][0] == {"filter": "fetch", "given": 18, "taken": 6, "left": 12}
    assert figures["funnel"][-1]["left"] == 4
    asked = len(site.asked)
    assert gather(tmp_path, site, urls=(str(listed),), unstated="all")[2] == figures
    assert site.paths()[asked:] == ["/busy"]  # the only one that another time could give


def test_pages_without_a_licence_are_taken_as_configured(site: DocumentSite, tmp_path: Path) -> None:
    site.pages |= {"/a": article(1), "/b": article(2, extra=LICENCE)}
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "own.txt").write_text(f"{PROSE['first']} This is a text of one's own.")
    host = site.address.removeprefix("http://")
    named = {"urls": (f"{site.address}/a", f"{site.address}/b"), "paths": (str(tmp_path / "docs"),)}
    for rule, left_out in (("local", {f"{host}/a"}), ("all", set()), ("none", {f"{host}/a", "own.txt"})):
        taken, rejected, _ = gather(tmp_path, site, unstated=rule, **named)
        assert rejected == dict.fromkeys(left_out, ("licence", "states no licence")), rule
        assert set(taken) == {f"{host}/a", f"{host}/b", "own.txt"} - left_out


def test_the_configured_licence_is_not_put_on_other_peoples_pages(site: DocumentSite, tmp_path: Path) -> None:
    site.pages["/a"] = article(1)
    (tmp_path / "own.txt").write_text(f"{PROSE['first']} This is a text of one's own.")
    named = {"urls": (f"{site.address}/a",), "paths": (str(tmp_path / "own.txt"),), "licence": "CC-BY-4.0"}
    taken, rejected, _ = gather(tmp_path, site, **named)
    assert {name: entry.licence for name, entry in taken.items()} == {"own.txt": "CC-BY-4.0"}
    assert list(rejected.values()) == [("licence", "states no licence")]
    taken, _, _ = gather(tmp_path, site, unstated="all", **named)
    assert sorted(entry.licence for entry in taken.values()) == ["", "CC-BY-4.0"]


def test_a_page_is_read_in_the_charset_that_its_server_states(site: DocumentSite, tmp_path: Path) -> None:
    site.pages["/a"] = Reply(f"{PROSE['first']} Caf\xe9.".encode("latin-1"), "text/plain; charset=iso-8859-1")
    taken, rejected, _ = gather(tmp_path, site, urls=(f"{site.address}/a",), unstated="all")
    assert rejected == {}
    assert next(iter(taken.values())).text.rstrip().endswith("Caf\xe9.")


def test_a_paper_of_the_hub_may_lack_its_sections() -> None:
    papers = HubPapers("ai/qasper", "main", "1", "MIT")
    names, texts = ["Method", "End"], [None, ["Some text."]]
    for value, text in (
        ({"section_name": None, "paragraphs": None}, ""),
        ({"section_name": names, "paragraphs": texts}, "## Method\n\n## End\n\nSome text."),
    ):
        assert _item({"full_text": value}, 0, papers).text == text


def test_a_kill_while_fetching_goes_on_where_it_stood(site: DocumentSite, tmp_path: Path) -> None:
    site.pages |= {f"/{number}": article(number) for number in range(3)}
    answer = site.answer

    def kill(path: str) -> Reply:
        if path == "/2":
            process.kill()
        return answer(path)

    site.answer = kill
    command = [sys.executable, "-m", "jobs.collect", "--url", *(f"{site.address}/{number}" for number in range(3))]
    command += [
        "--out",
        str(tmp_path / "out"),
        "--unstated",
        "all",
        "--min-chars",
        "40",
        "--cache",
        str(tmp_path / "c"),
    ]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    process.communicate()
    assert process.returncode == -9
    site.answer, asked = answer, len(site.asked)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "collected: 3 documents, 3 passages, 0 rejected\n"
    assert site.paths()[asked:] == ["/2"]


def papers(folder: Path, name: str, rows: list[dict], licence: str = "cc-by-4.0") -> None:
    """A data set of papers as a repository on the Hub has it."""
    import pyarrow as pa
    from pyarrow import parquet

    folder = folder / name
    folder.mkdir(parents=True)
    card = f"---\nlicense: {licence}\nconfigs:\n- config_name: main\n  data_files: data.parquet\n---\n# Papers\n"
    (folder / "README.md").write_text(card)
    parquet.write_table(pa.Table.from_pylist(rows), folder / "data.parquet")


QASPER = {"section_name": ["Introduction", "Method"], "paragraphs": [[PROSE["first"]], [PROSE["second"], "Short."]]}
COLLECT = """
import json, sys
from pathlib import Path
from jobs.collect import collect
from jobs.config import Documents
from jobs.errors import UserError
for out, name in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        record, worked = collect(Path(out), documents=Documents(hub=(name,), passage_min_chars=40))
        print(json.dumps([worked, record.arguments["hub_commits"]]))
    except UserError as error:
        print(json.dumps(str(error)))
"""


def on_hub(hub: RunningHub, folder: Path, *names: str) -> list:
    """What collecting each data set gives, in a process that has the Hub in its environment; outputs: folder/0, ..."""
    places = [argument for number, name in enumerate(names) for argument in (str(folder / str(number)), name)]
    environment = {**os.environ, **hub.environment(folder / "home")}
    done = subprocess.run(
        [sys.executable, "-c", COLLECT, *places], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_papers_of_the_hub_come_at_a_commit_with_their_columns(tmp_path: Path) -> None:
    rows = [
        {"id": "2301.00001", "title": "First", "full_text": QASPER, "license": None, "year": 2023},
        {
            "id": "two",
            "title": "Second",
            "full_text": QASPER | {"paragraphs": [[PROSE["second"]], []]},
            "license": "MIT",
        },
        {"id": "nc", "title": "Third", "full_text": QASPER, "license": "CC BY-NC 4.0"},
        {"id": "two", "title": "Again", "full_text": QASPER | {"paragraphs": [[PROSE["first"]], []]}, "license": None},
        {"id": "none", "title": "Empty", "full_text": {"section_name": [], "paragraphs": []}, "license": None},
    ]
    plain = [
        {"arxiv_id": "cs/0112017", "text": f"{PROSE['first']} Row {n}.", "url": f"https://a.org/{n}"} for n in (1, 2)
    ]
    papers(tmp_path / "seed", "ai/qasper", rows)
    papers(tmp_path / "seed", "ai/plain", plain)
    papers(tmp_path / "seed", "ai/numbers", [{"n": 1}])
    with running_hub(tmp_path / "hub") as hub:
        seed_all(hub.store, tmp_path / "seed")
        done = on_hub(hub, tmp_path, "ai/qasper", "ai/plain:main", "ai/numbers", "ai/nothing", "ai/plain:other")
    assert [worked for worked, _ in done[:2]] == [True, True]
    assert done[0][1][0].startswith("ai/qasper:main@")
    assert len(done[0][1][0].partition("@")[2]) == 40
    assert done[2].startswith("ai/numbers: no column of texts; it has n")
    assert done[3].startswith("ai/nothing: no such data set")
    assert done[4] == "ai/plain:other: no such configuration; it has main"
    taken = {entry.document: entry for entry in read_records(tmp_path / "0" / "documents.jsonl", DocumentText)}
    assert {name: (entry.title, entry.licence, entry.date) for name, entry in taken.items()} == {
        "ai/qasper/2301.00001": ("First", "CC-BY-4.0", "2023"),
        "ai/qasper/two": ("Second", "MIT", ""),
    }
    first = taken["ai/qasper/2301.00001"]
    assert first.source == "https://arxiv.org/abs/2301.00001"
    assert "Introduction\n\nLoRA is a fine-tuning method" in first.text
    assert {row.name: (row.stage, row.reason) for row in read_rejections(tmp_path / "0" / "rejected.parquet")} == {
        "ai/qasper/nc": ("licence", "licence not on the list (CC-BY-NC-4.0)"),
        "ai/qasper/two": ("id", "another document has this id (https://huggingface.co/datasets/ai/qasper)"),
        "ai/qasper/none": ("fetch", "no text in its row"),
    }
    second = list(read_records(tmp_path / "1" / "documents.jsonl", DocumentText))
    assert [(entry.document, entry.source, entry.format) for entry in second] == [
        ("ai/plain/cs/0112017", "https://a.org/1", "plain")
    ]
