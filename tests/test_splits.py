"""The split by group: near its fractions, the same each time, no group on two sides."""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict

import pytest

from jobs.splits import assign_splits

FRACTIONS = (0.8, 0.1, 0.1)


def alone(names: object) -> dict[str, str]:
    return {name: name for name in names}  # type: ignore[attr-defined]


def test_eighty_documents_come_out_at_the_fractions() -> None:
    sides = assign_splits(alone(f"{number}.md" for number in range(80)), "footnote", FRACTIONS)
    assert Counter(sides.values()) == {"train": 64, "validation": 8, "test": 8}


def test_order_does_not_matter_but_the_salt_does() -> None:
    names = [f"{number}.md" for number in range(40)]
    sides = assign_splits(alone(names), "footnote", FRACTIONS)
    assert list(assign_splits(alone(reversed(names)), "footnote", FRACTIONS).items()) == list(sides.items())
    assert assign_splits(alone(names), "other", FRACTIONS) != sides


@pytest.mark.parametrize("fractions", [FRACTIONS, (0.2, 0.4, 0.4), (0.0, 0.5, 0.5), (0.5, 0.5, 0.0), (1.0, 0.0, 0.0)])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 24, 101])
def test_documents_alone_are_cut_by_the_rank_of_their_hash(count: int, fractions: tuple[float, ...]) -> None:
    names = [f"{number}.md" for number in range(count)]
    ranked = sorted(names, key=lambda name: hashlib.sha256(f"s\0{name}".encode()).digest())
    validation, test = (0 if count < 3 or part <= 0 else max(1, round(count * part)) for part in fractions[1:])
    expected = ["test"] * test + ["validation"] * validation + ["train"] * count
    assert assign_splits(alone(names), "s", fractions) == dict(zip(ranked, expected, strict=False))


@pytest.mark.parametrize("seed", range(20))
def test_groups_are_whole_and_close_to_the_fractions(seed: int) -> None:
    chance = random.Random(seed)
    groups = {f"{number}": f"group {chance.randrange(60) if number < 270 else number}" for number in range(400)}
    sides, by_group = assign_splits(groups, str(seed), FRACTIONS), defaultdict(set)
    for document, side in sides.items():
        by_group[groups[document]].add(side)
    assert all(len(found) == 1 for found in by_group.values())
    counts = Counter(sides.values())
    assert abs(counts["test"] - 40) <= 4
    assert abs(counts["validation"] - 40) <= 4


def test_documents_that_are_added_to_a_large_collection_move_no_other() -> None:
    few = alone(f"{number}.md" for number in range(300))
    before = assign_splits(few, "footnote", FRACTIONS)
    after = assign_splits(few | alone(f"new/{number}.md" for number in range(3000)), "footnote", FRACTIONS)
    assert {name: after[name] for name in few} == before
    counts = Counter(after.values())
    assert abs(counts["test"] - 330) <= 50
    assert abs(counts["validation"] - 330) <= 50


@pytest.mark.parametrize("count", [199, 200])
def test_from_200_groups_on_the_hash_alone_decides(count: int) -> None:
    names = [f"{number}.md" for number in range(count)]
    places = {name: int(hashlib.sha256(f"s\0{name}".encode()).hexdigest()[:16], 16) / 2**64 for name in names}
    expected = {name: "test" if p < 0.1 else "validation" if p < 0.2 else "train" for name, p in places.items()}
    assert (assign_splits(alone(names), "s", FRACTIONS) == expected) == (count == 200)


def test_training_keeps_a_document_where_rounding_would_take_all() -> None:
    sides = assign_splits(alone("abcd"), "s", (0.1, 0.45, 0.45))
    assert Counter(sides.values()) == {"test": 2, "validation": 1, "train": 1}


def test_a_large_group_is_trained_on() -> None:
    groups = alone("ab") | {f"version {number}": "large" for number in range(50)}
    for salt in "stuvwxyz":
        sides = assign_splits(groups, salt, FRACTIONS)
        assert {sides["a"], sides["b"]} == {"validation", "test"}
        assert {sides[f"version {number}"] for number in range(50)} == {"train"}


def test_three_large_groups_are_one_on_each_side() -> None:
    groups = {f"{group}{number}": group for group, size in (("a", 20), ("b", 10), ("c", 30)) for number in range(size)}
    sides = assign_splits(groups, "s", FRACTIONS)
    assert Counter(sides.values()) == {"test": 10, "validation": 20, "train": 30}


@pytest.mark.parametrize(
    "fractions", [(0.1, 0.6, 0.7), (0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (0.5, 0.5), (float("nan"), 0.1, 0.1)]
)
def test_fractions_that_are_no_shares_of_one_whole_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must be 0 or more and sum to 1"):
        assign_splits(alone("abcdef"), "s", fractions)


def test_fractions_may_be_off_by_rounding() -> None:
    assert Counter(assign_splits(alone("abcdef"), "s", (0.7, 0.1 + 0.1, 0.1)).values())["train"] == 4


def test_small_collections() -> None:
    assert set(assign_splits(alone("ab"), "s", FRACTIONS).values()) == {"train"}
    assert Counter(assign_splits(alone("abc"), "s", FRACTIONS).values()) == {"train": 1, "validation": 1, "test": 1}
    assert set(assign_splits(alone("abcdef"), "s", (1.0, 0.0, 0.0)).values()) == {"train"}
    assert assign_splits({}, "s", FRACTIONS) == {}
