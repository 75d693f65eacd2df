"""What the benchmark of the data steps times, each in a process of its own; imports are over before the clock starts.

CPU seconds are user's and system's together, those of ended worker processes included.
"""

from __future__ import annotations

import hashlib
import re
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.data_material import CopyTask, DocumentTask, NearTask
from qa.records import Question, Record

PERMUTATIONS, SHINGLE, SEED = 128, 5, 17
_WORD = re.compile(r"\w+")


class Taken(Record):
    """Seconds by part of the work (wall and CPU), how many things were done, what was found, a digest of the output."""

    wall: dict[str, float]
    cpu: dict[str, float]
    done: int
    found: tuple[str, ...] = ()
    digest: str = ""


class Clock:
    """Wall and CPU seconds of named parts."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), _cpu_seconds()
        yield
        self.wall[name], self.cpu[name] = time.perf_counter() - wall, _cpu_seconds() - cpu

    def taken(self, done: int, found: tuple[str, ...] = (), digest: str = "") -> Taken:
        return Taken(wall=self.wall, cpu=self.cpu, done=done, found=found, digest=digest)


def _cpu_seconds() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def take(side: str, task: str, result: str) -> None:
    """Let one of `SIDES` do the task in one file and write what it took to another."""
    Path(result).write_text(SIDES[side](task).model_dump_json())


def collecting(task: str) -> Taken:
    """Documents to passages, by the step itself; the digest is that of all that it wrote but its record."""
    from jobs.collect import collect
    from jobs.data_config import Documents, Scale

    asked, clock = DocumentTask.model_validate_json(Path(task).read_text()), Clock()
    with clock.part("collect"):
        out, documents = Path(asked.out), Documents(paths=(asked.folder,))
        record, _ = collect(out, documents=documents, scale=Scale(workers=asked.workers))
    digest = hashlib.sha256()
    for path in sorted(out.glob("[!s]*")):  # all but step.json
        digest.update(path.name.encode() + path.read_bytes())
    return clock.taken(record.figures["passages"], digest=digest.hexdigest())


def coverage(task: str) -> Taken:
    """Our n-gram index over all rows."""
    from jobs.decontamination.coverage import CoverageIndex
    from jobs.decontamination.items import items_of
    from jobs.shingles import words_of

    asked, clock, words, found = CopyTask.model_validate_json(Path(task).read_text()), Clock(), 0, set()
    with clock.part("scan"):
        index = CoverageIndex(items_of({"test": asked.items}), asked.ngram, asked.coverage)
        for number, row in enumerate(asked.rows):
            text = words_of(row)
            words += len(text)
            found |= {f"{number} {asked.items[item].id}" for item, _ in index.find([text])}
    return clock.taken(words, tuple(sorted(found)))


def all_methods(task: str) -> Taken:
    """All that decontamination does with a row: n-grams, exact copies and near-duplicates."""
    from jobs.data_config import Decontamination
    from jobs.decontamination import Row, find_copies

    asked, clock = CopyTask.model_validate_json(Path(task).read_text()), Clock()
    rows = [Row(str(number), "made", text, _asked(number, text)) for number, text in enumerate(asked.rows)]
    settings = Decontamination(ngram=asked.ngram, coverage=asked.coverage)
    with clock.part("scan"):
        copies = find_copies(rows, {"test": asked.items}, settings)
    words = sum(len(_WORD.findall(row)) for row in asked.rows)
    return clock.taken(words, tuple(sorted({f"{copy.row} {copy.item}" for copy in copies})))


def _asked(number: int, text: str) -> Question:
    """A row's question: its first words."""
    return Question(id=str(number), document="made", question=" ".join(text.split()[:20]), answer_text="made")


def plain_scan(task: str) -> Taken:
    """The straightforward way: every n-gram of a row is looked up in a dict of the items' n-grams."""
    asked, clock, words = CopyTask.model_validate_json(Path(task).read_text()), Clock(), 0
    grams: dict[str, set[int]] = defaultdict(set)
    found: set[str] = set()
    with clock.part("scan"):
        items = [set(_grams(_words(" ".join((item.question, *item.choices))), asked.ngram)) for item in asked.items]
        for number, own in enumerate(items):
            for gram in own:
                grams[gram].add(number)
        for number, row in enumerate(asked.rows):
            text = _words(row)
            words += len(text)
            hits = Counter(item for gram in set(_grams(text, asked.ngram)) for item in grams.get(gram, ()))
            met = (item for item, count in hits.items() if count >= asked.coverage * len(items[item]))
            found |= {f"{number} {asked.items[item].id}" for item in met}
    return clock.taken(words, tuple(sorted(found)))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _grams(words: list[str], ngram: int) -> Iterator[str]:
    return (" ".join(words[at : at + ngram]) for at in range(len(words) - ngram + 1))


def with_rensa(task: str) -> Taken:
    """MinHash and LSH by rensa, with as many bands as we use."""
    from rensa import RMinHash, RMinHashLSH

    from jobs.shingles import bands_for

    sets, queries, asked = _sets(task)
    bands, rows = bands_for(asked.similarity)
    clock, count = Clock(), bands * rows
    with clock.part("signatures"):
        made = RMinHash.from_token_sets([sorted(one) for one in sets + queries], count, SEED)
    with clock.part("index"):
        index = RMinHashLSH(threshold=asked.similarity, num_perm=count, num_bands=bands)
        for number, signature in enumerate(made[: len(sets)]):
            index.insert(number, signature)
        named = [set(index.query(signature)) for signature in made[len(sets) :]]
    return clock.taken(len(made), _pairs(named))


def with_datasketch(task: str) -> Taken:
    """The same by datasketch."""
    from datasketch import MinHash, MinHashLSH

    from jobs.shingles import bands_for

    sets, queries, asked = _sets(task)
    bands, rows = bands_for(asked.similarity)
    clock, count = Clock(), bands * rows
    with clock.part("signatures"):
        made = MinHash.bulk([[token.encode() for token in one] for one in sets + queries], num_perm=count, seed=SEED)
    with clock.part("index"):
        index = MinHashLSH(num_perm=count, params=(bands, rows))
        for number, signature in enumerate(made[: len(sets)]):
            index.insert(number, signature)
        named = [set(index.query(signature)) for signature in made[len(sets) :]]
    return clock.taken(len(made), _pairs(named))


def _sets(task: str) -> tuple[list[set[str]], list[set[str]], NearTask]:
    """Shingles of the texts and of the changed copies that look for them."""
    from jobs.shingles import shingles_of, words_of

    asked = NearTask.model_validate_json(Path(task).read_text())
    sets, queries = ([shingles_of(words_of(text), SHINGLE) for text in texts] for texts in (asked.texts, asked.changed))
    return sets, queries, asked


def _pairs(named: list[set[int]]) -> tuple[str, ...]:
    """The n-th changed copy is of the n-th text."""
    return tuple(f"{query} {text}" for query, texts in enumerate(named) for text in sorted(texts))


SIDES: dict[str, Callable[[str], Taken]] = {
    side.__name__: side for side in (collecting, coverage, all_methods, plain_scan, with_rensa, with_datasketch)
}
