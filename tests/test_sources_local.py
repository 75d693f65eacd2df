"""Files of this machine through the gates: licences, languages, includes, sizes, and any number of workers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.collect import collect
from jobs.config import Documents, Scale
from jobs.documents import DocumentText
from jobs.errors import UserError
from jobs.rejections import read_rejections
from qa.records import read_records
from tests.documents_world import PROSE
from tests.test_sources import GERMAN

ROOT = Path(__file__).parents[1]
CC_BY_NC = "Creative Commons Attribution-NonCommercial 4.0 International Public License\n\nBy exercising the rights ..."


def gather(docs: Path, **settings):
    """Documents by id, (stage, reason) by name, and the step's figures."""
    out = docs.with_name("out")
    documents = Documents(**{"paths": (str(docs),), "passage_min_chars": 40, **settings})
    record, _ = collect(out, documents=documents)
    taken = {entry.document: entry for entry in read_records(out / "documents.jsonl", DocumentText)}
    rejected = {row.name: (row.stage, row.reason) for row in read_rejections(out / "rejected.parquet")}
    return taken, rejected, record.figures


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A folder with one good document."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "good.md").write_text(f"{PROSE['first']} It is the good one.\n")
    return folder


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_a_licence_is_the_documents_own_then_the_folders_then_the_configured(docs: Path) -> None:
    front = "---\nlicense: https://creativecommons.org/licenses/by-sa/4.0/\n---\n\n"
    write(
        docs,
        {
            "a/LICENSE.md": "# Creative Commons Attribution 4.0 International\n\nBy exercising the licensed rights ...",
            "a/deep/folder.md": f"{PROSE['second']} Its folder tells.\n",
            "a/own.md": f"{front}{PROSE['second']} It tells itself.\n",
        },
    )
    taken, rejected, figures = gather(docs, licence="MIT")
    assert {name: entry.licence for name, entry in taken.items()} == {
        "a/deep/folder.md": "CC-BY-4.0",
        "a/own.md": "CC-BY-SA-4.0",
        "good.md": "MIT",
    }
    assert rejected == {"a/LICENSE.md": ("licence file", "a licence, no document")}
    assert figures["documents_by_licence"] == {"CC-BY-4.0": 1, "CC-BY-SA-4.0": 1, "MIT": 1}


def test_a_licence_not_on_the_list_is_refused_and_named(docs: Path) -> None:
    write(
        docs,
        {
            "nc/LICENSE": CC_BY_NC,
            "nc/a.md": f"{PROSE['second']} In a folder.\n",
            "own.md": f"---\nlicense: All rights reserved\n---\n\n{PROSE['second']}\n",
            "sidecar.txt": f"{PROSE['second']} With a sidecar.\n",
            "sidecar.txt.yaml": "licence: cc-by-nd-4.0\n",
        },
    )
    taken, rejected, figures = gather(docs)
    assert set(taken) == {"good.md"}
    assert {name: found for name, found in rejected.items() if name != "nc/LICENSE"} == {
        "nc/a.md": ("licence", "licence not on the list (CC-BY-NC-4.0)"),
        "own.md": ("licence", "licence not on the list (All rights reserved)"),
        "sidecar.txt": ("licence", "licence not on the list (CC-BY-ND-4.0)"),
    }
    assert figures["rejected_by_reason"]["licence not on the list"] == 3
    assert set(gather(docs, licences=("cc-by-nc-4.0", "CC-BY-ND-4.0"))[0]) == {"good.md", "nc/a.md", "sidecar.txt"}


def test_a_licence_that_nobody_recognises_is_not_taken_for_none(docs: Path) -> None:
    write(docs, {"own/LICENSE": "Ask me before you use this.", "own/a.md": f"{PROSE['second']} In a folder.\n"})
    taken, rejected, figures = gather(docs)
    assert set(taken) == {"good.md"}
    assert rejected == {
        "own/LICENSE": ("licence file", "a licence, no document"),
        "own/a.md": ("licence", "licence not on the list (unrecognised (LICENSE))"),
    }
    assert figures["rejected_by_reason"] == {"licence not on the list": 1}
    assert figures["funnel"][0] == {"filter": "fetch", "given": 2, "taken": 0, "left": 2}
    taken, *_ = gather(docs, licences=("MIT", "unrecognised (LICENSE)"))
    assert taken["own/a.md"].licence == "unrecognised (LICENSE)"


def test_documents_in_another_language_are_refused_unless_asked_for(docs: Path) -> None:
    write(docs, {"german.md": f"{GERMAN}\n", "kurz.md": "Ein kurzer Text von wenigen Worten wird nicht beurteilt.\n"})
    taken, rejected, _ = gather(docs)
    assert (set(taken), rejected) == ({"good.md", "kurz.md"}, {"german.md": ("language", "in another language (de)")})
    assert set(gather(docs, languages=("de",))[0]) == {"german.md", "kurz.md", "good.md"}  # good.md: too short to judge
    assert set(gather(docs, languages=())[0]) == {"german.md", "good.md", "kurz.md"}


def test_latex_without_its_includes_is_read_and_they_are_listed(docs: Path) -> None:
    (docs / "paper.tex").write_text(
        "\\documentclass{article}\\begin{document}\n\\input{intro}\n\n" + PROSE["second"] + "\n\n\\include{gone}\n"
        "\\end{document}\n"
    )
    (docs / "intro.tex").write_text(f"{PROSE['first']} This is the introduction.\n")
    taken, rejected, figures = gather(docs)
    assert set(taken) == {"good.md", "paper.tex"}
    assert "This is the introduction." in taken["paper.tex"].text
    assert rejected.pop("intro.tex")[0] == "read"
    assert rejected == {
        "paper.tex: gone": ("include", "included file is missing; the document was read without it"),
    }
    assert (figures["rejected"], figures["missing_includes"]) == (1, 1)


def test_a_file_of_500_mb_is_refused_by_its_size(docs: Path) -> None:
    with (docs / "large.md").open("wb") as file:
        file.truncate(500_000_000)
    assert gather(docs)[1] == {"large.md": ("read", "larger than 50 MB (500 MB)")}


def test_rows_are_the_same_whatever_the_workers(tmp_path: Path) -> None:
    for number in range(150):
        text = f"{PROSE['first']} This is document {number}.\n" if number % 10 else "Too short.\n"
        write(tmp_path / "docs", {f"{number:03}.md": text})
    documents = Documents(paths=(str(tmp_path / "docs"),), passage_min_chars=40)
    made = []
    for workers in (1, 2, 3):
        out = tmp_path / f"out{workers}"
        collect(out, documents=documents, scale=Scale(workers=workers))
        names = ("passages.jsonl", "documents.jsonl", "rejected.parquet")
        made.append([(out / name).read_bytes() for name in names])
    assert made[0] == made[1] == made[2]
    assert len(made[0][1].splitlines()) == 135


def test_nothing_named_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^no document is named; give files or folders, or --arxiv, --url or --hub$"):
        collect(tmp_path / "out", documents=Documents())


def test_the_command_counts_missing_includes_apart_and_in_one_order(docs: Path, tmp_path: Path) -> None:
    paper = "\\documentclass{article}\\begin{document}\n" + PROSE["second"] + "\n\n\\include{gone}\n\\end{document}\n"
    write(docs, {"paper.tex": paper, "LICENSE": "MIT", "a.csv": "a,b\n", "b.md": "Short.\n", "c.md": ""})
    command = [sys.executable, "-m", "jobs.collect", docs, "--out", tmp_path / "out", "--min-chars", "40"]
    first, second = (subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True) for _ in range(2))
    lines = first.stdout.splitlines()
    rejected = tmp_path / "out" / "rejected.parquet"
    assert lines == [
        "collected: 2 documents, 2 passages, 3 rejected",
        "rejected: 3 (empty file: 1, no passage of 40 characters of prose or more: 1, "
        f"no reader for this kind of file: 1); see {rejected}",
        f"missing includes: 1; their documents were read without them; see {rejected}",
    ]
    assert second.stdout.splitlines() == [f"already {lines[0]}", *lines[1:]]


def test_the_command_tells_what_was_rejected_and_where(docs: Path, tmp_path: Path) -> None:
    write(
        docs,
        {"german.md": f"{GERMAN}\n", "a.csv": "a,b\n", "nc.md": f"---\nlicense: CC-BY-NC-4.0\n---\n{PROSE['second']}"},
    )
    command = [sys.executable, "-m", "jobs.collect", docs, "--out", tmp_path / "out", "--min-chars", "40"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "collected: 1 documents, 1 passages, 3 rejected",
        "rejected: 3 (in another language: 1, licence not on the list: 1, no reader for this kind of file: 1); "
        f"see {tmp_path / 'out' / 'rejected.parquet'}",
    ]
    more = [*command, "--allow", "CC-BY-NC-4.0", "--language", "en", "de", "--workers", "2"]
    done = subprocess.run(more, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("collected: 3 documents")
    wrong = subprocess.run([*command, "--workers", "0"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stderr) == (2, "error: --workers: expected 1 or more\n")
