"""Training rows with sources, in RAFT's form (arXiv:2403.10131): the passage that answers among others that do not.

The answer is one sentence with the mark of its source, "… [2].", as evaluation reads it. In a share of the rows the
passage that answers is withheld, and the answer is to say so; questions of the kind `not_in_text` are shown the passage
that they were made from, which does not answer them. A training row shows passages of training documents alone, a
held-out one those of its own side too. Both kinds of rows without an answer together are the share asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

from jobs.data_config import Reading
from jobs.documents import Rejection
from jobs.evaluation.source_shelf import Shelf
from jobs.excerpts import best_sentence, content_words, excerpt, find_span
from jobs.own_questions import NOT_IN_TEXT, Sides
from jobs.progress import progress
from jobs.rows import Rows, TrainingRow, row_length
from qa.prompts import NOT_FOUND, PromptEncoder, sources_messages
from qa.records import SPLITS, Passage, Question
from qa.scoring import normalise

TASK = "reading"
STAGE = "reading"  # of what is left out here


@dataclass
class ReadingRows:
    """Rows by split and what was left out; `figures` counts them."""

    rows: Rows = field(default_factory=lambda: {split: [] for split in SPLITS})
    dropped: list[Rejection] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Rows, those whose answer is not shown, sources beside the right one, and what was left out by reason."""
        rows = [row for split in SPLITS for row in self.rows[split]]
        absent = [row for row in rows if row.completion == NOT_FOUND]
        asked = sum(row.question.kind == NOT_IN_TEXT for row in absent)
        beside = [len(row.question.sources) - (row.question.passage in row.question.sources) for row in rows]
        return {
            "rows": len(rows),
            "withheld": len(absent) - asked,
            NOT_IN_TEXT: asked,
            "distractors_mean": round(mean(beside), 3) if beside else 0.0,
            "dropped": len(self.dropped),
        }


def read_among(
    questions: Iterable[Question], sides: Sides, composer: Composer, built: Path | None = None
) -> ReadingRows:
    """Rows for a share of the open questions, and for what their text cannot answer, as far as the mix takes it.

    Which questions is drawn by hash of the question's id and the seed. `built` is the folder of an index of the
    composer's passages.
    """
    made = ReadingRows()
    asked = composer.mixed(list(composer.chosen(questions, made.dropped)), made.dropped)

    def allowed(question: Question, passage: Passage) -> bool:
        return sides.may_show(question, passage.document) and composer.fits(question, passage)

    nearest = composer.shelf.others(asked, composer.settings.distractors + 1, allowed=allowed, built=built)
    shown = progress(asked, "choosing sources", total=len(asked), unit="question")
    for question, others in zip(shown, nearest, strict=True):
        row = composer.row(question, others)
        if isinstance(row, Rejection):
            made.dropped.append(row)
        else:
            made.rows[sides.documents[question.document]].append(row)
    return made


def without_passage(question: Question) -> Rejection:
    """Why a question that its text cannot answer stands in no row: without the text it has no right answer."""
    return Rejection(name=question.id, reason="needs its passage", stage=STAGE, text=question.question)


class Composer:
    """Makes the row of a question from passages that do not answer it, in at most `max_length` tokens.

    Where the right passage stands and whether it is withheld is drawn by hash of the question's id and the seed.
    """

    def __init__(self, shelf: Shelf, settings: Reading, *, seed: int, encoder: PromptEncoder, max_length: int) -> None:
        self.shelf, self.settings, self.seed = shelf, settings, seed
        self.encoder, self.max_length = encoder, max_length
        self.normal_form = cache(_normal_form)
        self.withheld = settings.withheld  # share of the answerable questions; `mixed` sets it

    def chosen(self, questions: Iterable[Question], dropped: list[Rejection]) -> Iterator[Question]:
        """The questions that are asked with sources; those that must be and cannot are dropped."""
        for question in questions:
            if question.kind == NOT_IN_TEXT:
                if question.passage in self.shelf.by_id:
                    yield question
                else:
                    dropped.append(without_passage(question))
            elif self._drawn(question) and not question.choices and self.shelf.right(question):
                yield question

    def mixed(self, asked: list[Question], dropped: list[Rejection]) -> list[Question]:
        """Those asked, such that `withheld` of all rows say that the answer is not there.

        Questions that their text cannot answer come first, passages are withheld for the rest of that share. Where
        there are more such questions than the share, those above it are dropped, by lot.
        """
        absent = sorted((q for q in asked if q.kind == NOT_IN_TEXT), key=lambda q: _lot(self.seed, "mix", q.id))
        answerable = len(asked) - len(absent)
        share = self.settings.withheld
        most = len(absent) if share == 1 else min(len(absent), round(share / (1 - share) * answerable))
        for question in absent[most:]:
            dropped.append(self._refuse(question, "more questions without an answer than the mix takes"))
        left = {question.id for question in absent[most:]}
        if answerable:
            self.withheld = max(0.0, (share * (answerable + most) - most) / answerable)
        return [question for question in asked if question.id not in left]

    def _drawn(self, question: Question) -> bool:
        return _lot(self.seed, "share", question.id) < self.settings.share

    def fits(self, question: Question, passage: Passage) -> bool:
        """Whether a passage of another group may be shown: it holds no answer, and a sentence short enough to show.

        No answer is known of what the text cannot answer; then it may hold less than half of the question's words.
        """
        text = self.normal_form(passage.title, passage.text)
        if question.kind == NOT_IN_TEXT:
            words = content_words(question.question)
            silent = 2 * len(words & set(text.split())) < len(words)
        else:
            silent = f" {normalise(question.answer_text)} " not in text
        return silent and bool(self._excerpt(question, passage))

    def row(self, question: Question, others: list[Passage]) -> TrainingRow | Rejection:
        """The row with as many of the others, best first, as it has room for; with none it is no row."""
        own, answers = self.shelf.by_id[question.passage], question.kind != NOT_IN_TEXT
        withheld = answers and _lot(self.seed, "withheld", question.id) < self.withheld
        others = others if withheld else others[: self.settings.distractors]
        least = 2 if withheld else 1  # two sources at least, so that their number tells nothing
        if len(others) < least:
            return self._refuse(question, "no other passage to show with it")
        if not self._excerpt(question, own):
            return self._refuse(question, f"each sentence of its passage is over {self.settings.max_chars} characters")
        for count in range(len(others), least - 1, -1):
            shown = others[:count] if withheld else self._among(question, own, others[:count])
            row = self._row(question, shown, answered=answers and not withheld)
            if row_length(row, self.encoder) <= self.max_length:
                return row
        return self._refuse(question, f"longer than {self.max_length} tokens with two sources")

    def _among(self, question: Question, own: Passage, others: list[Passage]) -> list[Passage]:
        place = int(_lot(self.seed, "place", question.id) * (len(others) + 1))
        return [*others[:place], own, *others[place:]]

    def _row(self, question: Question, shown: list[Passage], *, answered: bool) -> TrainingRow:
        names = tuple(passage.id for passage in shown)
        sources = [(passage.title, self._excerpt(question, passage)) for passage in shown]
        answer = cited(question.answer_text, names.index(question.passage) + 1) if answered else NOT_FOUND
        known = question.answer_text if answered else NOT_FOUND
        changes = {"id": reading_id(question), "task": TASK, "sources": names, "answer_text": known}
        asked = question.model_copy(update=changes | {"choices": (), "labels": (), "answer": ""})
        return TrainingRow(asked, sources_messages(question.question, sources), answer)

    def _excerpt(self, question: Question, passage: Passage) -> str:
        """What of the passage is shown: sentences around the evidence, or around the one nearest to the question."""
        most = self.settings.max_chars
        held = find_span(passage.text, question.evidence) if passage.id == question.passage else None
        core = held or best_sentence(passage.text, question.question, most)
        return excerpt(passage.text, core, most) if core else ""

    def _refuse(self, question: Question, reason: str) -> Rejection:
        return Rejection(name=reading_id(question), reason=reason, stage=STAGE, text=question.question)


def reading_id(question: Question) -> str:
    """The id of a question's row with sources, beside its row without."""
    return f"{question.id}/{TASK}"


def cited(answer: str, place: int) -> str:
    """An answer as one sentence with the mark of its source, from 1."""
    return f"{answer.strip().removesuffix('.')} [{place}]."


def _normal_form(title: str, text: str) -> str:
    """All the words that a passage may show, between spaces, so that whole words are found in it."""
    return f" {normalise(title)} {normalise(text)} "


def _lot(seed: int, purpose: str, name: str) -> float:
    """A number from 0 to below 1 that depends on seed, purpose and name alone, evenly spread."""
    digest = hashlib.sha256(f"{seed}\0{purpose}\0{name}".encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48
