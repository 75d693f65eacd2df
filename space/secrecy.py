"""Keeps the Hub's token out of everything that is shown or written: page, log and errors."""

from __future__ import annotations

from typing import Any, TextIO, cast

from qa.redaction import HIDDEN, redact

__all__ = ["HIDDEN", "guard", "redact"]


class Redacted:
    """A stream of text that hands on what is written, redacted; the rest is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text without its secrets; tells how much of it was taken."""
        self._stream.write(redact(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each of the lines."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard(stream: TextIO) -> TextIO:
    """The stream, guarded: tracebacks and log records are written to it by libraries that know of no secret."""
    return cast("TextIO", Redacted(stream))
