"""The documents that a data set was made from, as its card lists them: one by one, or by where they are from."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from jobs.documents import DocumentText
from jobs.licence_names import spdx_name
from jobs.rejections import FILE as REJECTED
from jobs.rejections import read_rejections
from qa.records import Passage, read_records

MOST_DOCUMENTS, MOST_PLACES, MOST_REASONS = 200, 50, 20  # lines of a table, so that a card stays a page
_SITE = re.compile(r"https?://(?:[^/@\s]*@)?([\w.-]+)", re.IGNORECASE)


class Listed(NamedTuple):
    """A document that was read; `passages` is their number, `split` its side, empty where no file says so."""

    document: str
    title: str
    source: str
    licence: str
    passages: int
    split: str

    @property
    def place(self) -> str:
        """The host of its address; where it has none, the first folder of its name."""
        if match := _SITE.match(self.source):
            return match[1].lower()
        folder, slash, _ = self.document.partition("/")
        return f"{folder}/" if slash else "no address, no folder"


def list_documents(folder: Path, sides: Mapping[str, str]) -> list[Listed]:
    """Every document of a folder that `collect` made."""
    passages = Counter(passage.document for passage in read_records(folder / "passages.jsonl", Passage))
    return [
        Listed(
            document=read.document,
            title=read.title,
            source=read.source,
            licence=spdx_name(read.licence),
            passages=passages[read.document],
            split=sides.get(read.document, ""),
        )
        for read in read_records(folder / "documents.jsonl", DocumentText)
    ]


def count_places(documents: Iterable[Listed]) -> list[dict[str, Any]]:
    """Documents, passages and licences by place, most documents first; the rest together in the last line."""
    by_place: dict[str, list[Listed]] = defaultdict(list)
    for document in documents:
        by_place[document.place].append(document)
    ranked = sorted(by_place.items(), key=lambda entry: -len(entry[1]))
    found = [_count(place, held) for place, held in ranked[:MOST_PLACES]]
    if rest := [held for _, held in ranked[MOST_PLACES:]]:
        found.append(_count(f"{len(rest)} other places", list(chain.from_iterable(rest))))
    return found


def _count(place: str, documents: list[Listed]) -> dict[str, Any]:
    licences = Counter(document.licence or "not named" for document in documents).most_common()
    passages = sum(document.passages for document in documents)
    return {"place": place, "documents": len(documents), "passages": passages, "licences": licences}


def refused_licences(folder: Path) -> list[tuple[str, int]]:
    """Why documents were refused for their licence, and how many, most first; the rest together."""
    path = folder / REJECTED
    rejections = read_rejections(path) if path.is_file() else []
    counts = Counter(row.reason for row in rejections if row.stage == "licence").most_common()
    rest = sum(count for _, count in counts[MOST_REASONS:])
    return counts[:MOST_REASONS] + ([("others", rest)] if rest else [])
