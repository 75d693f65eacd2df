"""Training rows with sources, in RAFT's form (arXiv:2403.10131): the passage that answers among others that do not.

The answer is one sentence with the mark of its source, "… [2].", as evaluation reads it. In a share of the rows the
passage that answers is withheld, and the answer is to say so; questions of the kind `not_in_text` are shown the passage
that they were made from, which does not answer them. A training row shows passages of training documents alone, a
held-out one those of its own side too. Both kinds of rows without an answer together are the share asked for, on each
side of the split.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

from jobs.answering import Words, names_in, signs_of
from jobs.data_config import NOT_IN_TEXT, Reading
from jobs.documents import Rejection
from jobs.evaluation.source_shelf import Shelf
from jobs.excerpts import best_sentence, excerpt, find_span
from jobs.lots import share
from jobs.own_questions import Sides
from jobs.progress import progress
from jobs.rows import Rows, TrainingRow, row_length
from qa.prompts import NOT_FOUND, PromptEncoder, sources_messages
from qa.records import SPLITS, Passage, Question

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

    Which is drawn by hash of the question's id and the seed. `built` is the folder of an index of the same passages.
    """
    made = ReadingRows()
    chosen = list(composer.chosen(questions, made.dropped))
    by_side = ([row for row in chosen if sides.documents[row.document] == split] for split in SPLITS)
    asked = [row for side in by_side for row in composer.mixed(side, made.dropped)]

    def allowed(question: Question, passage: Passage) -> bool:
        return sides.may_show(question, passage.document) and composer.fits(question, passage)

    count = composer.settings.distractors + 1
    nearest = composer.shelf.others(asked, count, allowed=allowed, about=composer.subject, built=built)
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

    Where the right passage stands and whose is withheld is drawn by hash of the question's id and the seed.
    """

    def __init__(self, shelf: Shelf, settings: Reading, *, seed: int, encoder: PromptEncoder, max_length: int) -> None:
        self.shelf, self.settings, self.seed = shelf, settings, seed
        self.encoder, self.max_length = encoder, max_length
        self.words, self.signs = cache(Words), cache(signs_of)
        self.withheld = set[str]()  # ids of questions, by `mixed`

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
        """Those of one side, such that `settings.withheld` of their rows say that the answer is not there.

        Questions that their text cannot answer come first, passages are withheld for the rest of that share. Where
        there are more such questions than the share, those above it are dropped. Both are the first by lot.
        """
        absent = self._byshare("mix", (question for question in asked if question.kind == NOT_IN_TEXT))
        answerable = self._byshare("withheld", (question for question in asked if question.kind != NOT_IN_TEXT))
        share = self.settings.withheld
        most = len(absent) if share == 1 else min(len(absent), round(share / (1 - share) * len(answerable)))
        for question in absent[most:]:
            dropped.append(self._refuse(question, "more questions without an answer than the mix takes"))
        left = {question.id for question in absent[most:]}
        still = max(0, round(share * (len(answerable) + most)) - most)
        self.withheld |= {question.id for question in answerable[:still]}
        return [question for question in asked if question.id not in left]

    def _byshare(self, purpose: str, questions: Iterable[Question]) -> list[Question]:
        return sorted(questions, key=lambda question: share(self.seed, purpose, question.id))

    def _drawn(self, question: Question) -> bool:
        return share(self.seed, "share", question.id) < self.settings.share

    def fits(self, question: Question, passage: Passage) -> bool:
        """Whether a passage of another group may be shown: it shows no answer, and has a sentence short enough."""
        signs = self.signs(question, withheld=question.id in self.withheld)
        return not signs.shown_by(self.words(passage)) and bool(self._excerpt(question, passage))

    def subject(self, question: Question) -> tuple[str, str]:
        """What passages beside the right one are near to: the names asked about, then the question with its evidence.

        The question's own words alone are much the same in all of a kind ("short for", "abbreviate"). Where there is no
        evidence, the sentence nearest to the question stands for it.
        """
        names, own = " ".join(names_in(question.question, marked=True)), self.shelf.by_id[question.passage].text
        nearest = None if question.evidence else best_sentence(own, len(own), names, question.question)
        return names, f"{question.question} {own[slice(*nearest)] if nearest else question.evidence}"

    def row(self, question: Question, others: list[Passage]) -> TrainingRow | Rejection:
        """The row with as many of the others, best first, as it has room for; with none it is no row."""
        own, answers = self.shelf.by_id[question.passage], question.kind != NOT_IN_TEXT
        withheld = question.id in self.withheld
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
        place = int(share(self.seed, "place", question.id) * (len(others) + 1))
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
        """What of the passage is shown: sentences around the evidence, or around the one nearest to the subject."""
        most = self.settings.max_chars
        held = find_span(passage.text, question.evidence) if passage.id == question.passage else None
        core = held or best_sentence(passage.text, most, *self.subject(question))
        return excerpt(passage.text, core, most) if core else ""

    def _refuse(self, question: Question, reason: str) -> Rejection:
        return Rejection(name=reading_id(question), reason=reason, stage=STAGE, text=question.question)


def reading_id(question: Question) -> str:
    """The id of a question's row with sources, beside its row without."""
    return f"{question.id}/{TASK}"


def cited(answer: str, place: int) -> str:
    """An answer as one sentence with the mark of its source, from 1."""
    return f"{answer.strip().removesuffix('.')} [{place}]."
