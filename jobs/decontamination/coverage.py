"""Coverage: the share of a test item's runs of `ngram` words that one training row holds.

Only the runs of test items are kept in memory; training text passes by once. An item of fewer words is one run, which
is there or not. One of fewer than 5 words is looked for as a whole question alone, by `jobs.decontamination.exact`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence, Set

from jobs.decontamination.items import TRIVIAL, Item, Wording, stands_alone
from jobs.decontamination.phrases import PhraseIndex
from jobs.shingles import runs_of

Words = tuple[str, ...]


class CoverageIndex:
    """Every run of the items' words → the texts that it is of: a question with its options, as they stand and sorted,
    and a long one alone."""

    def __init__(self, items: Sequence[Item], ngram: int, least: float) -> None:
        self.ngram, self.least = ngram, least
        self._texts: list[tuple[int, Words, int]] = []  # item, words, how many of them are the question's
        self._runs: dict[Words, list[int]] = defaultdict(list)
        self._short = PhraseIndex(TRIVIAL)
        for number, item in enumerate(items):
            for words in sorted(_texts(item.wording, ngram)):
                self._add(number, words, len(item.wording.asked))
        self._known = set(self._runs)

    def _add(self, number: int, words: Words, asked: int) -> None:
        for run in set(runs_of(words, self.ngram)):
            self._runs[run].append(len(self._texts))
        if len(words) < self.ngram:
            self._short.add(words, len(self._texts))
        self._texts.append((number, words, asked))

    def find(self, sequences: Sequence[Sequence[str]]) -> Iterator[tuple[int, float]]:
        """Numbers of the items that a row covers, each with its best share. A run crosses no border of sequences."""
        best = {self._texts[text][0]: 1.0 for words in sequences for text in self._short.find(words)}
        held = set[Words]().union(*(self._known.intersection(runs_of(words, self.ngram)) for words in sequences))
        for text, count in Counter(text for run in held for text in self._runs[run]).items():
            number, words, asked = self._texts[text]
            share = count / len(set(runs_of(words, self.ngram)))
            if share >= self.least and self._asks(words[: asked + self.ngram - 1], asked, held):
                best[number] = max(best.get(number, 0.0), share)
        return iter(sorted(best.items()))

    def _asks(self, words: Words, asked: int, held: Set[Words]) -> bool:
        """Whether the question itself is covered by the same share: others may have its options, and its last words."""
        starts = (start for start, run in enumerate(runs_of(words, self.ngram)) if run in held)
        covered = {place for start in starts for place in range(start, min(start + self.ngram, asked))}
        return len(covered) >= self.least * asked


def _texts(wording: Wording, ngram: int) -> set[Words]:
    """Of a multiple-choice question the texts with options; alone, one is looked for where it is long."""
    texts = {wording.given, wording.whole}
    if len(wording.asked) >= stands_alone(ngram):
        texts.add(wording.asked)
    return {words for words in texts if len(words) >= min(TRIVIAL, ngram)}
