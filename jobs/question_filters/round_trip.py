"""Retrieval round trip: the index finds the passage that a question was made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path

from jobs.data_config import Scale
from jobs.errors import UserError
from jobs.shards import run_shards
from qa.records import Passage, Question
from qa.retrieval import MANIFEST, Index, RetrievalError, build

SHARD = 2_000  # questions


def places(
    questions: Sequence[Question],
    passages: Iterable[Passage],
    index: Path | None,
    *,
    folder: Path,
    scale: Scale,
    most: int,
) -> Iterator[int]:
    """For each question the place, from 1, of its passage among the `most` best hits; 0 where it is not among them.

    Without an index one is built under `folder`. Raises `UserError` where the index cannot be used.
    """
    where = index or _built(passages, folder / "index")
    items = [{"question": question.question, "passage": question.passage} for question in questions]
    found = run_shards(
        "retrieval", items, partial(_found, index=str(where), most=most), folder, scale=scale, size=SHARD
    )
    return (result["place"] for result in found)


def _built(passages: Iterable[Passage], folder: Path) -> Path:
    if not (folder / MANIFEST).is_file():
        build(passages, folder)
    return folder


def _found(items: Iterable[dict], *, index: str, most: int) -> Iterator[dict]:
    searched = open_index(index)
    for item in items:
        hits = [hit.passage.id for hit in searched.search(item["question"], most)]
        yield {"place": hits.index(item["passage"]) + 1 if item["passage"] in hits else 0}


@lru_cache(maxsize=1)  # checking its files takes longer than a shard's searches
def open_index(folder: str) -> Index:
    """The index of a folder. Raises `UserError` where it cannot be used."""
    try:
        return Index.load(Path(folder))
    except RetrievalError as error:
        raise UserError(str(error)) from None
