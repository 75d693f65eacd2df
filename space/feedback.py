"""Votes and thumbs: counted here, and with the visitor's consent kept in a private data set, without who it was."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from qa.artifacts import Reference
from qa.ask_settings import QUESTION_CHARACTERS, AskSettings
from space.credits import Credit
from space.feedback_store import Row, Store
from space.settings import Settings

SCHEMA = 1
ANSWER_CHARACTERS, COMMENT_CHARACTERS = 4000, 500
ROWS_A_DAY = 5000  # of one process
FULL = "today's room for kept feedback is used up"

log = logging.getLogger(__name__)

Choice = Literal["tuned", "base", "tie", "bad"]
Thumb = Literal["up", "down"]


@dataclass(frozen=True)
class Tally:
    """How often which model was preferred; `ties` are both as good and both bad."""

    base: int = 0
    tuned: int = 0
    ties: int = 0

    def plus(self, choice: Choice) -> Tally:
        """The tally with one more vote."""
        add = {"base": (1, 0, 0), "tuned": (0, 1, 0)}.get(choice, (0, 0, 1))
        return self + Tally(*add)

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.base + other.base, self.tuned + other.tuned, self.ties + other.ties)


class Feedback:
    """What visitors think of the answers. Without FOOTNOTE_FEEDBACK nothing is kept beyond the process's tally.

    `credits` are the models as they are served, where that is known: they tell the exact revisions.
    """

    def __init__(self, settings: Settings, credits: Mapping[str, Credit] | None = None) -> None:
        self._references = {"base": settings.base, "tuned": settings.model}
        self._credits = {} if credits is None else credits
        self._tally, self._day, self._today = Tally(), "", 0
        self._lock = threading.Lock()
        self._wrong = _wrong_name(settings.feedback)
        self._store = Store(settings.feedback, self._count_past) if settings.feedback and not self._wrong else None

    @property
    def configured(self) -> bool:
        """Whether this copy can keep anything."""
        return self._store is not None

    @property
    def repository(self) -> str:
        """The data set, empty where there is none."""
        return self._store.repository if self._store else ""

    @property
    def problem(self) -> str:
        """Why rows wait in their folder or are not kept, in one line; empty while all is well."""
        return self._store.problem if self._store else self._wrong

    def tally(self) -> Tally:
        """All votes that this copy knows of: those in its data set, and those since it began."""
        with self._lock:
            return self._tally

    def vote(
        self, *, consent: bool, choice: Choice, question: str, base: str, tuned: str, settings: AskSettings
    ) -> str:
        """Count a vote, and keep it with consent; the line for the visitor."""
        if choice not in get_args(Choice):
            raise ValueError(f"no choice: {choice!r}")
        with self._lock:
            self._tally = self._tally.plus(choice)
        if not consent or not self._store:
            return "Counted. Nothing is stored."
        row = self._row("vote", question, {"base": base, "tuned": tuned}, choice, settings)
        return f"Counted, {self._keep(row)}."

    def thumb(self, consent: bool, kind: Thumb, question: str, answer: str, comment: str, settings: AskSettings) -> str:
        """Keep a thumb, with consent; the line for the visitor."""
        if kind not in get_args(Thumb):
            raise ValueError(f"no thumb: {kind!r}")
        if not self._store:
            return "Thank you. This copy keeps no feedback."
        if not consent:
            return "Thank you. Nothing is stored."
        row = self._row("thumb", question, {"base": "", "tuned": answer}, kind, settings, comment)
        return f"Thank you, {self._keep(row)}."

    def close(self) -> None:
        """Send what waits."""
        if self._store:
            self._store.close()

    def _row(
        self, kind: str, question: str, answers: dict[str, str], choice: str, settings: AskSettings, comment: str = ""
    ) -> Row:
        return {
            "schema": SCHEMA,
            "kind": kind,
            "date": datetime.now(UTC).date().isoformat(),
            "question": _cut(question, QUESTION_CHARACTERS),
            "answers": {side: _cut(text, ANSWER_CHARACTERS) for side, text in answers.items()},
            "models": {side: self._model(side, reference) for side, reference in self._references.items()},
            "settings": settings.as_dict(),
            "choice": choice,
            "comment": _cut(comment, COMMENT_CHARACTERS),
        }

    def _model(self, side: str, reference: Reference) -> dict[str, str]:
        credit = self._credits.get(side)
        return {"repository": reference.repository, "revision": credit.revision if credit else reference.revision}

    def _keep(self, row: Row) -> str:
        with self._lock:
            self._day, self._today = row["date"], self._today + 1 if row["date"] == self._day else 1
            if self._today > ROWS_A_DAY:
                return f"but not kept: {FULL}"
        kept = self._store is not None and self._store.append(row)
        return "and kept for the project" if kept else "but not kept: this copy cannot store it now"

    def _count_past(self, rows: Iterator[Row]) -> None:
        past = Tally()
        for row in rows:
            if row.get("kind") == "vote" and row.get("choice") in get_args(Choice):
                past = past.plus(row["choice"])
        with self._lock:
            self._tally += past


def _wrong_name(repository: str) -> str:
    """Why nothing can be kept in a data set of this name, in one line; "" where something can, or none is named."""
    try:
        if repository:
            validate_repo_id(repository)
    except HFValidationError:
        line = f"FOOTNOTE_FEEDBACK={repository!r} is no data set's name, so no feedback is kept; set it to another"
        log.error("%s", line)
        return line
    return ""


def _cut(text: Any, most: int) -> str:
    """Text that every reader of JSON takes: bounded, and without halves of surrogate pairs."""
    return str(text)[:most].encode("utf-8", "replace").decode()
