"""Readers of documents: kinds, what is stated elsewhere, PDFs that give no text, docling, and what is cleaned away."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.config import Documents
from jobs.documents import Block, DocumentText, UnreadableError
from jobs.errors import UserError
from jobs.passages import cut_passages, lay_out
from jobs.readers import docling, qasper, read_bytes, read_document
from jobs.readers.clean import clean_blocks
from jobs.readers.marks import replace_marks
from tests.documents_world import HTML, MARKDOWN, PDF_LINES, PROSE, pdf


def test_a_kind_goes_before_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "3f2a.bin"
    path.write_text(HTML)
    assert read_document(path, kind="html").title == "Low-Rank Adaptation"
    with pytest.raises(UnreadableError, match=r"skipped: no reader for \.bin"):
        read_document(path)
    with pytest.raises(UnreadableError, match="skipped: no reader for docx"):
        read_bytes(b"text", "docx")


def test_what_is_stated_goes_before_the_document_and_a_sidecar_before_both(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text(MARKDOWN)
    stated = {"title": "Stated", "licence": "MIT"}
    extract = read_document(path, stated=stated)
    assert extract.metadata == {
        "title": "Stated", "licence": "MIT", "source": "https://arxiv.org/abs/2106.09685", "date": "2026-11-22"
    }  # fmt: skip
    (tmp_path / "a.md.yaml").write_text("license: CC0-1.0\n")
    assert read_document(path, stated=stated).metadata["licence"] == "CC0-1.0"
    assert read_bytes(MARKDOWN.encode(), "markdown", stated=stated).metadata["title"] == "Stated"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"%PDF-1.4 and then nothing", "broken, or not a PDF"),
        (pdf([[(12, False, "Nobody may read this.", 14)]], encrypted=True), "encrypted: needs a password"),
        (pdf([[], []]), r"no text in it \(scanned images\?\) on 2 pages"),
        (pdf([[]] * 2001), r"more than 2,000 pages \(2,001\)"),
    ],
)
def test_pdfs_that_give_no_text_have_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        read_bytes(data, "pdf")


def fake_docling(folder: Path, lines: str) -> str:
    path = folder / "docling"
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return str(path)


def test_docling_is_called_as_a_command(tmp_path: Path, monkeypatch) -> None:
    script = f'echo "$@" > {tmp_path}/seen\nwhile [ "$1" != --output ]; do shift; done\nmkdir -p "$2"\n'
    script += "printf '# Title\\n\\nA paragraph that docling has read, with $x$ in it.\\n' > \"$2/document.md\""
    monkeypatch.setenv("FOOTNOTE_DOCLING", fake_docling(tmp_path, script))
    extract = read_bytes(pdf([PDF_LINES]), "pdf", pdf="docling")
    assert (extract.title, extract.blocks) == (
        "Title", [Block("", "A paragraph that docling has read, with $x$ in it.")]
    )  # fmt: skip
    assert "--to md" in (tmp_path / "seen").read_text()
    assert read_bytes(b"# Other kinds are read as ever\n\nThis is text.", "markdown", pdf="docling").blocks


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'Traceback' >&2; echo 'ValueError: bad page' >&2; exit 3", r"docling failed \(ValueError: bad page\)"),
        ("exit 0", "docling wrote no Markdown"),
        ("sleep 20", "docling took more than 0.2 seconds"),
    ],
)
def test_docling_that_fails_is_a_reason(tmp_path: Path, monkeypatch, script: str, reason: str) -> None:
    monkeypatch.setenv("FOOTNOTE_DOCLING", fake_docling(tmp_path, script.replace("sleep", "exec sleep")))
    monkeypatch.setattr(docling, "SECONDS", 0.2 if "sleep" in script else 60)
    with pytest.raises(UnreadableError, match=reason):
        read_bytes(pdf([PDF_LINES]), "pdf", pdf="docling")


def test_docling_that_is_missing_is_the_users_to_install(monkeypatch) -> None:
    monkeypatch.setenv("FOOTNOTE_DOCLING", "/nowhere/docling")
    with pytest.raises(UserError, match="/nowhere/docling: no such command; install it apart with `pipx install docl"):
        read_bytes(pdf([PDF_LINES]), "pdf", pdf="docling")


ONE, TWO = PROSE["first"], PROSE["second"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([f"{ONE} Run this:", TWO], [ONE, TWO]),
        ([f"{ONE} They are:", "- one thing\n- another"], [f"{ONE} They are:", "- one thing\n- another"]),
        ([f"{ONE} The loss is:", "$$ x $$", "where $x$ is small."], None),
        ([ONE, "and look for the state of it. This one is whole."], [ONE, "This one is whole."]),
        ([ONE, "Figure with a label"], [ONE]),
        ([f"Click here to see more. {ONE}"], [ONE]),
        (["Congrats on finishing this quiz, take a break."], []),
        (["The weights [formula] are small."], []),
        (["The agent gets ______ from it."], []),
        (["- A Paper (2016), C. Dong et al.\n- B Paper (2017), D. Li\n- C Paper (2015), E. Xu\n- D (2014)"], []),
        ([f"{ONE} The next step is to..."], [ONE]),
        (["- print all of them:\n- and sort them:"], []),
        (["- Now that you've coded it, run it.\n- Don't use the same name.\n- It is fast."], []),
        ([f"Congrats on finishing this! {ONE}", TWO], []),
        ([f"More info about this in the cookbook. {ONE}"], [ONE]),
        (["In this model the loss is", "$$ x $$"], None),
        ([":Ratios from a large corpus (from the first table in the work of others)", ONE], [ONE]),
    ],
)
def test_what_is_no_prose_is_cleaned_away(before: list[str], after: list[str] | None) -> None:
    blocks = [Block("Method", text) for text in before]
    assert [block.text for block in clean_blocks(blocks)] == (before if after is None else after)


@pytest.mark.parametrize("section", ["Exercises", "Further Reading", "3. Discussions", "Mid-way Quiz", "Licence"])
def test_sections_of_exercises_and_links_are_left_out(section: str) -> None:
    assert clean_blocks([Block(section, ONE), Block("Method", TWO)]) == [Block("Method", TWO)]


def test_papers_of_qasper_get_their_paragraphs_and_headings_back() -> None:
    source = (
        "# A Paper\n\n## Introduction\n\nModels are large BIBREF0.They are slow to train, as BIBREF1 shows."
        "Method ::: Data\n\n"
        "We use INLINEFORM0 of them.The data are tweets in English.BIBREF2 proposed another way."
        " However, BIBREF3 and BIBREF4 train models, BIBREF5, which are BIBREF6.Acknowledgments\n\n"
        "We thank everybody who was so kind to read this.\n"
    )
    assert read_bytes(source.encode(), "markdown").blocks == [
        Block("Introduction", "Models are large."),
        Block("Introduction", "They are slow to train, as earlier work shows."),
        Block(
            "Data",
            "The data are tweets in English. Earlier work proposed another way. "
            "However, earlier work train models, which are.",
        ),
    ]


def test_lists_of_links_slide_marks_and_callouts_in_markdown() -> None:
    source = (
        "Intro of (**the whole thing**) and [**its parts**] is here.\n\n> [!TIP]\n> A tip that is worth a sentence.\n\n"
        "- [A page to read](https://a.org)\n- [Another one](https://b.org) by B\n\n"
        "See [the docs](https://c.org) for all of it.\n"
    )
    assert [block.text for block in read_bytes(source.encode(), "markdown").blocks] == [
        "Intro of the whole thing and its parts is here.",
        "A tip that is worth a sentence.",
        "See the docs for all of it.",
    ]


def test_passages_hold_a_formula_with_its_sentence() -> None:
    texts = [
        "A" + " word" * 30 + ".",
        "The loss of the whole model is the sum of these:",
        "$$ x = y $$",
        "where y is it.",
    ]
    text, sections = lay_out([Block("Loss", block) for block in texts])
    document = DocumentText(document="a", title="A", format="plain", text=text)
    passages = list(cut_passages(document, sections, Documents(passage_min_chars=20, passage_max_chars=200)))
    assert [passage.text for passage in passages] == [texts[0], "\n\n".join(texts[1:])]


def test_references_in_words_are_said_once() -> None:
    source = "Equation :eqref:`eq_loss` holds, and Figure :numref:`fig_loss` shows :numref:`sec_loss` too."
    assert read_bytes(source.encode(), "markdown").blocks[0].text == (
        "The equation holds, and the figure shows the section too."
    )
    source = "We follow the :ref:`chain_rule` of :ref:`fig_one` from here to the end."
    assert (
        read_bytes(source.encode(), "rst").blocks[0].text
        == "We follow the chain rule of the figure from here to the end."
    )


def test_a_licence_is_no_document(tmp_path: Path) -> None:
    (tmp_path / "LICENSE.md").write_text(ONE)
    with pytest.raises(UnreadableError, match="skipped: a licence, no document"):
        read_document(tmp_path / "LICENSE.md")


def test_no_passage_holds_half_a_formula_or_leads_to_the_next() -> None:
    long = f"The terms are $$ {'x + Y. ' * 40} $$ and so on."
    lead = f"{ONE} It has these parts:"
    text, sections = lay_out([Block("A", long), Block("B", lead), Block("B", "- " + "one part of it " * 12)])
    document = DocumentText(document="a", title="A", format="plain", text=text)
    passages = list(cut_passages(document, sections, Documents(passage_min_chars=20, passage_max_chars=200)))
    assert all(passage.text.count("$$") % 2 == 0 and not passage.text.endswith(":") for passage in passages)
    assert any(ONE in passage.text for passage in passages)


def test_lists_of_libraries_in_rst_are_left_out() -> None:
    items = [f"- `Library{number} <https://a.org/{number}>`__ - A library for learning in C." for number in range(3)]
    told = "- `GRU <https://a.org/gru>`__ has two gates, which learn what to keep and what to forget."
    assert read_bytes("\n".join([*items, told]).encode(), "rst").blocks == []
    assert (
        "two gates"
        in read_bytes("\n".join([told, items[0][:2] + "The LSTM has three."]).encode(), "rst").blocks[0].text
    )


def test_keys_of_a_bibliography_and_lost_words_leave_nothing() -> None:
    source = (
        "For instance, BIBREF1 wang2019persuasion collected conversations. Tools perform poorly BIBREF3. "
        "We follow lowe2015ubuntu here, and test on BIBREF2, conll2003english and others,."
    )
    assert read_bytes(source.encode(), "markdown").blocks[0].text == (
        "For instance, earlier work collected conversations. Tools perform poorly. "
        "We follow earlier work here, and test on earlier work, conll2003english and others."
    )


def test_a_question_run_into_a_paragraph_is_a_heading_only_by_the_data_sets_marks() -> None:
    blocks = [Block("", "We do not compare them.Discussion ::: How to Select k?"), Block("", "It is chosen by hand.")]
    parted = qasper.part(blocks)
    assert [(block.section, block.text) for block in parted] == [
        ("", "We do not compare them."),
        ("How to Select k?", "It is chosen by hand."),
    ]
    asked = [Block("", "But is it true? Can we do it?"), Block("", "It is chosen by hand.")]
    assert [block.text for block in qasper.part(asked)] == [block.text for block in asked]


def test_a_citation_that_is_a_sentences_subject_is_named() -> None:
    text = "In particular, :cite:`Reddi.Kale.Kumar.2019` show that limits are there. It :cite:`Kingma.Ba.2014` is one."
    assert replace_marks(text) == "In particular, Reddi et al. (2019) show that limits are there. It  is one."
    assert "Kingma" not in replace_marks(text)


@pytest.mark.parametrize(
    "head",
    [
        "title: Lever\nlicence: CC-BY-NC-4.0\n",
        "license: CC-BY-NC-4.0\nThe prose begins at once.",
        "layout: post\nauthor: A. B.\n",
        "tags:\n  - one\ntitle: Lever\n\nlicence: x\n",
    ],
)
def test_front_matter_that_is_not_closed_is_refused(head: str) -> None:
    with pytest.raises(UnreadableError, match=r"^front matter is not closed$"):
        read_bytes(f"---\n{head}\n{PROSE['first']}\n".encode(), "markdown")


@pytest.mark.parametrize(
    "head", ["", "\ntitle: after an empty line\n", "Note: a rule stands above.\n", "# Title\n", "- title: 1\n"]
)
def test_a_rule_at_the_beginning_opens_no_front_matter(head: str) -> None:
    extract = read_bytes(f"---\n{head}\n{PROSE['first']}\n".encode(), "markdown")
    assert PROSE["first"].split(".")[0] in extract.blocks[-1].text
    assert extract.metadata == {}
