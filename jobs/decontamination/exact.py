"""Exact copies: a row that asks what an item asks in the same words, with its options in any order or without them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from jobs.decontamination.items import Item, Wording

Words = tuple[str, ...]


class ExactIndex:
    """Items by all the words of their questions."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._whole: dict[Words, set[int]] = defaultdict(set)
        for number, item in enumerate(items):
            for words in item.wording.texts:
                self._whole[words].add(number)

    def find(self, wording: Wording) -> Iterator[tuple[int, float]]:
        """Numbers of the items that a row is a copy of, each with the score 1. Other options make no difference."""
        found = set[int]().union(*(self._whole.get(words, ()) for words in wording.texts))
        return ((number, 1.0) for number in sorted(found))
