"""Wrong options: values of the same relation, of other subjects, in other documents on the same side of the split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from jobs.lots import number
from jobs.writers.facts import Fact
from jobs.writers.wording import alike, normalised
from qa.records import Passage, Split

WRONG = 3  # wrong options of a question
LOOKED_AT = 500  # values that are ranked for one question: ranking all of 100,000 for each would take days


class WrongOptions:
    """Finds them; for a held-out document on the training side too, where its own side has fewer than three."""

    def __init__(
        self, facts: Sequence[Fact], passages: Iterable[Passage], splits: Mapping[str, Split], seed: int
    ) -> None:
        self.splits, self.seed = splits, seed
        self.pool: dict[tuple[str, str], list[Fact]] = defaultdict(list)
        for fact in facts:
            self.pool[splits[fact.passage.document], _pool_key(fact)].append(fact)
        texts: dict[str, list[str]] = defaultdict(list)
        for passage in passages:
            texts[passage.document].append(normalised(passage.text))
        self.texts = {document: f" {' '.join(parts)} " for document, parts in texts.items()}

    def options(self, fact: Fact) -> list[str]:
        """Up to three values; from the training side too where a held-out side has too few."""
        side = self.splits[fact.passage.document]
        chosen = self._pick(fact, [side])
        if len(chosen) < WRONG and side != "train":
            chosen = self._pick(fact, [side, "train"])
        return chosen

    def _pick(self, fact: Fact, sides: Sequence[str]) -> list[str]:
        chosen: list[str] = []
        candidates = [other for side in sides for other in self._some(self.pool[side, _pool_key(fact)], fact)]
        for other in sorted(candidates, key=lambda other: self._rank(fact, other)):
            if self._false_of(fact, other) and not any(alike(other.value, value) for value in chosen):
                chosen.append(other.value)
            if len(chosen) == WRONG:
                break
        return chosen

    def _some(self, pool: Sequence[Fact], fact: Fact) -> Sequence[Fact]:
        if len(pool) <= LOOKED_AT:
            return pool
        start = number(self.seed, "pool", fact.relation, fact.subject) % len(pool)
        return [*pool[start : start + LOOKED_AT], *pool[: max(0, start + LOOKED_AT - len(pool))]]

    def _rank(self, fact: Fact, other: Fact) -> tuple[bool, int]:
        """By lot, among those first that length or date do not give away."""
        if fact.relation == "year":
            far = abs(int(fact.value) - int(other.value)) > 8
        else:
            far = abs(len(fact.value) - len(other.value)) > 12
        return far, number(self.seed, "option", fact.relation, fact.subject, other.subject, other.value)

    def _false_of(self, fact: Fact, other: Fact) -> bool:
        if fact.passage.document == other.passage.document or normalised(fact.subject) == normalised(other.subject):
            return False
        if alike(fact.value, other.value) or normalised(fact.subject) in normalised(other.value):
            return False
        return f" {normalised(other.value)} " not in self.texts[fact.passage.document]


def _pool_key(fact: Fact) -> str:
    return f"data {fact.verb}" if fact.relation == "data" and fact.verb == "built" else fact.relation
