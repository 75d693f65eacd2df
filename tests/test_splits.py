"""The split by document: near its fractions, the same each time, no document on two sides."""

from __future__ import annotations

from collections import Counter

import pytest

from jobs.splits import assign_splits

FRACTIONS = (0.8, 0.1, 0.1)


def test_eighty_documents_come_out_at_the_fractions() -> None:
    sides = assign_splits((f"{number}.md" for number in range(80)), "footnote", FRACTIONS)
    assert Counter(sides.values()) == {"train": 64, "validation": 8, "test": 8}


def test_order_and_repeats_do_not_matter_but_the_salt_does() -> None:
    names = [f"{number}.md" for number in range(40)]
    sides = assign_splits(names, "footnote", FRACTIONS)
    assert assign_splits(reversed(names + names), "footnote", FRACTIONS) == sides
    assert assign_splits(names, "other", FRACTIONS) != sides


@pytest.mark.parametrize(
    "fractions", [(0.1, 0.6, 0.7), (0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (0.5, 0.5), (float("nan"), 0.1, 0.1)]
)
def test_fractions_that_are_no_shares_of_one_whole_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must be 0 or more and sum to 1"):
        assign_splits("abcdef", "s", fractions)


def test_fractions_may_be_off_by_rounding() -> None:
    assert Counter(assign_splits("abcdef", "s", (0.7, 0.1 + 0.1, 0.1)).values())["train"] == 4


def test_small_collections() -> None:
    assert set(assign_splits(["a", "b"], "s", FRACTIONS).values()) == {"train"}
    assert Counter(assign_splits("abc", "s", FRACTIONS).values()) == {"train": 1, "validation": 1, "test": 1}
    assert set(assign_splits("abcdef", "s", (1.0, 0.0, 0.0)).values()) == {"train"}
    assert assign_splits([], "s", FRACTIONS) == {}
