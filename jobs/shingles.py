"""Words of a text, and its shingles: runs of so many words, by which two texts are compared.

MinHash names candidates, the exact Jaccard similarity of their sets decides.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

PERMUTATIONS = 128
_WORD = re.compile(r"[^\W_]+")
_ASCII_WORD = re.compile(r"[a-z0-9]+")
_UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))  # soft hyphen, zero-width signs: inside words
_SEED = 17  # of the permutations
_MISSED = 0.005  # chance that two sets exactly as similar as asked for share no band


def words_of(text: str) -> list[str]:
    """Runs of letters and digits, after NFKC and without case, punctuation and signs that take no room."""
    if text.isascii():  # two thirds of the time
        return _ASCII_WORD.findall(text.lower())
    return _WORD.findall(unicodedata.normalize("NFKC", text.translate(_UNSEEN)).casefold())


def runs_of(words: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    """Every run of `size` words, in order; none where there are fewer."""
    return zip(*(words[start:] for start in range(size)), strict=False)


def shingles_of(words: Sequence[str], size: int) -> set[str]:
    """The runs of `size` words as texts; a text with fewer words is one shingle, and one without words has none."""
    if len(words) <= size:
        return {" ".join(words)} if words else set()
    return set(map(" ".join, runs_of(words, size)))


def jaccard(one: set[str], other: set[str]) -> float:
    """Share of what both have in what either has; 0 where both are empty."""
    shared = len(one & other)
    return shared / max(len(one) + len(other) - shared, 1)


def bands_for(similarity: float) -> tuple[int, int]:
    """Bands and rows a band of a MinHash index that finds 99.5 of 100 pairs of this Jaccard similarity.

    Two sets agree in one row with a chance of their similarity; more rows a band mean fewer pairs to look at in vain.
    """
    fitting = (rows for rows in range(16, 1, -1) if (1 - similarity**rows) ** (PERMUTATIONS // rows) <= _MISSED)
    rows = next(fitting, 1)
    return PERMUTATIONS // rows, rows


class LikeSets:
    """Sets of shingles or words under numbers, found again by sets that are as similar as asked for."""

    def __init__(self, similarity: float) -> None:
        from rensa import RMinHashLSH

        bands, rows = bands_for(similarity)
        self._similarity, self._permutations = similarity, bands * rows
        self._sets: dict[int, set[str]] = {}
        self._index = RMinHashLSH(threshold=similarity, num_perm=self._permutations, num_bands=bands)

    def add(self, number: int, members: set[str]) -> None:
        self._sets[number] = members
        self._index.insert(number, self._sketch(members))

    def like(self, members: set[str]) -> Iterator[tuple[int, float]]:
        """Numbers of the sets that are like this one, in order, with the similarity; none for an empty set."""
        for number in sorted(self._index.query(self._sketch(members))) if members else ():
            if (similarity := jaccard(members, self._sets[number])) >= self._similarity:
                yield number, similarity

    def _sketch(self, members: set[str]) -> Any:
        from rensa import RMinHash

        sketch = RMinHash(self._permutations, _SEED)
        sketch.update(sorted(members))
        return sketch
