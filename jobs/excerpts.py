"""Excerpts of passages: whole sentences around a place, so that several passages fit into one prompt."""

from __future__ import annotations

import re

from jobs.sentences import sentences
from qa.retrieval import STOP_WORDS
from qa.scoring import normalise

Span = tuple[int, int]  # offsets of the first character and of the one after the last
_STOP_WORDS = frozenset(STOP_WORDS)


def find_span(text: str, words: str) -> Span | None:
    """Where the words stand in the text, white space aside; None where they do not, or there are none."""
    found = re.search(r"\s+".join(map(re.escape, words.split())), text) if words.split() else None
    return found.span() if found else None


def best_sentence(text: str, most: int, *about: str) -> Span | None:
    """The first of the sentences that share most words with the first text, then with the next.

    None where all sentences are over `most` characters.
    """
    asked = list(map(content_words, about))
    short = [span for span in sentences(text) if span[1] - span[0] <= most]

    def shared(span: Span) -> list[int]:
        words = content_words(text[slice(*span)])
        return [len(words & wanted) for wanted in asked]

    return max(short, key=shared, default=None)


def content_words(text: str) -> set[str]:
    """The words of a text in SQuAD's normal form, without those that the index leaves aside."""
    return set(normalise(text).split()) - _STOP_WORDS


def excerpt(text: str, core: Span, most: int) -> str:
    """The sentences that `core` touches, and those around them by turns while all are at most `most` characters.

    Longer only where the sentences of `core` alone are.
    """
    spans = list(sentences(text))
    touched = [place for place, (start, end) in enumerate(spans) if start < core[1] and end > core[0]]
    first, last = touched[0], touched[-1]
    grown = True
    while grown:
        grown = False
        for back, on in ((0, 1), (1, 0)):
            before, after = first - back, last + on
            if before >= 0 and after < len(spans) and spans[after][1] - spans[before][0] <= most:
                first, last, grown = before, after, True
    return text[spans[first][0] : spans[last][1]]
