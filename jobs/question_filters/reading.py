"""Answer round trip and closed-book difficulty: a model answers each question with its passage, and without."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from jobs.data_config import NOT_IN_TEXT
from jobs.question_filters.terms import missing_number, missing_terms
from jobs.writers.pairs import quotable
from qa.prompts import Message, ask_messages, letter_messages, sources_messages
from qa.records import Passage, Question
from qa.scoring import abstains, normalise, token_f1, without_marks

if TYPE_CHECKING:
    from jobs.asker import Asker, Reply

REPLY_TOKENS = 256  # an answer is a sentence
_DENIED = (
    r"\b(?:not|no|nor|never|without|cannot|isnt|arent|wasnt|werent|doesnt|dont|didnt|rather than|instead of|unlike) "
)
Verdict = tuple[Question, "bool | None", str]  # None: no answer was had; then what was said, or why not


def with_passage(
    questions: Sequence[Question], passages: Mapping[str, Passage], asker: Asker, agreement: float
) -> Iterator[Verdict]:
    """Whether the answer given from the passage agrees with the one on record, in the prompt of the product."""

    def messages(question: Question) -> list[Message]:
        source = passages[question.passage]
        return sources_messages(quotable(question.question), [(quotable(source.title), quotable(source.text))])

    for question, reply in _asked(questions, messages, asker, "reading passages"):
        yield _verdict(question, reply, agrees(question, reply.text, agreement))


def closed_book(questions: Sequence[Question], asker: Asker, agreement: float) -> Iterator[Verdict]:
    """Whether the answer given without the passage is right; multiple-choice questions show their options."""

    def messages(question: Question) -> list[Message]:
        asked = quotable(question.question)
        if question.choices:
            return letter_messages(asked, [quotable(choice) for choice in question.choices], question.labels)
        return ask_messages(asked)

    for question, reply in _asked(questions, messages, asker, "asking closed-book"):
        yield _verdict(question, reply, picks(question, reply.text) or agrees(question, reply.text, agreement))


def _asked(
    questions: Sequence[Question], messages: Callable[[Question], list[Message]], asker: Asker, what: str
) -> Iterator[tuple[Question, Reply]]:
    from jobs.asker import Request

    requests = (Request(messages(question), max_tokens=REPLY_TOKENS) for question in questions)
    return zip(questions, asker.ask_all(requests, what, total=len(questions)), strict=True)


def _verdict(question: Question, reply: Reply, agreed: bool) -> Verdict:
    return (question, None, reply.problem) if reply.problem else (question, agreed, reply.text)


def agrees(question: Question, said: str, agreement: float) -> bool:
    """Whether an answer in words is the one on record; the citation marks in it do not count.

    Every number of the answer on record is in it, and every named term. Open: token F1 of `agreement` or more, or the
    whole answer on record as one phrase of it, since a product's answer is a sentence. Multiple choice: closer to the
    right option than to any other. Not in the text: it says so.
    """
    text = without_marks(said)
    if question.kind == NOT_IN_TEXT:
        return abstains(text)
    if missing_number(question.answer_text, text) or not _same_names(question, text):
        return False
    if question.choices:
        scores = [token_f1(text, [choice]) for choice in question.choices]
        return all(scores[question.gold] > score for place, score in enumerate(scores) if place != question.gold)
    answer, given = normalise(question.answer_text), normalise(text)
    affirmed = re.sub(rf"{_DENIED}{re.escape(answer)}\b", " ", given)
    if f" {answer} " in f" {affirmed} ":
        return True
    return affirmed == given and token_f1(text, [question.answer_text]) >= agreement


def _same_names(question: Question, said: str) -> bool:
    """Whether the names of the answer are said; those of the question too may be left out where no other is said."""
    missing = missing_terms(question.answer_text, said)
    asked = not set(missing) & set(missing_terms(question.answer_text, question.question))
    return not missing or (asked and not missing_terms(said, question.answer_text))


def picks(question: Question, said: str) -> bool:
    """Whether a reply is, or begins with, the label of the right option: `B`, `(B)`, `B. A gate`."""
    labels = "|".join(map(re.escape, question.labels))
    found = re.match(rf"\W*({labels})\W*(?:$|(?<=[.):])\s)", said.strip()) if labels else None
    return bool(found) and found[1] == question.answer
