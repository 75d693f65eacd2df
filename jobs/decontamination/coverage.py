"""Coverage: the share of a test item's runs of `ngram` words that one training row holds.

Only the runs of test items are kept in memory; training text passes by once. An item of fewer words is one run, which
is there or not: `jobs.decontamination.exact` looks for it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from jobs.decontamination.items import Item, Wording, stands_alone
from jobs.shingles import runs_of

Words = tuple[str, ...]


class CoverageIndex:
    """Every run of the items' words → the texts that it is of: a question with its options, as they stand and sorted,
    and a long one alone."""

    def __init__(self, items: Sequence[Item], ngram: int, least: float) -> None:
        self.ngram, self.least = ngram, least
        self._texts: list[tuple[int, int]] = []  # item, number of its runs
        self._runs: dict[Words, list[int]] = defaultdict(list)
        for number, item in enumerate(items):
            for words in sorted(_texts(item.wording, ngram)):
                runs = set(runs_of(words, ngram))
                for run in runs:
                    self._runs[run].append(len(self._texts))
                self._texts.append((number, len(runs)))
        self._known = set(self._runs)

    def find(self, sequences: Sequence[Sequence[str]]) -> Iterator[tuple[int, float]]:
        """Numbers of the items that a row covers, each with its best share. A run crosses no border of sequences."""
        held = set[Words]().union(*(self._known.intersection(runs_of(words, self.ngram)) for words in sequences))
        hits = Counter(text for run in held for text in self._runs[run])
        best: dict[int, float] = {}
        for text, count in hits.items():
            number, runs = self._texts[text]
            best[number] = max(best.get(number, 0.0), count / runs)
        return ((number, share) for number, share in sorted(best.items()) if share >= self.least)


def _texts(wording: Wording, ngram: int) -> set[Words]:
    """Of a multiple-choice question the texts with options; alone, one is looked for where it is long."""
    texts = {wording.given, wording.whole}
    if len(wording.asked) >= stands_alone(ngram):
        texts.add(wording.asked)
    return {words for words in texts if len(words) >= ngram}
