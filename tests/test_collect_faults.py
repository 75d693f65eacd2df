"""Documents that cannot be read, mistakes of who names them, and when the step is done again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.collect import collect
from jobs.config import Documents
from jobs.document_tally import kind_of
from jobs.errors import UserError
from jobs.rejections import read_rejections
from tests.document_site import Reply, article, running_site
from tests.documents_world import PROSE, SOURCES, pdf, write_all
from tests.test_collect import ROOT, gather, named


def test_bad_files_are_listed_with_the_reason_and_stop_nothing(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    write_all(docs)
    bad = {
        "empty.md": b"",
        "blank.rst": b" \n\n ",
        "junk.md": bytes(range(256)),
        "latin.txt": "caf\xe9 in Latin-1, which nobody declared".encode("latin-1"),
        "broken.pdf": b"%PDF-1.4 and then nothing",
        "locked.pdf": pdf([[(12, False, "Nobody may read this.", 14)]], encrypted=True),
        "drawing.pdf": pdf([[]]),
        "code.md": b"# Title\n\n```\nonly code\n```\n",
        "front.md": b"---\ntitle: [unclosed\n---\n\nText below broken front matter.\n",
        "twin.md": SOURCES["lora.md"].encode(),
        "short.md": b"Too short.\n",
        "data.csv": b"a,b\n",
        "Makefile": b"all:\n",
        "side.txt": b"The sidecar of this text is broken, so that its licence cannot be known at all.",
        "side.txt.yaml": b"licence: [",
        "nav.html": b"<html><body><nav><a href=x>Menu</a></nav></body></html>",
        ".hidden.md": b"passed over",
    }
    for name, data in bad.items():
        (docs / name).write_bytes(data)
    passages, _, rejected, figures = gather(docs, tmp_path / "out")
    reasons = {
        "empty.md": "empty file",
        "blank.rst": "empty file",
        "junk.md": "binary data",
        "latin.txt": "not UTF-8",
        "broken.pdf": "broken, or not a PDF",
        "locked.pdf": "encrypted",
        "drawing.pdf": "no text in it",
        "code.md": "no text in it besides code",
        "front.md": "front matter is not valid YAML",
        "twin.md": "duplicate: same text as another document (lora.md)",
        "short.md": "no passage of 40 characters",
        "data.csv": "skipped: no reader for .csv",
        "Makefile": "skipped: no reader for files without a suffix",
        "side.txt": "sidecar side.txt.yaml is not valid YAML",
        "nav.html": "no text",
    }
    assert set(rejected) == set(reasons)
    for name, reason in reasons.items():
        assert rejected[name].startswith(reason), (name, rejected[name])
    assert figures["rejected"] == len(reasons)
    assert len({p.document for p in passages}) == 7


HOSTILE = {  # each raised from a reader what collection did not catch
    "comment.html": (b"<!-- nothing else -->", "no text"),
    "mark.html": (b"\xef\xbb\xbf", "no text"),
    "rot13.html": (b"<meta charset=rot13><p>text</p>", "not in the encoding it declares (rot13)"),
    "base64.html": (b"<meta charset=base64><p>text</p>", "not in the encoding it declares (base64)"),
    "hex.html": (b"<meta charset=hex><p>text</p>", "not in the encoding it declares (hex)"),
    "undefined.html": (b"<meta charset=undefined><p>text</p>", "not in the encoding it declares (undefined)"),
    "date.md": (b"---\ndate: 2024-13-45\n---\n\nText.\n", "front matter is not valid YAML"),
    "stamp.md": (b"---\ndate: !!timestamp none\n---\n\nText.\n", "reader failed: AttributeError: "),
    "title.tex": (b"\\title", "no text"),
    "date.tex": (b"\\date", "no text"),
    "item.tex": (b"\\begin{itemize}\\item", "no text"),
    "side.txt": (b"The sidecar of this text has a month that is none.", "sidecar side.txt.yaml is not valid YAML"),
}


def test_input_made_to_break_readers_stops_nothing(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for name, (data, _) in HOSTILE.items():
        (docs / name).write_bytes(data)
    (docs / "side.txt.yaml").write_text("date: 2024-13-45\n")
    (docs / "section.tex").write_text(PROSE["first"] + "\n\n\\section")
    (docs / "signs.md").write_text(
        '---\ntitle: "\\ud83d\\ude00 \\ud83d"\ndate: 0x' + "f" * 5000 + f"\n---\n{PROSE['second']}\n"
    )
    _, documents, rejected, figures = gather(docs, tmp_path / "out")
    assert set(documents) == {"section.tex", "signs.md"}
    assert (documents["signs.md"].title, documents["signs.md"].date) == ("\U0001f600 \ufffd", "")
    assert set(rejected) == set(HOSTILE)
    for name, (_, reason) in HOSTILE.items():
        assert rejected[name].startswith(reason), (name, rejected[name])
    assert figures["rejected_by_reason"]["reader failed"] == 1


def test_any_error_of_a_reader_is_a_reason(tmp_path: Path, monkeypatch) -> None:
    def explode(data: bytes) -> None:
        raise AssertionError("first line\nsecond line")

    (tmp_path / "a.txt").write_text(PROSE["first"])
    (tmp_path / "b.md").write_text(PROSE["second"])
    monkeypatch.setattr("jobs.readers.plain.read", explode)
    _, documents, rejected, _ = gather(tmp_path, tmp_path.with_name("out-of-explode"))
    assert set(documents) == {"b.md"}
    assert rejected == {"a.txt": "reader failed: AssertionError: first line"}


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc for a file that gives an error")
def test_files_that_cannot_be_opened_are_listed(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "good.md").write_text(PROSE["first"])
    (docs / "side.md").write_text(PROSE["second"])
    for link in ("io.md", "side.md.yaml"):
        (docs / link).symlink_to("/proc/self/mem")  # a regular file whose first byte cannot be read
    (docs / "loop.md").symlink_to("loop.md")
    (docs / "gone.md").symlink_to("nowhere.md")
    os.mkfifo(docs / "pipe.md")  # reading it would wait for ever
    _, documents, rejected, _ = gather(docs, tmp_path / "out")
    assert set(documents) == {"good.md"}
    assert rejected.keys() == {"io.md", "side.md", "loop.md", "gone.md", "pipe.md"}
    assert rejected["io.md"] == "cannot be read (Input/output error)"
    assert rejected["side.md"] == "sidecar side.md.yaml cannot be read (Input/output error)"
    assert rejected["gone.md"] == "cannot be read (No such file or directory)"
    assert rejected["pipe.md"] == "not a regular file"
    assert not collect(tmp_path / "out", documents=named(docs))[1]
    (docs / "gone.md").unlink()
    (docs / "gone.md").write_text(f"{PROSE['second']} It is back.")
    assert set(gather(docs, tmp_path / "out")[1]) == {"good.md", "gone.md"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_files_and_folders_without_rights_are_listed(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    (docs / "closed").mkdir(parents=True)
    for name in ("good.md", "secret.md", "closed/a.md"):
        (docs / name).write_text(f"{PROSE['first']} {name}")
    (docs / "secret.md").chmod(0)
    (docs / "closed").chmod(0)
    _, documents, rejected, _ = gather(docs, tmp_path / "out")
    (docs / "closed").chmod(0o700)
    assert set(documents) == {"good.md"}
    assert rejected == {"secret.md": "cannot be read (Permission denied)", "closed": "folder that cannot be listed"}


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "docs" / "closed").mkdir(parents=True)
    (tmp_path / "docs" / "good.md").write_text(PROSE["first"])
    scan = os.scandir

    def guarded(path):
        if not isinstance(path, int) and Path(path).name == "closed":  # shutil.rmtree gives open folders
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr("os.scandir", guarded)
    _, documents, rejected, _ = gather(tmp_path / "docs", tmp_path / "out")
    assert (set(documents), rejected) == ({"good.md"}, {"closed": "folder that cannot be listed"})


def test_a_file_too_large_to_hold_as_a_tree_is_refused(tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text(PROSE["first"])
    with (tmp_path / "large.html").open("wb") as file:
        file.truncate(61_000_000)
    rejected = gather(tmp_path, tmp_path.with_name("out-of-large"))[2]
    assert rejected == {"large.html": "larger than 50 MB (61 MB)"}


def test_changed_files_sidecars_and_code_make_it_run_again(tmp_path: Path, monkeypatch) -> None:
    docs, out = tmp_path / "docs", tmp_path / "out"
    write_all(docs)

    def worked() -> bool:
        return collect(out, documents=named(docs))[1]

    assert (worked(), worked()) == (True, False)
    (docs / "lora.pdf.yaml").write_text("licence: MIT\n")
    assert (worked(), worked()) == (True, False)
    (docs / "lora.txt").write_text(PROSE["first"])
    assert (worked(), worked()) == (True, False)
    monkeypatch.setattr("jobs.collect.source_sha256", lambda *modules: "other code")
    assert (worked(), worked()) == (True, False)


def test_a_missing_path_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such file or folder"):
        collect(tmp_path / "out", documents=named(tmp_path / "nowhere"))


def test_where_nothing_is_left_the_reasons_are(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    with pytest.raises(UserError, match=r"docs: no passage found in 0 documents; the folder is empty$"):
        collect(tmp_path / "out", documents=named(tmp_path / "docs"))
    assert not (tmp_path / "out.partial").exists()
    (tmp_path / "docs" / "LICENSE").write_text("MIT")
    (tmp_path / "docs" / "a.md").write_text("---\ntitle: [unclosed\n---\n\nText.\n")
    with pytest.raises(
        UserError,
        match=r"docs: no passage found in 1 document; front .*; the first is a\.md: front matter is not valid YAML \(",
    ) as caught:
        collect(tmp_path / "out", documents=named(tmp_path / "docs"))
    kept = tmp_path / "out.partial" / "checkpoints" / "rejected.parquet"
    assert str(caught.value).endswith(f"; all that was refused stands in {kept}")
    assert {row.name: row.stage for row in read_rejections(kept)} == {"LICENSE": "licence file", "a.md": "read"}
    (tmp_path / "docs" / "b.md").write_text(PROSE["first"])
    assert collect(tmp_path / "out", documents=named(tmp_path / "docs"))[0].figures["documents"] == 1
    assert not kept.exists()


def test_the_command_is_safe_to_repeat(tmp_path: Path) -> None:
    write_all(tmp_path / "docs")
    command = [sys.executable, "-m", "jobs.collect", tmp_path / "docs", "--out", tmp_path / "out", "--min-chars", "40"]
    first, second = (subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True) for _ in range(2))
    assert first.stdout.startswith("collected: 7 documents")
    assert second.stdout.startswith("already collected: 7 documents")
    gone = subprocess.run([*command[:3], "none", "--out", "x"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (gone.returncode, gone.stderr) == (2, "error: none: no such file or folder; check the path\n")


def test_a_changed_include_makes_it_run_again(tmp_path: Path) -> None:
    paper, part, out = tmp_path / "paper.tex", tmp_path / "parts" / "one.tex", tmp_path / "out"
    paper.write_text("\\documentclass{article}\\begin{document}\\input{parts/one}\\end{document}")
    part.parent.mkdir()
    part.write_text(PROSE["first"])
    assert "2021" not in gather(paper, out)[0][0].text
    assert not collect(out, documents=named(paper))[1]
    part.write_text(PROSE["second"])
    assert "2021" in gather(paper, out)[0][0].text


def test_another_pause_of_a_busy_server_does_not_make_it_run_again(tmp_path: Path) -> None:
    with running_site() as site:
        site.pages |= {"/a": article(1), "/busy": Reply(status=429, headers={"Retry-After": "500"})}
        documents = Documents(
            urls=(f"{site.address}/a", f"{site.address}/busy"),
            cache=str(tmp_path / "cache"),
            unstated="all",
            passage_min_chars=40,
        )

        def worked() -> bool:
            return collect(tmp_path / "out", documents=documents, net=site.net)[1]

        assert (worked(), worked()) == (True, False)
        site.pages["/busy"] = Reply(status=429, headers={"Retry-After": "497"})
        assert not worked()
        site.pages["/busy"] = article(2)
        assert worked()


def test_reasons_are_counted_by_their_kind() -> None:
    for reason, kind in (
        ("included by ch1.tex", "included by another file"),
        ("included by ch (2).tex", "included by another file"),
        ("skipped: no reader for .csv", "no reader for this kind of file"),
        ("skipped: no reader for the content type video/mp4", "no reader for this kind of file"),
        ("skipped: a licence, no document", "a licence, no document"),
        ("sidecar a (1).md.yaml is not valid YAML (line 1)", "sidecar is not valid YAML"),
        ("sidecar a.md.yaml is not a mapping such as `licence: CC-BY-4.0`", "sidecar is not a mapping"),
        ("reader failed: KeyError: 'a (b)'", "reader failed"),
        ("rate limit (a.org asks for a pause of 497 s)", "rate limit"),
        ("no text to be had (html not there (HTTP 404); src not there (HTTP 404))", "no text to be had"),
        ("empty file", "empty file"),
    ):
        assert kind_of(reason) == kind


def test_mistakes_on_the_command_line_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "none.txt").write_text("# none yet\n\n")
    for arguments, message in (
        (["--arxiv", "a" * 300], "a: neither an arXiv id such as 2106.09685 nor a file with one a line"),
        (["--arxiv", tmp_path / "none.txt"], f"error: {tmp_path / 'none.txt'}: holds no arXiv id"),
        (
            ["docs", "--allow", "CC-BY-NC"],
            "error: --allow: 'CC-BY-NC' is no name of SPDX's; the nearest are CC-BY-NC-4",
        ),
        (["docs", "--language", "xx"], "error: --language: 'xx' is no language that can be told"),
        (["docs", "--contact", "nomail"], "error: --contact: 'nomail' is no e-mail address"),
        (["--url", b"http://h/\xff"], "neither a web address (http…) nor a file with one a line"),
        (
            ["--url", "http://127.0.0.1:1/", "--cache", tmp_path / "file"],
            f"{tmp_path / 'file'}: a file stands where fetched documents are kept; give another --cache",
        ),
    ):
        command = [sys.executable, "-m", "jobs.collect", *arguments, "--out", tmp_path / "out"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert message in done.stderr
