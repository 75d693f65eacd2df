"""Filters of questions, cheap first: what each takes is kept with its reason, and each has its row in the funnel."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.data_config import NOT_IN_TEXT, Scale, Writer
from jobs.documents import Rejection, collapse
from jobs.funnel import Funnel
from jobs.question_filters.alone import check_alone
from jobs.question_filters.duplicates import first_of_each
from jobs.question_filters.evidence import check_evidence
from jobs.question_filters.refused import RefusedError
from jobs.question_filters.terms import check_terms
from jobs.question_filters.trivia import check_trivia
from jobs.shards import run_shards
from qa.records import Passage, Question

if TYPE_CHECKING:
    from jobs.asker import Asker

CHECKS = {
    "evidence": check_evidence,
    "terms": check_terms,
    "stands alone": check_alone,
    "metadata trivia": check_trivia,
}
DUPLICATES, RETRIEVAL, ANSWER, CLOSED_BOOK = "duplicates", "retrieval round trip", "answer round trip", "closed book"
SHARD = 2_000  # questions


def filter_questions(
    questions: Sequence[Question],
    passages: Sequence[Passage],
    *,
    index: Path | None,
    writer: Writer,
    asker: Asker | None,
    folder: Path,
    scale: Scale,
) -> tuple[list[Question], list[Rejection], Funnel]:
    """What is kept, in order, what was refused, and the funnel. `asker` is the model that reads; None: nobody does.

    State of shards is kept under `folder`. A question that the reader did not get to is refused.
    """
    run = _Run(list(questions), {passage.id: passage for passage in passages})
    run.check(folder, scale)
    run.drop_duplicates(writer.near_duplicate)
    run.retrieve(index, folder, scale, writer.found_within)
    run.read(asker, writer.reader.agreement)
    return run.questions, run.rejected, run.funnel


class _Run:
    """The questions that are left, and what became of the others."""

    def __init__(self, questions: list[Question], passages: Mapping[str, Passage]) -> None:
        self.questions, self.passages = questions, passages
        self.rejected: list[Rejection] = []
        self.funnel = Funnel()

    def check(self, folder: Path, scale: Scale) -> None:
        """The checks of one question against its passage, all in one pass over the shards."""
        items = [
            {"question": question.model_dump(mode="json"), "passage": self.passages[question.passage].model_dump()}
            for question in self.questions
        ]
        given, kept, taken = self.questions, [], Counter[str]()
        results = run_shards("checks", items, check_shard, folder, scale=scale, size=SHARD)
        for question, result in zip(given, results, strict=True):
            if stage := result["stage"]:
                taken[stage] += 1
                self.rejected.append(rejection(question, stage, result["reason"]))
            else:
                kept.append(Question(**result["question"]))
        left = len(given)
        for stage in CHECKS:
            self.funnel.add(stage, left, taken[stage])
            left -= taken[stage]
        self.questions = kept

    def drop_duplicates(self, near: float) -> None:
        kept, refused = first_of_each(self.questions, near)
        self._take(DUPLICATES, kept, refused)

    def retrieve(self, index: Path | None, folder: Path, scale: Scale, most: int) -> None:
        """What the passage does not answer need not find it."""
        from jobs.question_filters.round_trip import places

        if not most:
            self.funnel.skip(RETRIEVAL, "writer.found_within is 0")
            return
        found = places(self.questions, self.passages.values(), index, folder=folder, scale=scale, most=most)
        kept, refused = [], []
        for question, place in zip(self.questions, found, strict=True):
            if place or question.kind == NOT_IN_TEXT:
                kept.append(question)
            else:
                refused.append((question, f"question does not find its passage among {most}"))
        self._take(RETRIEVAL, kept, refused)

    def read(self, asker: Asker | None, agreement: float) -> None:
        from jobs.question_filters.reading import with_passage

        if asker is None:
            for stage in (ANSWER, CLOSED_BOOK):
                self.funnel.skip(stage, "no reader configured (writer.reader.kind)")
            return
        kept, refused = [], []
        for question, agreed, said in with_passage(self.questions, self.passages, asker, agreement):
            if agreed:
                kept.append(question)
            elif agreed is None:
                refused.append((question, f"not read ({said})"))
            else:
                refused.append((question, f"with the passage a model says: {collapse(said)[:200]}"))
        self._take(ANSWER, kept, refused)
        self._label(asker, agreement)

    def _label(self, asker: Asker, agreement: float) -> None:
        from jobs.question_filters.reading import closed_book

        labelled, unread = [], Counter[str]()
        for question, right, said in closed_book(self.questions, asker, agreement):
            label = "" if right is None else "right" if right else "wrong"
            labelled.append(question.model_copy(update={"closed_book": label}))
            unread.update([said] if right is None else [])
        self._take(CLOSED_BOOK, labelled, [])
        for problem, count in unread.most_common(3):
            self.funnel.skip(CLOSED_BOOK, f"{count} without an answer: {problem}")

    def _take(self, stage: str, kept: list[Question], refused: Iterable[tuple[Question, str]]) -> None:
        before = len(self.rejected)
        self.rejected += [rejection(question, stage, reason) for question, reason in refused]
        self.funnel.add(stage, len(self.questions), len(self.rejected) - before)
        self.questions = kept


def check_shard(items: Iterable[dict]) -> Iterator[dict]:
    """Each question with its passage → the question as amended, or the check that refused it and why."""
    for item in items:
        yield _checked(Question(**item["question"]), Passage(**item["passage"]))


def _checked(question: Question, passage: Passage) -> dict:
    for stage, check in CHECKS.items():
        try:
            question = check(question, passage)
        except RefusedError as refusal:
            return {"stage": stage, "reason": str(refusal)}
    return {"stage": "", "question": question.model_dump(mode="json")}


def rejection(question: Question, stage: str, reason: str) -> Rejection:
    """A refused question as a row of `rejected.parquet`."""
    words = {"question": question.question, "answer": question.answer_text, "evidence": question.evidence}
    return Rejection(name=question.id, reason=reason, stage=stage, text=json.dumps(words, ensure_ascii=False))
