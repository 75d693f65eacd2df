"""How many copies are found: test items are planted among training rows, as they are and with words changed."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.data_config import Decontamination
from jobs.decontamination.copies import CopyFinder
from jobs.decontamination.items import ASKED, Item, Row
from jobs.shingles import words_of
from qa.records import Question

CHANGES = {"verbatim": 0.0, "10 % of words": 0.1, "20 % of words": 0.2}


def planted_recall(
    tests: Mapping[str, Sequence[Question]], settings: Decontamination, seed: int, most: int = 500
) -> list[dict[str, Any]]:
    """Recall of each method and of any: for each test set, each change to up to `most` of its items drawn by lot.

    A changed word is replaced by another word of the items' own vocabulary; at least one is. A copy counts as found
    where it is found as a copy of the very item that it is of. Planted copies have no evidence to be found by.
    """
    finder = CopyFinder(tests, settings)
    vocabulary = sorted({word for item in finder.items for word in item.wording.given})
    found = []
    for test in tests:
        chance = random.Random(f"{seed} {test}")
        items = [item for item in finder.items if item.test == test]
        drawn = chance.sample(items, min(most, len(items)))
        for change, share in CHANGES.items():
            rows = [_plant(place, item.question, share, vocabulary, chance) for place, item in enumerate(drawn)]
            found.append({"test": test, "change": change, "n": len(drawn)} | _recall(rows, drawn, finder))
    return found


def _recall(rows: Sequence[Row], drawn: Sequence[Item], finder: CopyFinder) -> dict[str, float]:
    """Shares of the rows that are found as copies of the items at their places."""
    found: dict[str, set[int]] = defaultdict(set)
    for copy in finder.find(rows):
        item = drawn[int(copy.row)]
        if (copy.test, copy.item) == (item.test, item.question.id):
            found[copy.method].add(int(copy.row))
    counts = {method: len(found[method]) for method in ASKED} | {"any": len(set().union(*found.values()))}
    return {name: count / max(len(drawn), 1) for name, count in counts.items()}


def _plant(place: int, question: Question, share: float, vocabulary: Sequence[str], chance: random.Random) -> Row:
    texts = [text.split() for text in (question.question, *question.choices)]
    places = [(text, word) for text, words in enumerate(texts) for word in range(len(words))]
    for text, word in chance.sample(places, max(1, round(share * len(places))) if share else 0):
        texts[text][word] = _another(texts[text][word], vocabulary, chance)
    asked, *choices = (" ".join(words) for words in texts)
    changed = question.model_copy(update={"question": asked, "choices": tuple(choices), "evidence": ""})
    return Row(id=str(place), config="planted", text="\n".join((asked, *choices)), question=changed)


def _another(word: str, vocabulary: Sequence[str], chance: random.Random) -> str:
    """Another word; the same one where the vocabulary has no other."""
    others = [other for other in chance.sample(vocabulary, min(2, len(vocabulary))) if [other] != words_of(word)]
    return next(iter(others), word)
