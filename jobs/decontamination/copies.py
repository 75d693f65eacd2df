"""Finds the training rows that are copies of test items, by all methods in one pass over the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from jobs.data_config import Decontamination
from jobs.decontamination.coverage import CoverageIndex
from jobs.decontamination.evidence import EvidenceIndex
from jobs.decontamination.exact import ExactIndex
from jobs.decontamination.items import METHODS, Copy, Method, Row, Wording, items_of, shown
from jobs.decontamination.near_duplicates import NearIndex
from jobs.shingles import words_of
from qa.records import Question


class CopyFinder:
    """The test sets, indexed once for any number of rows."""

    def __init__(self, tests: Mapping[str, Sequence[Question]], settings: Decontamination) -> None:
        self.items = items_of(tests)
        self._exact = ExactIndex(self.items)
        self._coverage = CoverageIndex(self.items, settings.ngram, settings.coverage)
        self._near = NearIndex(self.items, settings.similarity)
        self._evidence = EvidenceIndex(self.items)

    def find(self, rows: Iterable[Row]) -> Iterator[Copy]:
        """Every pair of a row and an item that a method finds: for each row in order, methods, then items."""
        for row in rows:
            wording, text = Wording(row.question), words_of(row.text)
            found = (
                self._exact.find(wording),
                self._covered(row, wording, text),
                self._near.find(wording),
                self._evidence.find((wording.evidence, text)),
            )
            for method, matches in zip(METHODS, found, strict=True):
                for number, score in matches:
                    yield self._copy(row, number, method, score)

    def _covered(self, row: Row, wording: Wording, text: Sequence[str]) -> Iterator[tuple[int, float]]:
        """Our own questions of one pattern share its words and their options, whatever they are about."""
        for number, share in self._coverage.find((wording.whole, wording.given, text)):
            item, shown = self.items[number].wording, row.question.sources
            if shown or not (wording.own and item.own and wording.differs(item)):
                yield number, share

    def _copy(self, row: Row, number: int, method: Method, score: float) -> Copy:
        item = self.items[number]
        texts = {"row_text": shown(row.question), "item_text": shown(item.question), "split": row.split}
        return Copy(row.id, row.config, item.test, item.question.id, method, score, **texts)


def find_copies(rows: Sequence[Row], tests: Mapping[str, Sequence[Question]], settings: Decontamination) -> list[Copy]:
    """Every pair of a row and a test item that any method finds, once for each method that does."""
    return list(CopyFinder(tests, settings).find(rows))
