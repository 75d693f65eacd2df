"""Putting the parts of an evaluation to one model, batch by batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jobs.errors import UserError
from jobs.evaluation.backends import Backend
from jobs.evaluation.journal import Journal
from jobs.evaluation.packing import batches
from jobs.evaluation.parts import NotFinite, Part
from jobs.team import Team
from qa.choices import Item
from qa.prompts import prompt_sha256
from qa.records import Answer


@dataclass
class Examiner:
    """Puts one part to one model and writes the rows down.

    Batches are cut from the whole part, of questions of like length; which process asks one, and whether others were
    asked before a kill, changes nothing in it: with as many threads on the same machine the scores are the same to the
    last bit. `leads` marks the headline, without which there is no result.
    """

    model: str
    backend: Backend
    part: Part
    batch_tokens: int
    leads: bool = False

    @cached_property
    def items(self) -> list[Item]:
        """Every question as token ids."""
        return self.part.items(self.backend.encoder)

    @cached_property
    def skipped(self) -> dict[str, str]:
        """Questions that do not fit the model's window, with the reason."""
        pairs = zip(self.part.questions, self.items, strict=True)
        needed = {question.id: self.part.needs(item) for question, item in pairs}
        window = self.backend.window
        return {
            name: f"needs {tokens} tokens and the model reads {window}"
            for name, tokens in needed.items()
            if tokens > window
        }

    def ask(self, journal: Journal, team: Team, tick: Callable[[int], Any]) -> None:
        """Ask this process's share of what is not in the journal yet.

        Questions that do not fit are written down as skipped. Raises `UserError` where none of the headline's fits.
        """
        if self.leads and len(self.skipped) == len(self.part.questions):
            name, reason = next(iter(self.skipped.items()))
            where = f"model {self.model}, {self.part.task}, {self.part.formulation}"
            raise UserError(f"{where}: no question fits its window (the first, {name}, {reason}); ask fewer shots")
        if journal.skipped() is None:
            journal.skip(self.skipped)
            tick(len(self.skipped))
        known = journal.answers()
        for number, batch in enumerate(self._batches()):
            names = {self.part.questions[place].id for place in batch}
            if number % team.world == team.rank and not names <= known.keys():
                rows = [row for row in self._rows(batch) if row.row_id not in known]
                journal.append(rows)
                tick(len(rows))

    def _batches(self) -> Iterator[list[int]]:
        asked = [place for place, question in enumerate(self.part.questions) if question.id not in self.skipped]
        for batch in batches([self.part.costs(self.items[place]) for place in asked], self.batch_tokens):
            yield [asked[index] for index in batch]

    def _rows(self, batch: list[int]) -> list[Answer]:
        begun = time.monotonic()
        items = [self.items[place] for place in batch]
        try:
            values = self.part.ask(self.backend, batch, items)
        except NotFinite as error:
            raise UserError(
                f"model {self.model}, {self.part.task}, {error}; its weights are damaged or overflow in this precision"
            ) from None
        seconds = round((time.monotonic() - begun) / len(batch), 6)
        return [self._answer(place, seconds, row) for place, row in zip(batch, values, strict=True)]

    def _answer(self, place: int, seconds: float, values: dict[str, Any]) -> Answer:
        question = self.part.questions[place]
        return Answer(
            model=self.model,
            task=self.part.task,
            formulation=self.part.formulation,
            row_id=question.id,
            document=question.document,
            prompt_sha256=prompt_sha256(self.items[place].prompt),
            seconds=seconds,
            **values,
        )
