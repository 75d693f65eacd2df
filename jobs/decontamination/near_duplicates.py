"""Near-duplicates: questions that share most shingles. MinHash names candidates, the exact Jaccard similarity decides.

Multiple-choice questions are compared with their options, since many ask "Which of the following is an example of …?".
Where one of two has none, the questions must be alike both alone and with their answers. Short questions of one
pattern share most words whatever they are about ("In what year did BERT first appear?"): two of our own, and two of
which one has no options, are never one where a name or number differs, the latter also where their content words do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jobs.decontamination.items import TRIVIAL, Item, Wording
from jobs.shingles import LikeSets, jaccard

_ABOUT = 0.7  # Jaccard similarity of content words; two of a pattern with another thing in it share at most 3 of 5


class NearIndex:
    """The items' shingles, with options and without. Items of fewer than 5 words have no near-duplicates."""

    def __init__(self, items: Sequence[Item], similarity: float) -> None:
        self._wordings = [item.wording for item in items]
        self._asked, self._whole, self._similarity = LikeSets(similarity), LikeSets(similarity), similarity
        for number, wording in enumerate(self._wordings):
            if len(wording.asked) >= TRIVIAL:
                self._asked.add(number, wording.asked_shingles)
            if wording.options:
                self._whole.add(number, wording.whole_shingles)

    def find(self, wording: Wording) -> Iterator[tuple[int, float]]:
        """Numbers of the items that a row's question is nearly the same as, each with the similarity."""
        found = dict(self._whole.like(wording.whole_shingles)) if wording.options else {}
        for number, similarity in self._asked.like(wording.asked_shingles):
            other = self._wordings[number]
            if not (wording.options and other.options):
                found[number] = min(similarity, jaccard(wording.answered_shingles, other.answered_shingles))
        for number, score in sorted(found.items()):
            if score >= self._similarity and not _apart(wording, self._wordings[number]):
                yield number, score


def _apart(one: Wording, other: Wording) -> bool:
    """Whether two questions ask about different things. Those of an exam that share their options do not."""
    options = bool(one.options and other.options)
    if options and not (one.own and other.own):
        return False
    return one.differs(other) or (not options and jaccard(one.about, other.about) < _ABOUT)
