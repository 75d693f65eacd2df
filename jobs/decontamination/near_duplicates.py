"""Near-duplicates: questions that share most shingles. MinHash names candidates, the exact Jaccard similarity decides.

Multiple-choice questions are compared with their options, since many ask "Which of the following is an example of …?".
Where one of two has none, the questions must be alike both alone and with their answers: "What kind of thing is BERT?"
and "What kind of thing is PPO?" share most words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobs.decontamination.items import TRIVIAL, Item, Wording
from jobs.shingles import bands_for, jaccard

_SEED = 17  # of the permutations


class _Shelf:
    """Sets of shingles under numbers, found again by sets like them."""

    def __init__(self, sets: Mapping[int, set[str]], similarity: float) -> None:
        from rensa import RMinHashLSH

        bands, rows = bands_for(similarity)
        self.sets, self.similarity, self.permutations = sets, similarity, bands * rows
        self._index = RMinHashLSH(threshold=similarity, num_perm=self.permutations, num_bands=bands)
        for number, shingles in sets.items():
            self._index.insert(number, self._sketch(shingles))

    def _sketch(self, shingles: set[str]) -> Any:
        from rensa import RMinHash

        sketch = RMinHash(self.permutations, _SEED)
        sketch.update(sorted(shingles))
        return sketch

    def like(self, shingles: set[str]) -> Iterator[tuple[int, float]]:
        for number in self._index.query(self._sketch(shingles)) if shingles else ():
            if (similarity := jaccard(shingles, self.sets[number])) >= self.similarity:
                yield number, similarity


class NearIndex:
    """The items' shingles, with options and without. Items of fewer than 5 words have no near-duplicates."""

    def __init__(self, items: Sequence[Item], similarity: float) -> None:
        self._wordings = {number: item.wording for number, item in enumerate(items)}
        asked = {number: of.asked_shingles for number, of in self._wordings.items() if len(of.asked) >= TRIVIAL}
        whole = {number: of.whole_shingles for number, of in self._wordings.items() if of.options}
        self._asked, self._whole = _Shelf(asked, similarity), _Shelf(whole, similarity)
        self.similarity = similarity

    def find(self, wording: Wording) -> Iterator[tuple[int, float]]:
        """Numbers of the items that a row's question is nearly the same as, each with the similarity."""
        found = dict(self._whole.like(wording.whole_shingles)) if wording.options else {}
        for number, similarity in self._asked.like(wording.asked_shingles):
            other = self._wordings[number]
            if not (wording.options and other.options):
                found[number] = min(similarity, jaccard(wording.answered_shingles, other.answered_shingles))
        return ((number, score) for number, score in sorted(found.items()) if score >= self.similarity)
