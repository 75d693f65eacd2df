"""Where two answers differ, word by word, as HTML whose marks do not rest on colour alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

from space.text import escape

SHORTEST = 3  # words: a lone "of the" in common is an accident, and would break a mark in pieces
MOST_WORDS = 1000  # an answer has 300 tokens at most; a model may still write them all as one-letter words
_WORD = re.compile(r"(\s*)(\S+)")
_BEGIN = '<mark class="fn-only"><span class="fn-unseen">[only in this answer: </span>'
_END = '<span class="fn-unseen">]</span></mark>'

Spans = list[tuple[int, int]]  # words, from and up to


@dataclass(frozen=True)
class Marked:
    """Both answers as HTML, what only one of them says marked; `shared` is the share of words that both have."""

    left: str
    right: str
    shared: float

    @property
    def same(self) -> bool:
        return self.shared == 1.0


def mark(left: str, right: str) -> Marked:
    """Compare two answers by words; spaces and line breaks stay as they are and make no difference.

    Where they have no wording in common nothing is marked: all of it would be.
    """
    words = [_WORD.findall(text.strip()) for text in (left, right)]
    plain = [[word for _, word in side[:MOST_WORDS]] for side in words]
    blocks = _shared(*plain)
    spans = ([(a, a + n) for a, _, n in blocks], [(b, b + n) for _, b, n in blocks])
    count = sum(map(len, words))
    shared = 2 * sum(n for *_, n in blocks) / count if count else 1.0
    draw = _draw if blocks else lambda side, _: _text(side)
    return Marked(draw(words[0], spans[0]), draw(words[1], spans[1]), shared)


def _shared(left: list[str], right: list[str]) -> list[tuple[int, int, int]]:
    """Runs of words in both, as (begin in left, begin in right, length); short ones only at both answers' ends."""
    runs = SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks()[:-1]
    ends = ((0, 0), (len(left), len(right)))
    return [(a, b, n) for a, b, n in runs if n >= SHORTEST or (a, b) == ends[0] or (a + n, b + n) == ends[1]]


def _draw(words: list[tuple[str, str]], shared: Spans) -> str:
    """Text of the words in their spacing; everything outside the shared spans is marked, a run at a time."""
    pieces = []
    edges = [(0, 0), *shared, (len(words), len(words))]
    for (begin, end), (following, _) in pairwise(edges):
        pieces += [_text(words[begin:end]), _only(words[end:following])]
    return "".join(pieces)


def _only(words: list[tuple[str, str]]) -> str:
    if not words:
        return ""
    (space, word), *rest = words
    return f"{escape(space)}{_BEGIN}{_text([('', word), *rest])}{_END}"


def _text(words: list[tuple[str, str]]) -> str:
    return escape("".join(space + word for space, word in words))
