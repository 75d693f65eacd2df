"""Our own questions by the side of the split that their documents are on, and the check that no group is on two."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from jobs.config import Dataset
from jobs.documents import Rejection
from jobs.errors import UserError
from jobs.splits import assign_splits
from jobs.step import STEP_FILE, read_step
from qa.records import SPLITS, Question, Split, read_records

QUESTIONS, SPLIT_FILE = "questions.jsonl", "splits.json"

Questions = dict[Split, list[Question]]


class SplitFile(BaseModel):
    """What stands in `splits.json`: side and group by document, and what they were drawn with."""

    model_config = ConfigDict(strict=True, extra="ignore")

    salt: str
    fractions: list[float]
    documents: dict[str, Split]
    groups: dict[str, str]


@dataclass(frozen=True)
class Sides:
    """On which side of the split each document is, and of which group."""

    documents: Mapping[str, Split]
    groups: Mapping[str, str]

    def may_show(self, question: Question, document: str) -> bool:
        """Whether a row of the question may show this document beside its own: of another group, none held out."""
        own, other = self.documents[question.document], self.documents[document]
        apart = self.groups[question.document] != self.groups[document]
        return apart and (other == own or other == "train")

    def check(self, place: str) -> None:
        """Raise `UserError` where a group is on two sides."""
        seen: dict[str, str] = {}
        for document, split in self.documents.items():
            other = seen.setdefault(self.groups[document], document)
            if self.documents[other] != split:
                where = f"{other} on {self.documents[other]}, {document} on {split}"
                raise UserError(f"{place}: a group of documents is on two sides: {where}; write the questions again")


def read_own(source: Path, dataset: Dataset, documents: Iterable[str] = ()) -> tuple[Questions, Sides]:
    """The questions of a folder that `write_questions` made, and the sides of their and of other `documents`.

    Raises `UserError` for a folder without questions, and where a document is on no side, or a group on two.
    """
    path = source / QUESTIONS
    if not path.is_file():
        raise UserError(f"{source}: no {QUESTIONS} in it; make it with python -m jobs.write_questions")
    questions = list(read_records(path, Question))
    if not questions:
        raise UserError(f"{path}: holds no question; write some first")
    named = {question.document for question in questions} | set(documents)
    sides = _sides(source / SPLIT_FILE, named, dataset)
    if missing := sorted(named - sides.documents.keys()):
        raise UserError(f"{source / SPLIT_FILE}: names no side for {missing[0]}; write the questions again")
    sides.check(str(source / SPLIT_FILE))
    rows: Questions = {split: [] for split in SPLITS}
    for question in questions:
        rows[sides.documents[question.document]].append(question)
    return rows, sides


def _sides(path: Path, documents: Iterable[str], dataset: Dataset) -> Sides:
    """The split that the questions were written for; drawn here, by document, for questions from elsewhere."""
    if not path.is_file():
        return _drawn_here(path.parent, documents, dataset)
    stored = _read_splits(path)
    if stored.salt != dataset.salt or stored.fractions != list(dataset.fractions):
        raise UserError(
            f"{path}: the questions were written for salt {stored.salt!r} and fractions {stored.fractions}; "
            "write them again, or set dataset.salt and dataset.fractions to these"
        )
    if missing := sorted(stored.documents.keys() - stored.groups.keys()):
        raise UserError(f"{path}: names no group for {missing[0]}; write the questions again")
    return Sides(stored.documents, stored.groups)


def _drawn_here(source: Path, documents: Iterable[str], dataset: Dataset) -> Sides:
    """A new split, told on stderr. Raises `UserError` where `write_questions` had drawn one, by groups."""
    if (source / STEP_FILE).is_file() and read_step(source).step == "write_questions":
        raise UserError(f"{source}: {SPLIT_FILE} is missing; write the questions again")
    print(f"{source}: no {SPLIT_FILE}: documents are split here, each its own group", file=sys.stderr)
    groups = {document: document for document in documents}
    return Sides(assign_splits(groups, dataset.salt, dataset.fractions), groups)


def _read_splits(path: Path) -> SplitFile:
    """The file's contents; raises `UserError` with the first fault, or all that is missing."""
    try:
        return SplitFile.model_validate_json(path.read_bytes())
    except ValidationError as error:
        faults = error.errors()
    missing = sorted(str(fault["loc"][0]) for fault in faults if fault["type"] == "missing")
    place = ".".join(map(str, faults[0]["loc"]))
    reason = f"no {', '.join(missing)} in it" if missing else f"{place}: {faults[0]['msg']}".removeprefix(": ")
    raise UserError(f"{path}: {reason}; write the questions again")


def take_repeated(questions: list[Question]) -> list[Rejection]:
    """Take out of a list what is asked above already, word for word with the same options."""
    first: dict[str, Question] = {}
    repeated = []
    for question in questions:
        if (above := first.setdefault(_identity(question), question)) is not question:
            reason = f"asked already in its split: {above.id}"
            repeated.append(Rejection(name=question.id, reason=reason, stage="duplicate", text=question.question))
    questions[:] = first.values()
    return repeated


def _identity(row: Question) -> str:
    """Question and options without case, spaces and punctuation; options in any order."""
    texts = [row.question, *sorted(choice.casefold() for choice in row.choices)]
    return "\n".join("".join(filter(str.isalnum, text.casefold())) for text in texts)
