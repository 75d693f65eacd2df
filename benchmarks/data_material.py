"""What the benchmark of the data steps works on: copied documents, text in the manner of passages, planted copies."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from qa.records import Question, Record

SEED = 17
CHANGED = 0.08  # share of a near-duplicate's words that are others
WORD = "the"  # each copied document has its own, or it would be refused as another's twin


class DocumentTask(Record):
    """A folder of documents to collect into another."""

    folder: str
    out: str
    workers: int


class CopyTask(Record):
    """Training rows, and the test items of which some rows hold copies."""

    rows: tuple[str, ...]
    items: tuple[Question, ...]
    planted: tuple[str, ...]  # "row item"
    ngram: int = 8
    coverage: float = 0.5


class NearTask(Record):
    """Texts, and changed copies of the first of them."""

    texts: tuple[str, ...]
    changed: tuple[str, ...]
    similarity: float = 0.4  # Jaccard, of shingles of five words: 8 % of changed words leave about half


def copy_documents(source: Path, to: Path, copies: int) -> None:
    """The folder's text files so many times, each time in other words; PDF files are left out."""
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix not in {".pdf", ".yaml"}:
            text = path.read_text(encoding="utf-8")
            for number in range(copies):
                copy = to / f"{number:03d}" / path.name
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(text.replace(f" {WORD} ", f" {WORD}{number} ") if number else text, encoding="utf-8")


class Chain:
    """Text whose every two neighbouring words are neighbours in the passages too."""

    def __init__(self, passages: Sequence[str], seed: int = SEED) -> None:
        self._random = random.Random(seed)
        self._next: dict[str, list[str]] = defaultdict(list)
        words = " ".join(passages).split()
        for word, follower in zip(words, [*words[1:], words[0]], strict=True):
            self._next[word].append(follower)
        self._words = words

    def text(self, length: int) -> str:
        """So many words."""
        word, made = self._random.choice(self._words), []
        for _ in range(length):
            made.append(word)
            word = self._random.choice(self._next[word])
        return " ".join(made)

    def changed(self, text: str, share: float = CHANGED) -> str:
        """The text with a share of its words replaced by any others."""
        words = text.split()
        for at in self._random.sample(range(len(words)), round(share * len(words))):
            words[at] = self._random.choice(self._words)
        return " ".join(words)


def copy_task(chain: Chain, items: int, rows: int, length: int) -> CopyTask:
    """Test items of 12 words with four options of 4, and rows of so many words; each tenth row ends with an item."""
    tests = [_item(str(number), [chain.text(12), *(chain.text(4) for _ in range(4))]) for number in range(items)]
    texts = [chain.text(length) for _ in range(rows)]
    planted = list(zip(range(0, rows, 10), tests, strict=False))
    for row, item in planted:
        texts[row] += " " + " ".join((item.question, *item.choices))
    named = tuple(f"{row} {item.id}" for row, item in planted)
    return CopyTask(rows=tuple(texts), items=tuple(tests), planted=named)


def _item(name: str, texts: Sequence[str]) -> Question:
    question, *choices = texts
    shown = {"choices": tuple(choices), "labels": tuple("ABCD"), "answer": "A"}
    return Question(id=name, document=name, question=question, answer_text=choices[0], **shown)


def near_task(chain: Chain, texts: int, changed: int, length: int) -> NearTask:
    """Texts of so many words, the first of them also with words changed."""
    made = tuple(chain.text(length) for _ in range(texts))
    return NearTask(texts=made, changed=tuple(map(chain.changed, made[:changed])))
