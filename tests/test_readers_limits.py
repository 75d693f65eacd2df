"""What a document may cost and reach: hostile lines, slow readers, sparse archives, hidden files, wrong encodings."""

from __future__ import annotations

import signal
import tarfile
import threading
from pathlib import Path

import pytest

import jobs.readers
from jobs.documents import Extract, UnreadableError
from jobs.readers import latex_source, plain, read_bytes, read_document
from jobs.readers.tex_includes import LARGEST_SOURCE
from tests.documents_world import PROSE

LONG = 150_000  # characters; with a quadratic search each of these took from half a minute to hours
HOSTILE = {
    "spaces": ("markdown", f"Text here {' ' * LONG}x"),
    "slide marks": ("markdown", "[**a " * (LONG // 5)),
    "formulas": ("markdown", r"\\(" * (LONG // 3)),
    "brackets": ("markdown", "[" * LONG),
    "images": ("markdown", "![[]()" * (LONG // 6)),
    "a heading": ("markdown", f"## {'- ' * (LONG // 2)}x\n\n{PROSE['first']}"),
    "an anchor": ("markdown", f"## a{' ' * LONG}x\n\n{PROSE['first']}"),
    "quotes": ("plain", ".\"')" * (LONG // 4) + "x"),
    "dashes": ("plain", f".{'–' * LONG}a"),
    "lines": ("markdown", "- " + "abc\n  " * (LONG // 6)),
    "options": ("latex", r"\newcommand{\ab}[1][x]{#1}" + r"\ab[" * (LONG // 4)),
    "comments": ("mdx", "{/*" * (LONG // 3)),
    "tags": ("mdx", "<A {" * (LONG // 4)),
    "empty lines": ("rst", "\n" * LONG + PROSE["first"]),
    "a role": ("rst", f":zzz:`{' ' * LONG}`"),
    "one column": ("html", "<table>" + "<tr><td>abc</td>" * (LONG // 15)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_lines_are_read_in_time(name: str) -> None:
    kind, text = HOSTILE[name]
    blocks = read_bytes(text.encode(), kind).blocks
    assert sum(len(block.text) for block in blocks) <= len(text)
    assert (PROSE["first"] in text) == (PROSE["first"] in [block.text for block in blocks])


def _forever(data: bytes) -> Extract:
    while True:
        try:
            [].pop()
        except Exception:  # noqa: S112 - as parsers do
            continue


def test_a_reader_that_does_not_end_is_stopped(monkeypatch) -> None:
    before, running = signal.getsignal(signal.SIGALRM), bool(signal.getitimer(signal.ITIMER_REAL)[0])
    monkeypatch.setattr(jobs.readers, "TIME_LIMIT", 0.05)
    monkeypatch.setattr(plain, "read", _forever)
    with pytest.raises(UnreadableError, match=r"slower to read than 0\.05 s"):
        read_bytes(b"text", "plain")
    assert signal.getsignal(signal.SIGALRM) is before
    assert bool(signal.getitimer(signal.ITIMER_REAL)[0]) is running  # the test run may have one of its own


def test_another_thread_reads_without_a_limit() -> None:
    found: list[Extract] = []
    thread = threading.Thread(target=lambda: found.append(read_bytes(PROSE["first"].encode(), "plain")))
    thread.start()
    thread.join()
    assert found[0].blocks[0].text == PROSE["first"]


def sparse(size: int) -> bytes:
    """An archive of one GNU sparse file that has no bytes at all."""
    member = tarfile.TarInfo("main.tex")
    member.type = tarfile.GNUTYPE_SPARSE
    head = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    for place, value in ((386, size), (398, 0), (483, size)):
        head[place : place + 12] = tarfile.itn(value, 12, tarfile.GNU_FORMAT)
    head[482], head[148:156] = 0, b" " * 8
    head[148:156] = b"%06o\0 " % sum(head[:512])
    return bytes(head[:512]) + b"\0" * 1024


def test_a_sparse_file_of_an_archive_is_not_unpacked(monkeypatch) -> None:
    monkeypatch.setattr(latex_source, "UNPACKED", 1_000_000)
    with pytest.raises(UnreadableError, match="archive with a sparse file in it"):
        read_bytes(sparse(20_000_000), "latex_source")


def test_hidden_files_and_those_of_other_names_are_not_included(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    for name in (".ssh/id_rsa", ".ssh/key.tex", ".hidden.tex", "passwords", "passwords.csv"):
        (tmp_path / name).write_text("SECRET words")
    (tmp_path / "link.tex").symlink_to(tmp_path / ".hidden.tex")
    names = [".ssh/id_rsa", ".ssh/key", ".hidden", "passwords", "passwords.csv", "link", "x" * 300]
    body = " ".join(f"\\input{{{name}}}" for name in names)
    (tmp_path / "main.tex").write_text(f"\\begin{{document}}{PROSE['first']} {body}\\end{{document}}")
    extract = read_document(tmp_path / "main.tex")
    assert [block.text for block in extract.blocks] == [PROSE["first"]]
    assert extract.missing == names


def test_many_missing_includes_are_counted() -> None:
    body = "".join(f"\\input{{a{number}}}" for number in range(1234))
    missing = read_bytes(f"\\begin{{document}}{PROSE['first']} {body}\\end{{document}}".encode(), "latex").missing
    assert (len(missing), missing[0], missing[-1]) == (101, "a0", "and 1,134 more")


def test_what_includes_a_file_is_looked_for_below_the_root_alone(tmp_path: Path) -> None:
    (tmp_path / "main.tex").write_text(r"\documentclass{article} \input{docs/part}")
    part = tmp_path / "docs" / "part.tex"
    part.parent.mkdir()
    part.write_text(PROSE["first"])
    assert [block.text for block in read_document(part).blocks] == [PROSE["first"]]
    assert read_document(part, root=part.parent).blocks
    with pytest.raises(UnreadableError, match=r"included by main\.tex"):
        read_document(part, root=tmp_path)


def test_a_large_neighbour_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "main.tex").write_text("\\input{part}" + " " * LARGEST_SOURCE)
    (tmp_path / "part.tex").write_text(PROSE["first"])
    assert [block.text for block in read_document(tmp_path / "part.tex").blocks] == [PROSE["first"]]


CAFE = f"<p>A café. {PROSE['first']} {PROSE['second']}</p>"


@pytest.mark.parametrize(
    ("data", "kind", "charset"),
    [
        (CAFE.encode("latin-1"), "html", "ISO-8859-1"),
        (f'<?xml version="1.0" encoding="iso-8859-1"?><html><body>{CAFE}'.encode("latin-1"), "html", ""),
        (f"<meta charset=iso-8859-1>{CAFE}".encode("latin-1"), "html", "utf-8"),
        (CAFE.encode(), "html", "ISO-8859-1"),
        (f"A café. {PROSE['first']}".encode("cp1252"), "plain", "windows-1252"),
        (f"A café. {PROSE['first']}".encode(), "markdown", "us-ascii"),
    ],
)
def test_encodings_that_a_page_or_its_server_names(data: bytes, kind: str, charset: str) -> None:
    assert "A café." in read_bytes(data, kind, charset=charset).blocks[0].text


@pytest.mark.parametrize("charset", ["punycode", "unicode_escape", "rot13", "no-such"])
def test_encodings_of_no_text_are_a_reason(charset: str) -> None:
    with pytest.raises(UnreadableError, match=rf"not in the encoding it declares \({charset}\)"):
        read_bytes("café".encode("latin-1"), "plain", charset=charset)
