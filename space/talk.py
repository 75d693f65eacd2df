"""A conversation in the Ask tab: what was asked and answered, as the visitor and the model wrote it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from qa.ask_settings import MOST_SEED, AskSettings

MOST_TURNS = 20  # earlier ones leave the page, as they have long left the model's window

Turn = tuple[str, str]


@dataclass(frozen=True)
class Talk:
    """The turns before the last question, that question, and its answer so far ("" where there is none)."""

    turns: tuple[Turn, ...] = ()
    question: str = ""
    answer: str = ""
    settings: AskSettings = field(default_factory=AskSettings)

    @property
    def answered(self) -> tuple[Turn, ...]:
        """Every question that has an answer."""
        return (*self.turns, (self.question, self.answer)) if self.answer else self.turns

    def followed(self, question: str, settings: AskSettings) -> Self:
        """The conversation with one more question."""
        return type(self)(self.answered[-MOST_TURNS:], question, "", settings)

    def again(self) -> Self:
        """The conversation with its last question asked anew, with the next seed."""
        seed = (self.settings.seed + 1) % (MOST_SEED + 1)
        return replace(self, answer="", settings=replace(self.settings, seed=seed))
