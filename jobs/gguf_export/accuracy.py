"""Is a model above chance, and is the file made from it worse? Used before publishing and by the gate of an export."""

from __future__ import annotations

from collections.abc import Sequence

from qa.statistics import CONFIDENCE, mcnemar, wilson

KNOWN = 0.999  # confidence that the parent beats chance at a task and prompt: of six at 0.95, one does so by luck
SIGNIFICANT = 0.05  # McNemar's mid-p, below which a file at chance is worse than its parent and not merely unlucky


def chance_of(options: Sequence[int]) -> float:
    """The share of right answers of one who guesses among so many options each."""
    return sum(1 / count for count in options) / len(options)


def beats_chance(correct: Sequence[bool], chance: float, confidence: float = CONFIDENCE) -> bool:
    """Whether the interval of the share of right answers lies above chance."""
    return wilson(sum(correct), len(correct), confidence)[0] > chance


def worse(parent: Sequence[bool], file: Sequence[bool]) -> bool:
    """Whether the file is wrong where its parent is right more often than luck makes it."""
    gained = sum(ours and not theirs for theirs, ours in zip(parent, file, strict=True))
    lost = sum(theirs and not ours for theirs, ours in zip(parent, file, strict=True))
    return lost > gained and mcnemar(gained, lost)[0] < SIGNIFICANT
