"""Which side of the split a document is on: decided by the salted hash of its group, before any question is written.

Groups are ranked by hash and taken by rank, so that a small collection comes close to the fractions asked for.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from qa.records import SPLITS, Split

_HELD_OUT: tuple[tuple[Split, tuple[Split, ...]], ...] = (  # with the sides that it leaves a group to
    ("test", ("train", "validation")),
    ("validation", ("train",)),
)


def assign_splits(groups: Mapping[str, str], salt: str, fractions: Sequence[float]) -> dict[str, Split]:
    """Document id → split, from document id → group, the same for the same groups, salt and fractions.

    Fractions of the documents are train, validation and test, summing to 1; no group is cut. With three groups or more,
    each side gets at least one where its fraction is above zero. Raises ValueError for fractions that are no
    three shares of one whole.
    """
    if len(fractions) != 3 or min(fractions) < 0 or not abs(sum(fractions) - 1) <= 1e-6:  # `not` refuses NaN as well
        raise ValueError(f"fractions of train, validation and test must be 0 or more and sum to 1, not {fractions}")
    sizes = Counter(groups.values())
    ranked = sorted(sizes, key=lambda group: hashlib.sha256(f"{salt}\0{group}".encode()).digest())
    sides: dict[str, Split] = dict.fromkeys(ranked, "train")
    for side, others in _HELD_OUT:
        free = [group for group in ranked if sides[group] == "train"]
        room = len(free) - sum(fractions[SPLITS.index(other)] > 0 for other in others)
        share = fractions[SPLITS.index(side)]
        if len(ranked) >= 3 and share > 0 and room > 0:
            sides |= dict.fromkeys(_take(free, sizes, max(1, round(len(groups) * share)), room), side)
    return {document: sides[group] for document, group in sorted(groups.items())}


def _take(free: Sequence[str], sizes: Mapping[str, int], wanted: int, most: int) -> list[str]:
    """Up to `most` groups, each that brings their documents closer to `wanted`; where none does, the smallest."""
    taken: list[str] = []
    documents = 0
    for group in free:
        if len(taken) < most and abs(documents + sizes[group] - wanted) < abs(documents - wanted):
            taken.append(group)
            documents += sizes[group]
    return taken or [min(free, key=lambda group: sizes[group])]
