"""The data set's card, parsed back: its figures are those of the run's files, and what others wrote does no harm."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from jobs.card_render import cell, command, grouped, short
from jobs.dataset_card import dataset_card
from jobs.documents import DocumentText, Rejection
from jobs.errors import UserError
from jobs.rejections import FILE, write_rejections
from jobs.rows import row_of, write_rows
from jobs.step import read_step, write_json
from tests.card_reading import front_matter, table_headed
from tests.dataset_run import DOCUMENTS, REFUSED, ask, contamination, data_run, read_run

HOSTILE = (
    "Which | of <img src=x onerror=alert(1)> `these`\n---\nlicense: mit\n---\n# is *not* [a](javascript:alert(1))?"
)


@pytest.fixture(autouse=True)
def _licences_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.licences._hub_knows", lambda licence: "?" not in licence)  # it asks the Hub


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_run(tmp_path_factory.mktemp("data") / "run")


@pytest.fixture
def text(folder: Path) -> str:
    return dataset_card(read_run(folder))


def table(text: str, *headers: str) -> list[list[str]]:
    """The rows below such a header."""
    return table_headed(text, *headers)[1:]


def test_the_front_matter_names_every_file(text: str, folder: Path) -> None:
    header = front_matter(text)
    files = {entry["path"] for config in header["configs"] for entry in config["data_files"]}
    there = {path.relative_to(folder / "dataset").as_posix() for path in (folder / "dataset").glob("*/*.parquet")}
    assert files == there
    assert [config["config_name"] for config in header["configs"]] == ["research_qa", "reading", "passages"]
    assert [config["config_name"] for config in header["configs"] if config.get("default")] == ["research_qa"]
    own = {entry["split"]: entry["path"] for entry in header["configs"][0]["data_files"]}
    assert own["test_recent"] == "research_qa/test_recent.parquet"
    assert (header["license"], header["size_categories"]) == ("cc-by-4.0", "n<1K")


def test_rows_are_counted_by_config_split_and_kind(text: str) -> None:
    assert table(text, "config", "split") == [
        ["research_qa", "train", "40", "20", "20", "10", "9"],
        ["research_qa", "validation", "8", "4", "4", "2", "2"],
        ["research_qa", "test", "24", "12", "12", "6", "6"],
        ["research_qa", "test_recent", "2", "0", "2", "1", "1"],
        ["reading", "train", "10", "0", "10", "5", "4"],
        ["reading", "test", "10", "0", "10", "5", "5"],
        ["passages", "train", "36", "–", "–", "18", "17"],
    ]
    assert table(text, "questions", "kind") == [
        ["research_qa", "method", "40", "8", "24"],
        ["reading", "method", "10", "0", "10"],
    ]
    assert "documents dated after 2024-09-30" in text
    assert "24 of the questions of `research_qa` rightly and 12 wrongly" in text


def test_rows_with_passages_are_described_by_what_they_show(text: str) -> None:
    assert table(text, "reading", "rows") == [
        ["train", "10", "8", "2", "0", "3.0"],
        ["test", "10", "8", "2", "0", "3.0"],
    ]
    words = " ".join(text.split())
    assert "30.0 % of the open questions were drawn for it, with at most 4 other passages" in words
    assert "in 4 of 20 rows the passage that has it is withheld, in 0 the question is one that" in words
    assert "shows whole passages, of up to 1200 characters" in words


def test_passages_are_described_with_the_sides_of_their_documents(text: str) -> None:
    columns = (
        "id, document, title, section, text, source, licence, date, start, end, split. The one file is called `train`"
    )
    assert f"A row of `passages` has the columns {columns}" in text
    assert 'passages.filter(lambda row: row["split"] == "train")' in text
    assert "3 passages of documents that name no licence are left out." in text


def test_the_split_is_told_with_its_groups(text: str) -> None:
    assert "Salt: `footnote`; shares of train, validation and test: 0.8, 0.1, 0.1." in text
    assert "Groups: 17, of which 1 with more than one document; the largest holds 2." in text


def test_every_document_is_named_with_its_side(text: str) -> None:
    rows = table(text, "title", "document")
    assert len(rows) == DOCUMENTS
    assert rows[0] == ["Paper 0", "paper-0.md", "", "CC-BY-4.0", "2", "train"]
    assert rows[12] == ["Paper 12", "paper-12.md", "", "CC-BY-4.0", "2", "test"]
    assert "18 documents were read (arxiv: 1, local: 17)." in text
    assert "documents name no licence" not in text


def test_what_was_refused_for_its_licence_is_counted_and_not_quoted(text: str) -> None:
    assert table(text, "refused because") == [
        ["licence not on the list (CC-BY-NC-4.0)", "2"],
        ["licence not on the list (arXiv)", "1"],
    ]
    assert REFUSED not in text


def test_the_funnel_is_the_figures_and_stands_there_once(text: str, folder: Path) -> None:
    assert table(text, "step", "filter") == [
        ["passages", "licence", "documents", "22", "3", "19"],
        ["passages", "language", "documents", "19", "1", "18"],
        ["questions", "schema", "pairs", "41", "1", "40"],
        ["questions", "questions made", "pairs", "40", "–", "80 questions"],
        ["questions", "evidence", "questions", "80", "7", "73"],
        ["questions", "answer round trip", "questions", "–", "not run", "–"],
    ]
    assert "gives several pairs, and each is asked in up to two forms, openly and with options" in text
    figures = {row[1] for row in table(text, "step", "figure")}
    assert figures == {"seconds", "documents", "passages", "rejected", "questions", "dropped"}
    assert "The filter answer round trip was not run: no reader is configured." in text
    for step in ("passages", "questions", "dataset"):
        assert (
            not {"funnel", "usage", "reading", "decontamination"}
            & dict(grouped(read_step(folder / step).figures)).keys()
        )


def test_the_teacher_is_named_and_its_server_is_not(text: str) -> None:
    assert "written by the model `teacher` (openai)" in text
    assert "What the writer was asked: dollars 0.0123; input tokens 4242; output tokens 777; requests 36." in text
    assert "teacher:7000" not in text
    assert "told from the right one" not in text  # that is said of the offline writer


def test_decontamination_is_the_report(text: str) -> None:
    assert table(text, "test set") == [["arc_easy", "2376", "31", "2", "12", "1", "5", "3", "4", "1"]]
    found = ["verbatim", "44", "100.0 %", "98.0 %", "100.0 %", "100.0 %"]
    assert table(text, "planted from") == [["research/test", *found], ["arc_easy", *found]]
    rows = table(text, "dropped row")
    assert len(rows) == 10
    assert {row[1] for row in rows} <= {"arc train", "research_qa train", "arc validation"}
    assert {row[5] for row in rows} == {"which | of"}
    assert {row[3] for row in rows} == {"near duplicate, 0.75"}
    assert len({row[0] for row in rows} & {copy["row"] for copy in contamination()["dropped"]}) == 10
    words = " ".join(text.split())
    assert "12 of 4321 rows of training and 1 of validation were dropped as copies." in words
    assert "Items of fewer than 5 words (`trivial`) are found by `exact` alone" in words


def test_the_ten_dropped_rows_are_drawn_from_all(tmp_path: Path) -> None:
    folder, report = data_run(tmp_path / "run"), contamination()
    report["dropped"] = [{**report["dropped"][0], "row": f"r{number}"} for number in range(1000)]
    write_json(folder / "dataset" / "decontamination.json", report)
    shown = [int(row[0][1:]) for row in table(dataset_card(read_run(folder)), "dropped row")]
    assert len(shown) == 10
    assert max(shown) > 200


def test_a_document_cannot_break_the_card(tmp_path: Path) -> None:
    far = "x" * 10_000
    guests = [
        DocumentText(document=f"guest-{n}.md", title=title, format="html", text="…", source=title, licence=title)
        for n, title in enumerate((HOSTILE, far, "---\nconfigs: []\n---", ""))
    ]
    folder = data_run(tmp_path / "run", *guests)
    rows = [row_of(ask(24, question=HOSTILE, evidence=HOSTILE, kind=HOSTILE)), row_of(ask(25, question=far))]
    write_rows(folder / "dataset" / "research_qa" / "test.parquet", rows)
    write_rejections(
        folder / "passages" / FILE, [Rejection(name="a", stage="licence", reason=reason) for reason in (HOSTILE, far)]
    )
    report = contamination()
    report["dropped"] = [{**report["dropped"][0], "row_text": HOSTILE, "item_text": far, "item": HOSTILE}]
    report["tests"][0]["name"] = HOSTILE
    write_json(folder / "dataset" / "decontamination.json", report)
    text = dataset_card(read_run(folder))
    assert front_matter(text)["configs"][0]["config_name"] == "research_qa"
    titles = [row[0] for row in table(text, "title", "document")]
    assert titles[DOCUMENTS:] == [
        " ".join(HOSTILE.split())[:119] + "…" if len(" ".join(HOSTILE.split())) > 120 else " ".join(HOSTILE.split()),
        "x" * 119 + "…",
        "--- configs: [] ---",
        "",
    ]
    for headers in (
        ("refused because",),
        ("dropped row",),
        ("test set",),
        ("question", "choices"),
        ("questions", "kind"),
    ):
        assert table(text, *headers)
    rendered = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text)
    assert "<img" not in rendered
    assert "javascript:" not in "".join(re.findall(r'href="([^"]*)"', rendered))
    assert len(text) < 60_000
    assert "1 of 22 documents name no licence" in text


def test_without_passages_reading_and_recent_rows_the_card_says_nothing_of_them(tmp_path: Path) -> None:
    folder = data_run(tmp_path / "run")
    for path in (folder / "dataset").glob("*/*.parquet"):
        if path.parent.name != "research_qa" or path.stem == "test_recent":
            path.unlink()
    (folder / "questions" / "splits.json").unlink()
    text = dataset_card(read_run(folder))
    assert [config["config_name"] for config in front_matter(text)["configs"]] == ["research_qa"]
    for words in ('"reading"', '"passages"', "test_recent", "RAFT", "Salt:"):
        assert words not in text
    assert "each is its own group" in text
    assert table(text, "config", "split")[0][-1] == "10"


def test_a_missing_report_is_said_in_one_line(tmp_path: Path) -> None:
    folder = data_run(tmp_path / "run")
    (folder / "dataset" / "decontamination.json").unlink()
    with pytest.raises(UserError, match=r"decontamination\.json: cannot be read .*; run the step that makes it again"):
        dataset_card(read_run(folder))


@pytest.mark.parametrize(("text", "shown"), [("a  b", "a b"), ("a" * 9, "a" * 9), ("a" * 11, "a" * 9 + "…"), (7, "7")])
def test_long_text_is_cut_with_a_mark(text: object, shown: str) -> None:
    assert short(text, 10) == shown


def test_an_address_of_a_person_does_not_stay_in_a_command() -> None:
    assert (
        command("python -m jobs.collect --contact me.too@mail.example.org a") == "python -m jobs.collect --contact … a"
    )
    assert command("python -m x --set documents.contact=me@x.org --of a/b@v1.0 c@d") == (
        "python -m x --set documents.contact=… --of a/b@v1.0 c@d"
    )
    assert "me" in cell("me@x.org")  # what a document wrote is shown as it was written
