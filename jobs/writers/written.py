"""What a writer made of passages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jobs.documents import Rejection
from jobs.funnel import Funnel
from qa.records import Passage, Question


@dataclass
class Written:
    """Questions, what was left out and why, the funnel so far, and what a teacher was paid for (empty without one)."""

    questions: list[Question] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    funnel: Funnel = field(default_factory=Funnel)
    usage: dict[str, Any] = field(default_factory=dict)


def passage_fields(passage: Passage) -> dict[str, str]:
    """What a question has of the passage that it was made from: where it is from, and under which licence."""
    return {
        "document": passage.document,
        "passage": passage.id,
        "source": passage.source,
        "licence": passage.licence,
        "date": passage.date,
    }
