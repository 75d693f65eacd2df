"""The data set's card on where its documents are from, and under which licences they and it stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.card_documents import MOST_DOCUMENTS
from jobs.card_render import address, cell
from jobs.dataset_card import dataset_card
from jobs.documents import DocumentText
from jobs.licences import documents_licence
from jobs.rows import row_of, write_passages, write_rows
from jobs.step import read_step
from tests.card_reading import front_matter, table_headed
from tests.dataset_run import DOCUMENTS, ask, choose, data_run, document, passage, read_run
from tests.runs import rewrite


@pytest.fixture(autouse=True)
def _licences_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.licences._hub_knows", lambda licence: "?" not in licence)  # it asks the Hub


def table(text: str, *headers: str) -> list[list[str]]:
    """The rows below such a header."""
    return table_headed(text, *headers)[1:]


def test_a_row_without_an_address_is_attributed_by_name_and_title(tmp_path: Path) -> None:
    folder = data_run(tmp_path / "run")
    assert "state no address" not in dataset_card(read_run(folder))
    rows = [row_of(ask(24, source="")), row_of(ask(25))]
    write_rows(folder / "dataset" / "research_qa" / "test.parquet", rows)
    said = (
        "1 of its 50 rows are of documents that state no address: for these it is the name in `document`, and the title"
    )
    assert said in dataset_card(read_run(folder))


def test_arc_says_what_was_changed_of_it(tmp_path: Path) -> None:
    folder = data_run(tmp_path / "run")
    row = choose(0, id="arc_easy/1", document="arc_easy/1", licence="cc-by-sa-4.0")
    write_rows(folder / "dataset" / "arc" / "train.parquet", [row_of(row), row_of(choose(1, licence="CC-BY-SA-4.0"))])
    step = read_step(folder / "dataset")
    figures = step.figures | {"arc": {"revision": "0" * 40, "licence": "cc-by-sa-4.0"}}
    rewrite(folder / "dataset" / "step.json", arguments=step.arguments | {"arc": "allenai/ai2_arc"}, figures=figures)
    text = dataset_card(read_run(folder))
    words = " ".join(text.split())
    assert "as copies of held-out questions, 4 rows of train and 1 of validation." in words
    assert ["arc", "CC-BY-SA-4.0", "2", "–"] in table(text, "config", "licence")
    assert front_matter(text)["license"] == ["cc-by-4.0", "cc-by-sa-4.0"]


def test_many_documents_are_counted_by_site(tmp_path: Path) -> None:
    sources = ["https://Blog.example.org/a", "http://me:word@blog.example.org:80/b", "ftp://x.org", "http://["]
    sites = [f"https://site-{n % 60}.example.org/{n}" for n in range(MOST_DOCUMENTS)]
    guests = [
        DocumentText(document=f"g{n}", title="t", format="html", text="…", source=source, licence="MIT")
        for n, source in enumerate([*sources, *sites, *sources[:2], *sources[:2]])
    ]
    text = dataset_card(read_run(data_run(tmp_path / "run", *guests)))
    rows = table(text, "from")
    assert rows[0] == ["no address, no folder", str(DOCUMENTS + 2), str(2 * DOCUMENTS), "CC-BY-4.0: 18, MIT: 2"]
    assert ["blog.example.org", "6", "0", "MIT: 6"] in rows
    assert len(rows) == 51
    assert rows[-1][0] == "12 other places"
    assert sum(int(row[1]) for row in rows) == DOCUMENTS + 8 + MOST_DOCUMENTS
    assert "paper-3.md" not in text.split("### The documents")[1].split("## How")[0]


def test_licences_of_passages_are_in_the_front_matter(tmp_path: Path) -> None:
    folder = data_run(tmp_path / "run")
    rows = [passage(0, licence="ODC-By-1.0"), passage(1)]
    write_passages(folder / "dataset" / "passages" / "train.parquet", rows, {document(0): "train"})
    assert front_matter(dataset_card(read_run(folder)))["license"] == ["cc-by-4.0", "odc-by"]
    write_passages(folder / "dataset" / "passages" / "train.parquet", [passage(0, licence="?")], {document(0): "train"})
    assert front_matter(dataset_card(read_run(folder)))["license"] == ["cc-by-4.0", "other"]


@pytest.mark.parametrize(
    ("named", "expected", "words"),
    [
        (["MIT", "mit", "the MIT license"], "mit", "mit"),
        (["MIT", "", "ODC-By-1.0"], ["mit", "odc-by", "other"], "mit, odc-by, not named by some of the documents"),
        (["MIT", "?"], ["mit", "other"], "mit, ?"),
        ([""], "other", "not named by some of the documents"),
        (["?", "??"], "other", "?, ??"),
    ],
)
def test_a_document_without_a_licence_hides_no_other(named: list[str], expected: object, words: str) -> None:
    found = documents_licence(named)
    assert (found.license, found.words) == (expected, words)


def test_documents_without_an_address_are_counted_by_their_folder(tmp_path: Path) -> None:
    guests = [
        DocumentText(document=f"{folder}/{n}.md", title="t", format="html", text="…", licence=licence)
        for folder, licence in (("notes", "MIT"), ("notes/old", ""), ("blog", "the MIT license"))
        for n in range(MOST_DOCUMENTS // 2)
    ]
    text = dataset_card(read_run(data_run(tmp_path / "run", *guests)))
    assert table(text, "from")[:2] == [
        ["notes/", "200", "0", "MIT: 100, not named: 100"],
        ["blog/", "100", "0", "MIT: 100"],
    ]


@pytest.mark.parametrize("text", ["https://arxiv.org/abs/1512.03385", "http://a-b.example.org:8080/x_y/z?q=1&r=%20"])
def test_an_address_is_a_link(text: str) -> None:
    assert address(text, 300) == f"<{text}>"


@pytest.mark.parametrize(
    "text",
    [
        "javascript:alert(1)",
        "https://a.org/|<img>",
        "https://user:secret@a.org/",
        "https://a.org/x> [y](z)",
        "https://a.org/ b",
        "ftp://a.org/x",
    ],
)
def test_what_is_more_than_an_address_is_text(text: str) -> None:
    shown = address(text, 300)
    assert shown == cell(text)
    assert not shown.startswith("<")
