"""Plain text, and what every reader of text begins with: decoding, and paragraphs apart from junk."""

from __future__ import annotations

import codecs
import re

from jobs.documents import Block, Extract, UnreadableError, collapse

_NO_TEXT = frozenset({"idna", "punycode", "unicode-escape", "raw-unicode-escape"})  # of names and of Python; some slow


def decode(data: bytes) -> str:
    """UTF-8 (a byte-order mark is dropped) with `\\n` line ends. Raises `UnreadableError` for what is none."""
    if b"\0" in data:
        raise UnreadableError("binary data, not text")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError(f"not UTF-8 (byte {error.start}); save it as UTF-8") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def in_utf8(data: bytes, charset: str) -> bytes:
    """A text that is not UTF-8, from the encoding that is named for it. Raises `UnreadableError` for a wrong one."""
    return data if not charset or b"\0" in data or _is_utf8(data) else recoded(data, charset)


def recoded(data: bytes, charset: str) -> bytes:
    """A text of this encoding in UTF-8. Raises `UnreadableError` where it is not in it."""
    try:
        if codecs.lookup(charset).name in _NO_TEXT:
            raise LookupError
        return data.decode(charset).encode()
    except (LookupError, UnicodeError) as error:  # LookupError also for Python's codecs of no text: rot13, base64, hex
        raise UnreadableError(f"not in the encoding it declares ({charset})") from error


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def read(data: bytes) -> Extract:
    """Paragraphs are parted by empty lines; there are no sections."""
    paragraphs = (collapse(part) for part in re.split(r"\n\s*\n", decode(data)))
    return Extract(blocks=[Block("", paragraph) for paragraph in paragraphs if paragraph])
