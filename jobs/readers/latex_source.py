"""LaTeX sources as arXiv sends them: an archive, one compressed file or a PDF, unpacked in memory and bounded."""

from __future__ import annotations

import io
import re
import tarfile
import zlib

from jobs.documents import Extract, UnreadableError
from jobs.readers import latex, pdf
from jobs.readers.tex_includes import text_of, without_comments

MOST_MEMBERS = 5_000
UNPACKED = 200_000_000  # bytes; arXiv takes submissions of 50 MB, figures included
_TEXTS = (".tex", ".ltx", ".latex", ".txt", ".sty", ".def")  # .sty: many authors define their macros there


def read(data: bytes) -> Extract:
    """Read the main file with what it includes. Raises `UnreadableError` for a bomb, and where there is no LaTeX."""
    data = _decompressed(data) if data.startswith(b"\x1f\x8b") else data
    if data.startswith(b"%PDF"):
        return pdf.read(data)
    files = _members(data) if data[257:262] == b"ustar" or _is_old_tar(data) else {"main.tex": data}
    texts = {name: text_of(content) for name, content in files.items() if b"\0" not in content}
    if not texts:
        raise UnreadableError("no LaTeX in the archive")
    main = _main(texts)
    folder = main.rpartition("/")[0]
    return latex.read_source(
        texts[main], lambda name: texts.get(f"{folder}/{name}" if folder else name)
    )  # fmt: skip


def _decompressed(data: bytes) -> bytes:
    try:
        unpacker = zlib.decompressobj(wbits=31)
        unpacked = unpacker.decompress(data, UNPACKED)
    except zlib.error as error:
        raise UnreadableError(f"broken archive ({error})") from error
    if unpacker.unconsumed_tail:
        raise UnreadableError(f"archive of more than {UNPACKED // 1_000_000} MB when unpacked")
    if not unpacker.eof:
        raise UnreadableError("broken archive (it ends early)")
    return unpacked


def _is_old_tar(data: bytes) -> bool:
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            return archive.next() is not None
    except tarfile.TarError:
        return False


def _members(data: bytes) -> dict[str, bytes]:
    """Its texts by name. Links and what is no file are passed over; nothing is written to the disk.

    A sparse member states a size that its bytes do not have: 86 bytes can come to gigabytes.
    """
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for number, member in enumerate(archive):
                if number >= MOST_MEMBERS:
                    raise UnreadableError(f"archive of more than {MOST_MEMBERS} files")
                if member.issparse():
                    raise UnreadableError("archive with a sparse file in it")
                if member.isreg() and member.name.lower().endswith(_TEXTS) and (file := archive.extractfile(member)):
                    files[member.name.removeprefix("./")] = file.read(UNPACKED)
    except tarfile.TarError as error:
        raise UnreadableError(f"broken archive ({error})") from error
    return files


def _main(texts: dict[str, str]) -> str:
    """The file that is a document by itself, the longest of several."""
    bodies = {name: without_comments(text) for name, text in texts.items()}
    whole = [
        name for name, body in bodies.items()
        if re.search(r"\\document(class|style)\b", body) and r"\begin{document}" in body
    ]  # fmt: skip
    candidates = whole or [name for name in bodies if name.endswith("main.tex")]
    if not candidates:
        raise UnreadableError("no LaTeX document in the archive (none of its files has \\documentclass)")
    return max(candidates, key=lambda name: (_reach(name, bodies), name))


def _reach(name: str, bodies: dict[str, str]) -> int:
    """Characters of a file with those that it includes directly."""
    inner = re.findall(r"\\(?:input|include|subfile)\s*\{([^{}]+)\}", bodies[name])
    folder = name.rpartition("/")[0]
    places = {f"{folder}/{part}" if folder else part for part in (item.strip() for item in inner)}
    return len(bodies[name]) + sum(len(bodies.get(place) or bodies.get(f"{place}.tex", "")) for place in places)
