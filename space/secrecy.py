"""Keeps the Hub's token out of everything that is shown or written, and what visitors sent out of the log."""

from __future__ import annotations

import re
from typing import Any, TextIO, cast

from qa.redaction import HIDDEN, redact

__all__ = ["HIDDEN", "guard", "redact"]

MOST_LINE = 1000  # characters of one line of a log
_SENT = re.compile(r"(Received (?:in|out)puts:).*|(Value: ).*(?= is not in the list)", re.DOTALL)  # Gradio's errors


class Redacted:
    """A stream of text that hands on what is written, redacted; the rest is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text without its secrets and without what was sent; tells how much of it was taken."""
        kept = _SENT.sub(lambda found: f"{found[1] or found[2]}{HIDDEN}\n", redact(text))
        self._stream.write("".join(map(_short, kept.splitlines(keepends=True))))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each of the lines."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _short(line: str) -> str:
    return line if len(line) <= MOST_LINE else f"{line[:MOST_LINE]} …\n"


def guard(stream: TextIO) -> TextIO:
    """The stream, guarded: tracebacks and log records are written to it by libraries that know of no secret."""
    return cast("TextIO", Redacted(stream))
