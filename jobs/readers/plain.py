"""Plain text, and what every reader of text begins with: decoding, and paragraphs apart from junk."""

from __future__ import annotations

import re

from jobs.documents import Block, Extract, UnreadableError, collapse


def decode(data: bytes) -> str:
    """UTF-8 (a byte-order mark is dropped) with `\\n` line ends. Raises `UnreadableError` for what is none."""
    if b"\0" in data:
        raise UnreadableError("binary data, not text")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError(f"not UTF-8 (byte {error.start}); save it as UTF-8") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read(data: bytes) -> Extract:
    """Paragraphs are parted by empty lines; there are no sections."""
    paragraphs = (collapse(part) for part in re.split(r"\n\s*\n", decode(data)))
    return Extract(blocks=[Block("", paragraph) for paragraph in paragraphs if paragraph])
