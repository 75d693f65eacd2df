"""Position bias of multiple-choice answers: does it matter at which place an option stands?

Accuracy by the place of the right option and its spread are those of Zheng et al. 2023 (arXiv 2309.03882). A question
rotated by r shows its option of place p + r, counted around, at place p; labels stay where they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, pstdev

from qa.records import Question

SPREAD_ROWS = 10  # right options at a place, below which its accuracy says nothing: ARC has one E in 2,376 questions
_ROTATED = re.compile(r"^(.*), rotated (\d+)$")


@dataclass(frozen=True)
class Place:
    """One place among the options, counted from 0.

    `n` questions have their right option there, and `correct` of them were answered rightly; `offered` questions have
    an option there at all, and `chosen` of them were answered by it.
    """

    place: int
    n: int
    correct: int
    offered: int
    chosen: int


def rotate(question: Question, by: int) -> Question:
    """The question with every option `by` places further up, those at the top at the end; its id stays the same.

    Labels keep their places, and the answer is the label where the right option stands now.
    """
    count = len(question.choices)
    choices = tuple(question.choices[original_place(place, by, count)] for place in range(count))
    answer = question.labels[(question.gold - by) % count]
    return question.model_copy(update={"choices": choices, "answer": answer})


def original_place(place: int, by: int, count: int) -> int:
    """Where the option that a question of `count` options, rotated by `by`, shows at `place` stands in the row."""
    return (place + by) % count


def rotation_of(formulation: str) -> tuple[str, int]:
    """The formulation without its rotation, and the rotation: `letter (chat), rotated 2` → `letter (chat)`, 2."""
    found = _ROTATED.match(formulation)
    return (found[1], int(found[2])) if found else (formulation, 0)


def by_place(answers: Iterable[tuple[int, int, int]]) -> list[Place]:
    """Counts for every place, from answers as (place of the right option, place chosen, number of options)."""
    rows = list(answers)
    return [
        Place(
            place,
            sum(gold == place for gold, _, _ in rows),
            sum(gold == chosen == place for gold, chosen, _ in rows),
            sum(place < count for _, _, count in rows),
            sum(chosen == place for _, chosen, _ in rows),
        )
        for place in range(max((count for _, _, count in rows), default=0))
    ]


def spread(places: Iterable[Place]) -> float | None:
    """Standard deviation of the places' accuracies, as a share; None where fewer than two can be judged."""
    shares = [place.correct / place.n for place in places if place.n >= SPREAD_ROWS]
    return pstdev(shares) if len(shares) > 1 else None


@dataclass(frozen=True)
class Rotations:
    """Answers to `n` questions under every rotation of their options.

    `correct` maps a question to whether each of its rotations was answered rightly; `unchanged` is the share of
    questions of which every rotation was answered by the same option.
    """

    n: int
    unchanged: float
    correct: dict[str, tuple[bool, ...]]

    @property
    def value(self) -> float:
        """Accuracy over all rotations of all questions."""
        return fmean(right for rights in self.correct.values() for right in rights)


def over_rotations(chosen: Mapping[str, Mapping[int, int]], questions: Mapping[str, Question]) -> Rotations | None:
    """From the original place of the option chosen, by question and rotation; None where no question has them all."""
    whole = {name: places for name, places in chosen.items() if len(places) == len(questions[name].choices)}
    if not whole:
        return None
    same = sum(len(set(places.values())) == 1 for places in whole.values())
    correct = {
        name: tuple(places[by] == questions[name].gold for by in sorted(places)) for name, places in whole.items()
    }
    return Rotations(len(whole), same / len(whole), correct)
