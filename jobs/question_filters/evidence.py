"""Evidence: a few sentences that a question rests on, verbatim in its passage but for white space."""

from __future__ import annotations

import re

from jobs.data_config import NOT_IN_TEXT
from jobs.documents import collapse
from jobs.question_filters.refused import RefusedError
from jobs.sentences import sentences
from jobs.writers.pairs import quotable
from qa.records import Passage, Question

FEWEST_WORDS, MOST_SENTENCES, MOST_CHARS = 4, 3, 600
_CUT_BEFORE = re.compile(r"(?:[\w-][^\W_]|\d[.,]\d|[−–.]\d|\d[.,−–-])\Z")  # up to the first sign of the evidence
_CUT_AFTER = re.compile(r"[^\W_]-?\w|\d(?:[.,]\d|\s?\\?%)|[.,]\d")  # from the last one on


def check_evidence(question: Question, passage: Passage) -> Question:
    """The question with its evidence as it stands in the passage; one that the text does not answer has none."""
    if question.kind == NOT_IN_TEXT:
        if question.evidence:
            raise RefusedError("a question that its passage does not answer comes with evidence")
        return question
    return question.model_copy(update={"evidence": verbatim(question.evidence, passage.text)})


def verbatim(evidence: str, text: str) -> str:
    """The span of `text` that is `evidence` but for white space, or that a teacher is shown as such.

    Raises `RefusedError` where there is none, or it is too short to say anything, or too long to point at anything.
    """
    evidence = evidence.strip()
    if len(evidence.split()) < FEWEST_WORDS:
        raise RefusedError(f"evidence is shorter than {FEWEST_WORDS} words")
    if len(evidence) > MOST_CHARS or len(list(sentences(collapse(evidence)))) > MOST_SENTENCES:
        raise RefusedError(f"evidence is longer than {MOST_SENTENCES} sentences or {MOST_CHARS} characters")
    if found := _find(evidence, text):
        return text[slice(*found)]
    shown = quotable(text)
    if shown == text or not (found := _find(evidence, shown)):
        raise RefusedError("evidence is not in the passage")
    return text[slice(*_original(found, shown, text))]


def _find(evidence: str, text: str) -> tuple[int, int] | None:
    """Where the words stand in the text, beginning and ending within no other word or number."""
    alike = re.escape(evidence) if evidence in text else r"\s+".join(map(re.escape, evidence.split()))
    for found in re.finditer(alike, text):
        start, end = found.span()
        if not _CUT_BEFORE.search(text[max(0, start - 2) : start + 1]) and not _CUT_AFTER.match(text, end - 1):
            return start, end
    return None


def _original(span: tuple[int, int], shown: str, text: str) -> tuple[int, int]:
    """The span of `text` for one of `shown`, which differs from it in white space and in what it leaves out."""
    places, place = {}, 0
    for number, sign in enumerate(shown[: span[1]]):
        if not sign.isspace():
            place = text.index(sign, place) + 1
            places[number] = place - 1
    return places[span[0]], place
