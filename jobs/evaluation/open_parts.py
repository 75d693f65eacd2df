"""Questions that a model answers in words: from what it knows, by lm-eval's chat, and from passages it is shown."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Sequence
from pathlib import Path

from jobs.documents import Rejection
from jobs.errors import UserError
from jobs.evaluation.parts import Mark, WrittenPart
from jobs.evaluation.source_shelf import Shelf
from qa.prompts import CHAT_OPENING, NOT_FOUND, ask_messages, chat_messages, sources_messages
from qa.records import Passage, Question
from qa.scoring import abstains, exact_match, without_marks

OPEN, CHAT, SOURCES, NO_SOURCE = "open (chat)", "chat (lm-eval)", "sources (chat)", "no source (chat)"
OPEN_TOKENS, SOURCES_TOKENS = 48, 96
CHAT_TOKENS, CHAT_UNTIL = 100, ("\n\n", ".")  # of lm-eval's arc_challenge_chat
CHAT_LETTERS = "ABCD"
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def open_part(task: str, questions: Sequence[Question]) -> WrittenPart:
    """Open questions without sources; right where the answer matches exactly after SQuAD's normalisation."""
    messages = tuple(ask_messages(question.question) for question in questions)
    return WrittenPart(task, OPEN, tuple(questions), messages, _mark_open, OPEN_TOKENS)


def chat_part(task: str, questions: Sequence[Question]) -> WrittenPart:
    """Multiple-choice questions as lm-eval 0.4.13's `arc_challenge_chat` puts them, after our system prompt.

    Options are shown by the letters A to D whatever their labels, and a fifth is dropped: where that is the right one,
    none that is shown is right, and its own label ("E") counts if a model writes it, as in lm-eval.
    """
    messages = tuple(chat_messages(question.question, question.choices) for question in questions)
    return WrittenPart(
        task, CHAT, tuple(questions), messages, _mark_chat, CHAT_TOKENS, opening=CHAT_OPENING, until=CHAT_UNTIL
    )


def source_parts(
    task: str, questions: Sequence[Question], passages: Path, count: int
) -> tuple[WrittenPart, WrittenPart, tuple[Rejection, ...]]:
    """Open questions with `count` passages: the right one among the nearest others, and others alone.

    `passages` is the folder that `collect` made. The right passage stands at a place drawn from the question's id.
    Where it is withheld the right answer is to abstain. The third value names the questions that are left out: their
    evidence is not in the folder, or nothing else is. Raises `UserError` where none is left.
    """
    shelf = Shelf(passages)
    known = [question for question in questions if shelf.right(question)]
    pairs = [(known, others) for known, others in zip(known, shelf.others(known, count), strict=True) if others]
    if not pairs:
        reason = f"holds the evidence of none of the {len(questions)} open questions of {task}"
        raise UserError(f"{shelf.path}: {reason}; name the folder that they were written from, --passages DIR")
    shown = [_among(question, shelf.by_id[question.passage], others[: count - 1]) for question, others in pairs]
    asked, withheld = [question for question, _ in pairs], [others for _, others in pairs]
    return (
        _sourced(task, SOURCES, asked, shown, _mark_cited),
        _sourced(task, NO_SOURCE, asked, withheld, _mark_abstention),
        _unshown(questions, known, asked),
    )


def _unshown(
    questions: Sequence[Question], known: Sequence[Question], asked: Sequence[Question]
) -> tuple[Rejection, ...]:
    """The questions that were not asked, by id and in their order; `known` are those whose evidence is there."""
    here, kept = {question.id for question in known}, {question.id for question in asked}
    alone = "not asked with sources: every other passage is of its document, or holds its evidence too"
    absent = "not asked with sources: the folder of passages does not hold the one with its evidence"
    return tuple(
        Rejection(name=question.id, reason=alone if question.id in here else absent)
        for question in questions
        if question.id not in kept
    )


def _among(question: Question, right: Passage, others: Sequence[Passage]) -> list[Passage]:
    place = int.from_bytes(hashlib.sha256(question.id.encode()).digest()[:8]) % (len(others) + 1)
    return [*others[:place], right, *others[place:]]


def _sourced(
    task: str, formulation: str, questions: Sequence[Question], shown: Sequence[Sequence[Passage]], mark: Mark
) -> WrittenPart:
    messages = tuple(
        sources_messages(question.question, [(passage.title, passage.text) for passage in passages])
        for question, passages in zip(questions, shown, strict=True)
    )
    ids = tuple(tuple(passage.id for passage in passages) for passages in shown)
    return WrittenPart(task, formulation, tuple(questions), messages, mark, SOURCES_TOKENS, sources=ids)


def _mark_open(question: Question, text: str) -> tuple[str, str, bool]:
    return text, question.answer_text, exact_match(text, [question.answer_text])


def _mark_cited(question: Question, text: str) -> tuple[str, str, bool]:
    """The citations stay in the row, and are left aside in the comparison."""
    return text, question.answer_text, exact_match(without_marks(text), [question.answer_text])


def _mark_abstention(question: Question, text: str) -> tuple[str, str, bool]:
    return text, NOT_FOUND, abstains(text)


def _mark_chat(question: Question, text: str) -> tuple[str, str, bool]:
    """lm-eval's filter (white space around) and its exact match without case and punctuation."""
    predicted = text.strip()
    gold = CHAT_LETTERS[question.gold] if question.gold < len(CHAT_LETTERS) else question.answer
    return predicted, gold, _bare(predicted) == _bare(gold)


def _bare(text: str) -> str:
    return text.lower().translate(_PUNCTUATION)
