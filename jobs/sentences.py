"""Sentences of a text with their places in it: split by rule, for English prose with formulas and citations."""

from __future__ import annotations

import re
from collections.abc import Iterator

# After a full stop without a space a capital begins a sentence too, where the next word is followed by lower case:
# full texts of papers are published with paragraphs run together ("... models.The BERT model ...").
_END = re.compile(
    r"[.!?]['\")\]]*(?=\s+[\"'(\[$`]*(?:[A-Z0-9$`]|[a-z]+[A-Z0-9]))"
    r"|(?<=[a-z)\]]{3})\.(?=[A-Z][a-z]+ [a-z])"
    r"|(?:\\end\{[a-z*]+\}|\\\])(?=\s+[A-Z])"  # a displayed formula that closes its sentence
    r"|\n\s*(?=\S)"
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|et al|al|cf|vs|Fig|Figs|Eq|Eqs|Sec|Tab|Ref|No|Dr|Mr|Mrs|Prof|St|approx|resp|w\.r\.t|ca)"
    r"|(?:^|[\s.(])[A-Z])\.$"
)


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Offsets (start, end) of each sentence, without the white space around it. Line ends end a sentence too."""
    start = 0
    for found in _END.finditer(text):
        if found[0].startswith(".") and _ABBREVIATION.search(text[max(start, found.start() - 12) : found.start() + 1]):
            continue
        if span := _trim(text, start, found.end()):
            yield span
        start = found.end()
    if span := _trim(text, start, len(text)):
        yield span


def _trim(text: str, start: int, end: int) -> tuple[int, int] | None:
    piece = text[start:end]
    start, end = start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())
    return (start, end) if start < end else None
