"""LaTeX: included files, sources as arXiv sends them, and macros of the author's own."""

from __future__ import annotations

import gzip
import io
import tarfile
from itertools import pairwise
from pathlib import Path

import pytest

from jobs.documents import Extract, UnreadableError
from jobs.readers import latex_source, read_bytes, read_document
from tests.documents_world import PAPER, PAPER_FILES, PDF_LINES, archive, pdf


def text(extract: Extract) -> str:
    return "\n".join(block.text for block in extract.blocks)


def read(body: str, preamble: str = "") -> str:
    source = f"\\documentclass{{article}}\n{preamble}\n\\begin{{document}}\n{body}\n\\end{{document}}\nleft out"
    return text(read_bytes(source.encode(), "latex"))


def test_an_archive_is_read_with_its_includes_and_macros() -> None:
    extract = read_bytes(archive(PAPER_FILES), "latex_source")
    assert (extract.title, extract.metadata) == ("A Study of Bert", {"date": "May 2021"})
    assert [block.section for block in extract.blocks] == ["Abstract", "Introduction", "Introduction", "Method"]
    assert extract.blocks[1].text == "Bert is introduced here, and is small enough to be read."
    assert extract.blocks[2].text == "This stands in a file of a file, which includes the one above in a circle."
    method = extract.blocks[3].text
    assert r"Let $\mathbf{x} \in \mathbb{R}^d$ and $\hat{\mathbf{x}} = \operatorname{arg\,max}_{y} \|y\|_{2}$" in method
    assert r"\begin{equation} \|x\|_{1} = \alpha \end{equation}" in method
    assert "margin" not in text(extract)
    assert extract.missing == ["gone", "../../etc/passwd", "/etc/passwd"]


def test_one_compressed_file_and_a_pdf_are_sources_too() -> None:
    assert read_bytes(gzip.compress(PAPER.encode()), "latex_source").title == "A Study of Bert"
    scan = read_bytes(gzip.compress(pdf([PDF_LINES])), "latex_source")
    assert scan.title == "Low-Rank Adaptation"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (archive(PAPER_FILES)[:-200], "broken archive"),
        (b"\x1f\x8bnothing", "broken archive"),
        (archive({f"{number}.tex": "" for number in range(5001)}), "archive of more than 5000 files"),
        (archive({"a.tex": "Words alone."}), "no LaTeX document in the archive"),
        (archive({"figure.png": "a"}), "no LaTeX in the archive"),
        (b"  ", "empty file"),
    ],
)
def test_archives_that_give_nothing_have_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        read_bytes(data, "latex_source")


def test_a_bomb_is_not_unpacked(monkeypatch) -> None:
    monkeypatch.setattr(latex_source, "UNPACKED", 1_000_000)
    with pytest.raises(UnreadableError, match="archive of more than 1 MB when unpacked"):
        read_bytes(gzip.compress(b"\0" * 2_000_000), "latex_source")


def test_of_several_documents_the_one_with_most_text_is_read() -> None:
    response = "\\documentclass{article}\\begin{document}A letter to the reviewers of this paper.\\end{document}"
    extract = read_bytes(archive({"response.tex": response, **PAPER_FILES}), "latex_source")
    assert extract.title == "A Study of Bert"


def test_links_in_an_archive_lead_nowhere() -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        source = b"\\documentclass{article}\\begin{document}Before the secret. \\input{secret}\\end{document}"
        member = tarfile.TarInfo("main.tex")
        member.size = len(source)
        tar.addfile(member, io.BytesIO(source))
        link = tarfile.TarInfo("secret.tex")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    extract = read_bytes(data.getvalue(), "latex_source")
    assert (text(extract), extract.missing) == ("Before the secret.", ["secret"])


def test_local_files_include_what_is_below_their_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "secret.tex").write_text("A secret of another folder.")
    paper = tmp_path / "paper"
    for name, content in PAPER_FILES.items():
        (paper / name).parent.mkdir(parents=True, exist_ok=True)
        (paper / name).write_text(content)
    (paper / "link.tex").symlink_to(tmp_path / "secret.tex")
    (paper / "main.tex").write_text(PAPER.replace("\\input{gone}", "\\input{link} \\input{../secret}"))
    extract = read_document(paper / "main.tex")
    assert "secret" not in text(extract)
    assert "is small enough to be read" in text(extract)
    assert extract.missing == ["link", "../secret", "../../etc/passwd", "/etc/passwd"]
    for name, main in (("sections/intro.tex", "main.tex"), ("sections/deeper.tex", "intro.tex")):
        with pytest.raises(UnreadableError, match=f"included by {main}"):
            read_document(paper / name, root=paper)
    (paper / "notes.tex").write_text("Notes that nothing includes are a document by themselves.")
    assert text(read_document(paper / "notes.tex")) == "Notes that nothing includes are a document by themselves."


@pytest.mark.parametrize(
    ("definition", "body", "expected"),
    [
        (r"\newcommand{\m}{Bert\xspace}", r"We train \m and \m.", "We train Bert and Bert."),
        (r"\newcommand\pair[2]{(#1 with #2)}", r"A \pair{cat}{dog} is seen here.", "A (cat with dog) is seen here."),
        (r"\newcommand{\p}[2][one]{#1 and #2}", r"Both \p{two} or \p[six]{ten}.", "Both one and two or six and ten."),
        (r"\def\d#1{#1, #1}", r"Twice \d{\d{x}} is said here.", "Twice x, x, x, x is said here."),
        (r"\newcommand{\al}{\alpha}", r"Here $\al x$ and $y^\al$.", r"Here $\alpha x$ and $y^{\alpha}$."),
        (r"\newcommand{\old}{a}\renewcommand{\old}{the new}", r"This is \old one.", "This is the new one."),
        (r"\renewcommand{\section}[1]{SECTION #1}", r"\section{One} This is text.", "This is text."),
        (r"\def\a{\a}", r"This \a ends.", "This ends."),
    ],
)
def test_macros(definition: str, body: str, expected: str) -> None:
    assert read(body, definition) == expected


def test_comments_and_listings_define_and_include_nothing() -> None:
    body = (
        "One 5\\% of it. % \\input{no}\n\\begin{verbatim}\\newcommand{\\x}{\\end{verbatim}\nTwo is said.\n%\n\nThree."
    )
    assert read(body).split("\n") == ["One 5% of it. Two is said.", "Three."]


@pytest.mark.parametrize("seed", ["ha", ""])
def test_macros_that_grow_without_end_are_a_reason(seed: str) -> None:
    names = "abcdefghijkl"
    laughs = f"\\def\\a{{{seed}}}" + "".join(
        f"\\def\\{name}{{{f'{chr(92)}{before}' * 10}}}" for before, name in pairwise(names)
    )
    with pytest.raises(UnreadableError, match="macros of its author grow without end"):
        read("\\l", laughs)
