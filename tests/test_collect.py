"""Documents → passages: every format, every kind of bad file, offsets, and the real corpus where it is at hand."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from jobs.collect import collect
from jobs.config import Documents
from jobs.documents import DocumentText, pick_metadata
from jobs.passages import is_prose
from jobs.rejections import read_rejections
from qa.records import Passage, read_records
from tests.documents_world import PROSE, SOURCES, write_all

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "jobs" / "sample" / "articles"
LIMITS = Documents(passage_min_chars=40)


def named(*paths: Path, limits: Documents = LIMITS) -> Documents:
    return limits.model_copy(update={"paths": tuple(map(str, paths))})


def gather(source: Path | list[Path], out: Path, limits: Documents = LIMITS):
    """Passages, documents by id, reasons by file, and the step's figures."""
    record, _ = collect(out, documents=named(*(source if isinstance(source, list) else [source]), limits=limits))
    documents = {entry.document: entry for entry in read_records(out / "documents.jsonl", DocumentText)}
    rows = read_rejections(out / "rejected.parquet")
    rejected = {entry.name: entry.reason for entry in rows if entry.stage != "include"}
    return list(read_records(out / "passages.jsonl", Passage)), documents, rejected, record.figures


@pytest.fixture(scope="module")
def all_formats(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    write_all(folder / "docs")
    return gather(folder / "docs", folder / "out")


def test_every_format_gives_its_prose_and_nothing_else(all_formats) -> None:
    passages, documents, rejected, figures = all_formats
    assert rejected == {}
    assert set(documents) == {*SOURCES, "lora.pdf", "lora.txt"}
    for name in documents:
        text = "\n".join(passage.text for passage in passages if passage.document == name)
        assert "LoRA is a fine-tuning method for large models." in text, name
        assert "LoRA was introduced by Edward Hu and colleagues at Microsoft in 2021." in text, name
        for stray in (
            "secret_code",
            "nobody should find",
            "Home of the menu",
            "footer line",
            "root:",
            "Colab",
            "alert(",
        ):
            assert stray not in documents[name].text, (name, stray)
    assert figures["documents_by_format"] == dict.fromkeys(
        ("markdown", "mdx", "html", "latex", "rst", "pdf", "plain"), 1
    )


def test_offsets_point_into_the_kept_text(all_formats) -> None:
    passages, documents, *_ = all_formats
    for passage in passages:
        assert documents[passage.document].text[passage.start : passage.end] == passage.text
    assert len({passage.id for passage in passages}) == len(passages)


def test_metadata_comes_from_the_file_or_its_sidecar(all_formats) -> None:
    _, documents, _, figures = all_formats
    for name in ("lora.md", "lora.html", "lora.tex", "lora.rst"):
        entry = documents[name]
        assert (entry.source, entry.licence) == ("https://arxiv.org/abs/2106.09685", "CC-BY-4.0"), name
        assert entry.date == "2026-11-22", name
    assert documents["lora.md"].title == "Low-Rank Adaptation (LoRA)"
    assert documents["lora.mdx"].title == documents["lora.html"].title == "Low-Rank Adaptation"
    assert documents["lora.tex"].title == documents["lora.rst"].title == "Low-Rank Adaptation"
    assert documents["lora.pdf"].title == "LoRA, in print"
    assert figures["documents_by_licence"] == {"CC-BY-4.0": 5, "not stated": 2}


def test_the_default_licence_is_only_for_those_that_name_none(tmp_path: Path) -> None:
    write_all(tmp_path / "docs")
    limits = Documents(passage_min_chars=40, licence="MIT")
    figures = gather(tmp_path / "docs", tmp_path / "out", limits)[3]
    assert figures["documents_by_licence"] == {"CC-BY-4.0": 5, "MIT": 2}


def test_sections_lists_and_formulas(all_formats) -> None:
    passages = all_formats[0]
    method = {p.document: p.text for p in passages if p.section == "Method"}
    assert set(method) == {"lora.md", "lora.html", "lora.tex", "lora.rst", "lora.pdf"}
    assert "$W + \\frac{\\alpha}{r} B A$, as the paper says." in method["lora.md"]
    assert "- Only the small matrices are trained" in method["lora.md"]
    assert "rank | 16" not in method["lora.md"]
    assert "\\begin{equation} r (d + k) \\end{equation} weights, far fewer" in method["lora.tex"]
    assert "0.1% of the weights." in "".join(p.text for p in passages if p.document == "lora.tex")
    assert "$r \\ll d$, see the figure and peft.LoraConfig." in method["lora.rst"]
    assert "A note in a directive" in method["lora.rst"]


def test_pdf_lines_are_joined_and_hyphens_closed(all_formats) -> None:
    text = next(p.text for p in all_formats[0] if p.document == "lora.pdf")
    assert text.startswith("LoRA is a fine-tuning method for large models. It keeps the pretrained weights frozen")


def test_ids_never_hold_a_place_on_this_machine(tmp_path: Path) -> None:
    roots = [tmp_path / side / "docs" for side in ("one", "two", "three")]
    for number, root in enumerate(roots):
        root.mkdir(parents=True)
        (root / "a.md").write_text(f"{PROSE['first']} This is number {number}.")
        (root / "b.md").write_text(f"{PROSE['second']} This is number {number}.")
    files = [root / "b.md" for root in roots]
    ids = set(gather(roots, tmp_path / "out")[1])
    assert ids == {f"{folder}{name}.md" for folder in ("", "docs/", "docs-2/") for name in "ab"}
    assert set(gather(files, tmp_path / "out")[1]) == {"b.md", "file/b.md", "file-2/b.md"}
    passages, documents, rejected, _ = gather([*roots, *files, *roots], tmp_path / "out")
    named = [p.id for p in passages] + list(documents) + list(rejected)
    assert not [name for name in named if name.startswith("/") or tmp_path.name in name]


def test_numbers_too_long_to_write_out_are_no_metadata() -> None:
    assert pick_metadata({"date": 10**5000, "title": 2021}) == {"title": "2021"}


def test_ids_are_unique_over_roots(tmp_path: Path) -> None:
    for root, word in (("one", "first"), ("two", "second")):
        (tmp_path / root / "deep").mkdir(parents=True)
        (tmp_path / root / "deep" / "a.md").write_text(PROSE[word])
    _, documents, rejected, _ = gather(
        [tmp_path / "one", tmp_path / "two", tmp_path / "one/deep/a.md"], tmp_path / "out"
    )
    assert set(documents) == {"deep/a.md", "two/deep/a.md"}
    assert rejected == {"a.md": "duplicate: same text as another document (deep/a.md)"}


def test_passages_are_whole_paragraphs_within_the_limits(tmp_path: Path) -> None:
    sentence = "A passage of many words is cut where one sentence ends and the next begins, never in the middle. "
    paragraphs = [sentence.strip() * 1, (sentence * 8).strip(), sentence.strip(), "word " * 100]
    (tmp_path / "long.md").write_text("## One\n\n" + "\n\n".join(paragraphs) + "\n\n## Two\n\n" + sentence)
    passages, *_ = gather(
        tmp_path / "long.md", tmp_path / "out", Documents(passage_min_chars=60, passage_max_chars=300)
    )
    assert all(60 <= len(p.text) <= 300 for p in passages)
    assert [p.section for p in passages][-1] == "Two"
    assert {p.section for p in passages} == {"One", "Two"}
    cut = [p.text for p in passages if "never in the middle." in p.text]
    assert all(text.endswith("middle.") for text in cut)
    assert sum(p.text.count("A passage of many words") for p in passages) == 11


@pytest.mark.parametrize(
    "text", ["$$ x = y $$", "1 2 3 4 5 6 7 8 9", "see https://example.org/a/b/c", "Table of\nthings"]
)
def test_what_is_no_prose(text: str) -> None:
    assert not is_prose(text)


def test_sample_articles_all_give_passages_with_attribution(tmp_path: Path) -> None:
    passages, documents, rejected, figures = gather(SAMPLE, tmp_path / "out", Documents())
    assert rejected == {}
    assert len(documents) >= 60
    assert figures["documents_by_format"]["pdf"] >= 3
    assert {"markdown", "html", "latex", "rst", "pdf"} == set(figures["documents_by_format"])
    for entry in documents.values():
        assert entry.source.startswith("http"), entry.document
        assert (entry.licence, entry.date) == ("CC-BY-4.0", "2026-11-22"), entry.document
    assert min(Counter(p.document for p in passages).values()) >= 1


def test_real_corpus_none_fails(tmp_path: Path, shared_data: Path) -> None:
    passages, documents, rejected, figures = gather(shared_data / "corpus", tmp_path / "out", Documents())
    assert figures["documents"] == len(documents) >= 650
    assert figures["passages"] == len(passages) >= 7000
    allowed = ("skipped", "no passage of", "no text in it besides", "a licence, no document", "duplicate")
    assert [reason for reason in rejected.values() if not reason.startswith(allowed)] == []
    for passage in passages:
        assert documents[passage.document].text[passage.start : passage.end] == passage.text
        assert len(passage.text) <= 1200
    text = "\n".join(passage.text for passage in passages)
    for mark in (
        "BIBREF",
        "FIGREF",
        "INLINEFORM",
        ":numref:",
        ":label:",
        ":end_tab:",
        "<CourseFloatingBanner",
        "<Tip>",
    ):
        assert mark not in text, mark
    assert json.loads((tmp_path / "out" / "step.json").read_text())["figures"] == figures
