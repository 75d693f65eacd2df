"""Which side of the split a document is on: decided by its salted hash alone, before any question is written.

Documents are ranked by hash and cut by rank, so that a small collection comes close to the fractions asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from qa.records import Split


def assign_splits(documents: Iterable[str], salt: str, fractions: Sequence[float]) -> dict[str, Split]:
    """Document id → split, the same for the same ids, salt and fractions (train, validation, test; summing to 1).

    With three documents or more, validation and test get at least one each where their fraction is above zero.
    Raises ValueError for fractions that are no three shares of one whole.
    """
    if len(fractions) != 3 or min(fractions) < 0 or not abs(sum(fractions) - 1) <= 1e-6:  # `not` refuses NaN as well
        raise ValueError(f"fractions of train, validation and test must be 0 or more and sum to 1, not {fractions}")
    ranked = sorted(set(documents), key=lambda document: hashlib.sha256(f"{salt}\0{document}".encode()).digest())
    validation, test = (_share(len(ranked), fraction) for fraction in fractions[1:])
    sides: list[Split] = ["test"] * test + ["validation"] * validation
    sides += ["train"] * (len(ranked) - len(sides))
    return dict(sorted(zip(ranked, sides, strict=False)))


def _share(documents: int, fraction: float) -> int:
    if documents < 3 or fraction <= 0:
        return 0
    return max(1, round(documents * fraction))
