"""How many copies are found: test items are planted among training rows, as they are and with words changed."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.data_config import Decontamination
from jobs.decontamination.copies import CopyFinder
from jobs.decontamination.items import METHODS, Item, Row
from jobs.shingles import words_of
from qa.records import Question

CHANGES = {"verbatim": 0.0, "10 % of words": 0.1, "20 % of words": 0.2}


def planted_recall(
    tests: Mapping[str, Sequence[Question]], settings: Decontamination, seed: int, most: int = 500
) -> list[dict[str, Any]]:
    """Recall of each method and of any, for each change to up to `most` items drawn by lot.

    A changed word is replaced by another word of the items' own vocabulary; at least one is. A copy counts as found
    where it is found as a copy of the very item that it is of.
    """
    finder = CopyFinder(tests, settings)
    chance = random.Random(seed)
    drawn = chance.sample(finder.items, min(most, len(finder.items)))
    vocabulary = sorted({word for item in finder.items for word in item.wording.given})
    return [_recall(change, share, drawn, finder, vocabulary, chance) for change, share in CHANGES.items()]


def _recall(
    change: str,
    share: float,
    drawn: Sequence[Item],
    finder: CopyFinder,
    vocabulary: Sequence[str],
    chance: random.Random,
) -> dict[str, Any]:
    rows = [_plant(place, item.question, share, vocabulary, chance) for place, item in enumerate(drawn)]
    found: dict[str, set[int]] = defaultdict(set)
    for copy in finder.find(rows):
        item = drawn[int(copy.row)]
        if (copy.test, copy.item) == (item.test, item.question.id):
            found[copy.method].add(int(copy.row))
    counts = {method: len(found[method]) for method in METHODS} | {"any": len(set().union(*found.values()))}
    return {"change": change, "n": len(drawn)} | {name: count / max(len(drawn), 1) for name, count in counts.items()}


def _plant(place: int, question: Question, share: float, vocabulary: Sequence[str], chance: random.Random) -> Row:
    texts = [text.split() for text in (question.question, *question.choices)]
    places = [(text, word) for text, words in enumerate(texts) for word in range(len(words))]
    for text, word in chance.sample(places, max(1, round(share * len(places))) if share else 0):
        texts[text][word] = _another(texts[text][word], vocabulary, chance)
    asked, *choices = (" ".join(words) for words in texts)
    changed = question.model_copy(update={"question": asked, "choices": tuple(choices)})
    return Row(id=str(place), config="planted", text="\n".join((asked, *choices)), question=changed)


def _another(word: str, vocabulary: Sequence[str], chance: random.Random) -> str:
    """Another word; the same one where the vocabulary has no other."""
    others = [other for other in chance.sample(vocabulary, min(2, len(vocabulary))) if [other] != words_of(word)]
    return next(iter(others), word)
