"""Which passages are shown with a question: the one it was made from, and the nearest that do not answer it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from jobs.errors import UserError
from jobs.index_of import check_index
from qa.records import Passage, Question, read_records
from qa.retrieval import Index, RetrievalError, build

LOOKED_AT = 8  # passages first searched for each that is wanted: those of the question's own document do not count

Allowed = Callable[[Question, Passage], bool]
About = Callable[[Question], Sequence[str]]  # texts that are searched for, one after the other


class Shelf:
    """The passages of a folder that `collect` made."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "passages.jsonl"
        if not self.path.is_file():
            raise UserError(f"{folder}: no passages.jsonl in it; make it with python -m jobs.collect")
        self.passages = list(read_records(self.path, Passage))
        self.by_id = {passage.id: passage for passage in self.passages}
        if len({passage.document for passage in self.passages}) < 2:
            raise UserError(f"{self.path}: fewer than two documents, so no source to tell from another; collect more")

    def right(self, question: Question) -> Passage | None:
        """The passage that the question was made from, if it is here and holds the evidence."""
        passage = self.by_id.get(question.passage)
        return passage if passage and _holds(passage, question) else None

    def others(
        self,
        questions: Sequence[Question],
        count: int,
        *,
        allowed: Allowed = lambda question, passage: True,
        about: About = lambda question: (question.question,),
        built: Path | None = None,
    ) -> Iterator[list[Passage]]:
        """For each question `count` passages of other documents without its evidence: the nearest by BM25, best first.

        They are near to what `about` says of the question: to its first text, then to the next. Passages that share no
        word with any fill up what is missing, in the folder's order; there are fewer than `count` only where the folder
        has no more. `allowed` refuses further ones; `built` is the folder of an index of these passages, which is built
        where there is none. Raises `UserError` for an index of others.
        """
        with self._index(built) as index:
            for question in questions:
                nearest = (_nearest(index, text, LOOKED_AT * count) for text in about(question))
                found = chain(chain.from_iterable(nearest), self.passages)
                yield list(islice(self._wanted(question, found, allowed), count))

    @contextmanager
    def _index(self, built: Path | None) -> Iterator[Index]:
        with TemporaryDirectory(prefix="footnote-") as folder:
            try:
                if built is None:
                    build(self.passages, Path(folder))
                index = Index.load(built or Path(folder))
            except RetrievalError as error:
                raise UserError(str(error) if built else f"{self.path}: {error}") from error
            if built:
                check_index(index, built, self.passages)
            yield index

    def _wanted(self, question: Question, found: Iterable[Passage], allowed: Allowed) -> Iterator[Passage]:
        """Those of the passages found that may stand beside the right one, each once."""
        own = self.by_id[question.passage].document
        seen = set[str]()
        for passage in found:
            new = passage.id not in seen
            seen.add(passage.id)
            if new and passage.document != own and not _holds(passage, question) and allowed(question, passage):
                yield passage


def _nearest(index: Index, text: str, first: int) -> Iterator[Passage]:
    """Passages that share a word with the text, best first: a few, then, with those again, more."""
    looked_at = first
    while True:
        hits = index.search(text, looked_at)
        yield from (hit.passage for hit in hits)
        if len(hits) < looked_at:
            return
        looked_at *= LOOKED_AT


def _holds(passage: Passage, question: Question) -> bool:
    """Whether the question's evidence stands in the passage, white space aside; it may have none."""
    return bool(question.evidence) and " ".join(question.evidence.split()) in " ".join(passage.text.split())
