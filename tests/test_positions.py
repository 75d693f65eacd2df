"""Rotated options, and what places say of a model: a biased one is told from a fair one."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from qa.positions import Place, by_place, original_place, over_rotations, rotate, rotation_of, spread
from qa.records import Question
from tests.tiny_questions import make_question


def test_a_rotated_question_by_hand() -> None:
    question = Question(
        id="q",
        question="Which?",
        choices=("wool", "iron", "milk"),
        labels=("1", "2", "3"),
        answer="3",
        answer_text="milk",
        document="d",
    )
    turned = rotate(question, 1)
    assert (turned.choices, turned.labels, turned.answer) == (("iron", "milk", "wool"), ("1", "2", "3"), "2")
    assert (turned.id, turned.answer_text, turned.document) == ("q", "milk", "d")
    assert rotate(question, 2).choices == ("milk", "wool", "iron")
    assert rotate(question, 2).answer == "1"


@pytest.mark.parametrize("number", range(12))
def test_a_rotation_moves_every_option_and_keeps_the_right_one(number: int) -> None:
    question = make_question(random.Random(number), number, "research")
    count = len(question.choices)
    for by in range(count):
        turned = rotate(question, by)
        assert turned.labels == question.labels
        assert turned.choices[turned.gold] == question.choices[question.gold]
        places = [original_place(place, by, count) for place in range(count)]
        assert [question.choices[place] for place in places] == list(turned.choices)
        assert places[turned.gold] == question.gold
    assert rotate(question, 0) == rotate(question, count) == question
    assert rotate(rotate(question, 1), count - 1) == question


def test_the_rotation_is_read_from_the_name() -> None:
    assert rotation_of("letter (chat, 5 shots), rotated 12") == ("letter (chat, 5 shots)", 12)
    assert rotation_of("letter (chat)") == ("letter (chat)", 0)


def test_places_are_counted_where_they_are_offered() -> None:
    rows = [(0, 0, 4), (0, 1, 4), (2, 2, 3), (3, 0, 4), (1, 1, 3)]
    assert by_place(rows) == [Place(0, 2, 1, 5, 2), Place(1, 1, 1, 5, 2), Place(2, 1, 1, 5, 1), Place(3, 1, 0, 3, 0)]
    assert by_place([]) == []


def test_the_spread_is_the_deviation_of_accuracies_and_leaves_rare_places_out() -> None:
    places = [Place(0, 20, 18, 40, 30), Place(1, 20, 8, 40, 10), Place(2, 1, 0, 5, 0)]
    assert spread(places) == pytest.approx(np.std([0.9, 0.4]))
    assert spread(places[1:]) is None


def answered(questions: dict[str, Question], choose: Callable[[Question], str]) -> dict[str, dict[int, int]]:
    """Original places of the options that a rule picks under every rotation."""
    found: dict[str, dict[int, int]] = {}
    for name, question in questions.items():
        for by in range(len(question.choices)):
            label = choose(rotate(question, by))
            place = original_place(question.labels.index(label), by, len(question.choices))
            found.setdefault(name, {})[by] = place
    return found


def test_who_goes_by_the_place_changes_and_who_goes_by_the_option_does_not() -> None:
    draw = random.Random(5)
    questions = {str(number): make_question(draw, number, "research") for number in range(30)}
    first = over_rotations(answered(questions, lambda question: question.labels[0]), questions)
    assert first is not None
    assert first.n == 30
    assert first.unchanged == 0
    asked = sum(len(question.choices) for question in questions.values())
    assert first.value == pytest.approx(30 / asked)  # right once in each question
    longest = over_rotations(
        answered(questions, lambda question: max(zip(question.choices, question.labels, strict=True))[1]), questions
    )
    assert longest is not None
    assert longest.unchanged == 1
    assert {len(set(rights)) for rights in longest.correct.values()} == {1}


def test_a_question_that_was_not_asked_every_way_does_not_count() -> None:
    questions = {str(number): make_question(random.Random(1), 1, "research") for number in range(3)}
    chosen = answered(questions, lambda question: question.answer)
    del chosen["1"][0]
    found = over_rotations(chosen, questions)
    assert found is not None
    assert (found.n, found.value, found.unchanged) == (2, 1, 1)
    assert over_rotations({"1": chosen["1"]}, questions) is None
