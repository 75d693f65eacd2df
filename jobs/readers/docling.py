"""PDF by docling, which reads columns, tables and formulas better and needs an environment of its own.

It pins other versions of huggingface_hub than this project, so it is called as a command: FOOTNOTE_DOCLING, or
`docling` on the PATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from jobs.documents import Extract, UnreadableError
from jobs.errors import UserError, first_line
from jobs.readers.markdown import read_markdown

SECONDS = 600  # for one document; a scan of 100 pages takes some 5 minutes on two cores


def read(data: bytes) -> Extract:
    """Read a PDF. Raises `UnreadableError` where docling gives no Markdown in time, `UserError` where it is missing."""
    command = os.environ.get("FOOTNOTE_DOCLING") or shutil.which("docling")
    if not command or not shutil.which(command):
        raise UserError(
            f"{command or 'docling'}: no such command; install it apart with `pipx install docling`, "
            "name it in FOOTNOTE_DOCLING, or read PDFs with pdfium"
        )
    with TemporaryDirectory() as folder:
        source, made = Path(folder, "document.pdf"), Path(folder, "out", "document.md")
        source.write_bytes(data)
        _run([command, str(source), "--to", "md", "--image-export-mode", "placeholder", "--output", str(made.parent)])
        if not made.is_file():
            raise UnreadableError("docling wrote no Markdown")
        return read_markdown(made.read_text(encoding="utf-8"))


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise UnreadableError(f"docling took more than {SECONDS} seconds") from error
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise UnreadableError(f"docling failed ({first_line(Exception(last[0]))[:120]})")
