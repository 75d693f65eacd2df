"""Duplicates among questions: the same words in one form, or nearly; the first that has an answer is kept.

MinHash finds the candidates, the exact Jaccard similarity of the words of question and answer decides. Two questions
that differ in a number or a named term are never one, so that only those that share all of them are compared. The open
and the multiple-choice form of a question are no duplicates of each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from jobs.data_config import NOT_IN_TEXT
from jobs.shingles import LikeSets
from jobs.telling import signed_words, telling
from qa.records import Question


def first_of_each(questions: Sequence[Question], near: float) -> tuple[list[Question], list[tuple[Question, str]]]:
    """Those that are kept, and the others with the reason. `near` is the least similarity of two that are one."""
    once: list[Question] = []
    refused: list[tuple[Question, str]] = []
    first: dict[tuple[bool, str], str] = {}
    for question in sorted(questions, key=lambda question: question.kind == NOT_IN_TEXT):
        first.setdefault(_wording(question), question.id)
    for question in questions:
        if (twin := first[_wording(question)]) != question.id:
            refused.append((question, f"same question as {twin}"))
        else:
            once.append(question)
    twins = dict(_near(once, near))
    refused += [(once[place], reason) for place, reason in sorted(twins.items())]
    return [question for place, question in enumerate(once) if place not in twins], refused


def _wording(question: Question) -> tuple[bool, str]:
    return bool(question.choices), " ".join(signed_words(question.question)).casefold()


def _near(questions: Sequence[Question], near: float) -> Iterator[tuple[int, str]]:
    """Place and reason of every question that is nearly one before it."""
    alike: dict[tuple[bool, frozenset[str]], list[int]] = defaultdict(list)
    for place, question in enumerate(questions):
        alike[bool(question.choices), telling(question.question, question.answer_text)].append(place)
    for places in alike.values():
        if len(places) > 1:
            yield from _near_among([(place, questions[place]) for place in places], near)


def _near_among(questions: Sequence[tuple[int, Question]], near: float) -> Iterator[tuple[int, str]]:
    kept = LikeSets(near)
    for number, (place, question) in enumerate(questions):
        bag = _bag(question)
        for other, similarity in kept.like(bag):
            twin = questions[other][1]
            if not _opening(question) ^ _opening(twin):
                yield place, f"nearly the same question as {twin.id} (similarity {similarity:.2f})"
                break
        else:
            kept.add(number, bag)


def _bag(question: Question) -> set[str]:
    return {word.casefold() for word in signed_words(f"{question.question} {question.answer_text}")}


def _opening(question: Question) -> set[str]:
    """The answer's first word, which is spelled large whether it is a name or not."""
    return {word.casefold() for word in signed_words(question.answer_text)[:1]}
