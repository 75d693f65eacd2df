"""Evidence: rows that show, or rest on, the very words that a held-out question rests on.

A document in training may quote one that is held out, or say the same in the same words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jobs.decontamination.items import Item
from jobs.decontamination.phrases import PhraseIndex

FEWEST_WORDS = 8  # a shorter span ("We use the Adam optimiser") stands in texts that have nothing else in common


class EvidenceIndex:
    """The evidence of the items that have some, from 8 words."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._spans = PhraseIndex(FEWEST_WORDS)
        for number, item in enumerate(items):
            if len(item.wording.evidence) >= FEWEST_WORDS:
                self._spans.add(item.wording.evidence, number)

    def find(self, texts: Sequence[Sequence[str]]) -> Iterator[tuple[int, float]]:
        """Numbers of the items whose evidence stands in one of a row's texts, each with the score 1."""
        found = {number for text in texts for number in self._spans.find(text)}
        return ((number, 1.0) for number in sorted(found))
