"""Keeps the Hub's token out of everything that is shown or written: page, log and errors."""

from __future__ import annotations

import os
import re
from typing import Any, TextIO, cast

VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")
HIDDEN = "[hidden]"
_TOKEN = re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{16,}")  # of a person, of an organisation


def redact(text: str) -> str:
    """The text without the tokens of this process's environment, nor anything else that looks like a Hub's token."""
    for name in VARIABLES:
        secret = os.environ.get(name, "").strip()
        if len(secret) >= 8:  # a shorter one is no token, and would blacken whole words
            text = text.replace(secret, HIDDEN)
    return _TOKEN.sub(HIDDEN, text)


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
