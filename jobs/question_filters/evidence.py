"""Evidence: the span that a question rests on stands in its passage verbatim, but for white space."""

from __future__ import annotations

import re

from jobs.question_filters.refused import RefusedError
from qa.records import Passage, Question

FEWEST_WORDS = 4


def check_evidence(question: Question, passage: Passage) -> Question:
    """The question with its evidence as it stands in the passage; one that the text does not answer has none."""
    if question.kind == "not_in_text":
        if question.evidence:
            raise RefusedError("a question that its passage does not answer comes with evidence")
        return question
    return question.model_copy(update={"evidence": verbatim(question.evidence, passage.text)})


def verbatim(evidence: str, text: str) -> str:
    """The span of `text` that is `evidence` but for white space. Raises `RefusedError` where there is none."""
    words = evidence.split()
    if len(words) < FEWEST_WORDS:
        raise RefusedError(f"evidence is shorter than {FEWEST_WORDS} words")
    if evidence in text:
        return evidence.strip()
    found = re.search(r"\s+".join(map(re.escape, words)), text)
    if not found:
        raise RefusedError("evidence is not in the passage")
    return found[0]
