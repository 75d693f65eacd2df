"""Looks for whole phrases in texts: each is known by its first words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from jobs.shingles import runs_of

Words = tuple[str, ...]


class PhraseIndex:
    """Phrases of `head` words or more, each with a number; texts pass by once, by their runs of `head` words."""

    def __init__(self, head: int) -> None:
        self._head = head
        self._phrases: dict[Words, dict[Words, list[int]]] = defaultdict(lambda: defaultdict(list))
        self._known: set[Words] = set()

    def add(self, phrase: Words, number: int) -> None:
        self._phrases[phrase[: self._head]][phrase].append(number)
        self._known.add(phrase[: self._head])

    def find(self, text: Sequence[str]) -> Iterator[int]:
        """Numbers of the phrases that stand in a text."""
        for head in self._known.intersection(runs_of(text, self._head)) if self._known else ():
            for phrase, numbers in self._phrases[head].items():
                if phrase in runs_of(text, len(phrase)):
                    yield from numbers
