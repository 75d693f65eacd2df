"""Exact copies: a row that asks what an item asks in the same words, or whose text holds a short item whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from jobs.decontamination.items import TRIVIAL, Item, Wording, stands_alone
from jobs.shingles import runs_of

Words = tuple[str, ...]


class ExactIndex:
    """Items by their words; the short ones, which coverage does not look for, by their first words too."""

    def __init__(self, items: Sequence[Item], ngram: int) -> None:
        self._whole: dict[Words, set[int]] = defaultdict(set)
        self._short: dict[Words, dict[Words, set[int]]] = defaultdict(lambda: defaultdict(set))
        for number, item in enumerate(items):
            for words in item.wording.texts:
                self._whole[words].add(number)
                if TRIVIAL <= len(words) < stands_alone(ngram):
                    self._short[words[:TRIVIAL]][words].add(number)
        self._heads = set(self._short)

    def find(self, wording: Wording, text: Sequence[str]) -> Iterator[tuple[int, float]]:
        """Numbers of the items that a row is a copy of, each with the score 1."""
        found = set[int]().union(*(self._whole.get(words, ()) for words in wording.texts))
        for head in self._heads.intersection(runs_of(text, TRIVIAL)):
            for phrase, numbers in self._short[head].items():
                if phrase in runs_of(text, len(phrase)):
                    found |= numbers
        return ((number, 1.0) for number in sorted(found))
