"""Which side of the split a document is on: decided by the salted hash of its group, before any question is written.

From 200 groups on, a group's side depends on its own hash alone: documents that are added later move no other. Fewer
groups are ranked by hash and taken by rank, so that a small collection comes close to the fractions asked for; each
addition can then move others, and so does the one that makes it 200. A document that joins a group and comes first
in it by name gives the group a new name, and with it perhaps another side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from jobs.lots import number, share
from qa.records import SPLITS, Split

_HELD_OUT: tuple[tuple[Split, tuple[Split, ...]], ...] = (  # with the sides that it leaves a group to
    ("test", ("train", "validation")),
    ("validation", ("train",)),
)

BY_HASH = 200  # groups from which each is placed by its own hash


def assign_splits(groups: Mapping[str, str], salt: str, fractions: Sequence[float]) -> dict[str, Split]:
    """Document id → split, from document id → group, the same for the same groups, salt and fractions.

    Fractions are train, validation and test, summing to 1; no group is cut. They are of the documents, and with three
    groups or more each side with a fraction above zero gets at least one; from 200 groups on they are each group's
    chances. Raises ValueError for fractions that are no three shares of one whole.
    """
    if len(fractions) != 3 or min(fractions) < 0 or not abs(sum(fractions) - 1) <= 1e-6:  # `not` refuses NaN as well
        raise ValueError(f"fractions of train, validation and test must be 0 or more and sum to 1, not {fractions}")
    sizes = Counter(groups.values())
    sides = _by_hash(sizes, salt, fractions) if len(sizes) >= BY_HASH else _by_rank(sizes, salt, fractions)
    return {document: sides[group] for document, group in sorted(groups.items())}


def _by_hash(groups: Iterable[str], salt: str, fractions: Sequence[float]) -> dict[str, Split]:
    """Each group by its hash as a fraction of 2^64: test below test's share, then validation, then train."""
    _, validation, test = fractions
    sides: dict[str, Split] = {}
    for group in groups:
        place = share(salt, group)
        sides[group] = "test" if place < test else "validation" if place < test + validation else "train"
    return sides


def _by_rank(sizes: Mapping[str, int], salt: str, fractions: Sequence[float]) -> dict[str, Split]:
    """Groups in the order of their hashes, until each side has its share of the documents."""
    ranked = sorted(sizes, key=lambda group: number(salt, group))
    sides: dict[str, Split] = dict.fromkeys(ranked, "train")
    for side, others in _HELD_OUT:
        free = [group for group in ranked if sides[group] == "train"]
        room = len(free) - sum(fractions[SPLITS.index(other)] > 0 for other in others)
        fraction = fractions[SPLITS.index(side)]
        if len(ranked) >= 3 and fraction > 0 and room > 0:
            sides |= dict.fromkeys(_take(free, sizes, max(1, round(sum(sizes.values()) * fraction)), room), side)
    return sides


def _take(free: Sequence[str], sizes: Mapping[str, int], wanted: int, most: int) -> list[str]:
    """Up to `most` groups, each that brings their documents closer to `wanted`; where none does, the smallest."""
    taken: list[str] = []
    documents = 0
    for group in free:
        if len(taken) < most and abs(documents + sizes[group] - wanted) < abs(documents - wanted):
            taken.append(group)
            documents += sizes[group]
    return taken or [min(free, key=lambda group: sizes[group])]
