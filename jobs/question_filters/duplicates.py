"""Duplicates among questions: the same words in one form, or nearly; the one that comes first is kept.

MinHash finds the candidates, the exact Jaccard similarity of the words of question and answer decides. Two questions
that differ in a number or a named term are never one, so that only those that share all of them are compared. The open
and the multiple-choice form of a question are no duplicates of each other.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from qa.records import Question

PERMUTATIONS, MISSED = 128, 0.01  # share of the pairs of just the least similarity that may be no candidates
_EDGES = "\"'`“”‘’()[]{}<>,;:!?."
_ARTICLES = {"a", "an", "the"}


def first_of_each(questions: Sequence[Question], near: float) -> tuple[list[Question], list[tuple[Question, str]]]:
    """Those that are kept, and the others with the reason. `near` is the least similarity of two that are one."""
    once: list[Question] = []
    refused: list[tuple[Question, str]] = []
    first: dict[tuple[bool, str], str] = {}
    for question in questions:
        key = (bool(question.choices), " ".join(_words(question.question)).casefold())
        if (twin := first.setdefault(key, question.id)) != question.id:
            refused.append((question, f"same question as {twin}"))
        else:
            once.append(question)
    twins = dict(_near(once, near))
    refused += [(once[place], reason) for place, reason in sorted(twins.items())]
    return [question for place, question in enumerate(once) if place not in twins], refused


def _near(questions: Sequence[Question], near: float) -> Iterator[tuple[int, str]]:
    """Place and reason of every question that is nearly one before it."""
    alike: dict[tuple[bool, frozenset[str]], list[int]] = defaultdict(list)
    for place, question in enumerate(questions):
        alike[bool(question.choices), _telling(question)].append(place)
    for places in alike.values():
        if len(places) > 1:
            yield from _near_among([(place, questions[place]) for place in places], near)


def _near_among(questions: Sequence[tuple[int, Question]], near: float) -> Iterator[tuple[int, str]]:
    from rensa import RMinHash, RMinHashLSH

    bags = [_bag(question) for _, question in questions]
    index = RMinHashLSH(threshold=near, num_perm=PERMUTATIONS, num_bands=_bands(near))
    sketches = RMinHash.from_token_sets([sorted(bag) for bag in bags], PERMUTATIONS, 17)
    for number, (place, question) in enumerate(questions):
        for other in sorted(index.query(sketches[number])):
            similarity = len(bags[number] & bags[other]) / len(bags[number] | bags[other])
            twin = questions[other][1]
            if similarity >= near and not _opening(question) ^ _opening(twin):
                yield place, f"nearly the same question as {twin.id} (similarity {similarity:.2f})"
                break
        else:
            index.insert(number, sketches[number])


def _bands(near: float) -> int:
    """As few bands as find enough: with 64, 20,000 questions of one form take 133 s, with 32 less than one."""
    for rows in (8, 4, 2):
        if (1 - near**rows) ** (PERMUTATIONS // rows) <= MISSED:
            return PERMUTATIONS // rows
    return PERMUTATIONS


def _words(text: str) -> list[str]:
    """Words with their own signs (C++, A*, k-means), without articles and punctuation around them."""
    words = (word.strip(_EDGES).removesuffix("'s") for word in text.replace("’", "'").split())
    return [word for word in words if word and word.casefold() not in _ARTICLES]


def _bag(question: Question) -> set[str]:
    return {word.casefold() for word in _words(f"{question.question} {question.answer_text}")}


def _telling(question: Question) -> frozenset[str]:
    """Numbers and names, which no two questions that are one may differ in."""
    texts = _words(question.question), _words(question.answer_text)
    inner = (word for words in texts for word in words[1:] if re.search(r"\d|[A-Z]", word))
    opening = (word for words in texts for word in words[:1] if re.search(r"\d|.[A-Z]", word))
    return frozenset(word.casefold() for word in (*inner, *opening))


def _opening(question: Question) -> set[str]:
    """The answer's first word, which is spelled large whether it is a name or not."""
    return {word.casefold() for word in _words(question.answer_text)[:1]}
