"""Puts together what came of the documents, in their order: writes what is taken, refuses twins, and counts."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jobs.document_work import ASIDE, STAGES
from jobs.documents import Rejection, collapse
from jobs.funnel import Funnel

PASSAGES, DOCUMENTS = "passages.jsonl", "documents.jsonl"


class DocumentTally:
    """Files and counts in one folder; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.texts: dict[str, str] = {}  # digest of a text: the document that has it
        self.ids: dict[str, str] = {}  # id: what tells its document from another
        self.passages, self.characters, self.missing, self.aside = 0, 0, 0, 0
        self.first: Rejection | None = None
        self.formats, self.licences, self.origins = Counter[str](), Counter[str](), Counter[str]()
        self.reasons, self.stages = Counter[str](), Counter[str]()

    def __enter__(self) -> DocumentTally:
        self.files = {name: (self.folder / name).open("w", encoding="utf-8") for name in (PASSAGES, DOCUMENTS)}
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.files.values():
            file.close()

    def rejections(self, results: Iterable[dict[str, Any]]) -> Iterator[Rejection]:
        """Write documents and passages on the way; what is left out comes out, an included file that is missing too."""
        for result in results:
            if (rejection := self._refusal(result)) is not None:
                self._count(rejection)
                yield rejection
                continue
            self._take(result)
            self.missing += len(result["missing"])
            yield from (Rejection(**entry) for entry in result["missing"])

    def _count(self, rejection: Rejection) -> None:
        if rejection.stage == ASIDE:
            self.aside += 1
            return
        self.first = self.first or rejection
        self.reasons[kind_of(rejection.reason)] += 1
        self.stages[rejection.stage] += 1

    def _refusal(self, result: dict[str, Any]) -> Rejection | None:
        """Why a document is not taken: what reading it gave, another's id, or another's text."""
        if "rejection" in result:
            return Rejection(**result["rejection"])
        document = result["document"]
        name = document["document"]
        if name in self.ids:
            reason = f"another document has this id ({self.ids[name]})"
            return Rejection(name=name, reason=reason, stage="id")
        digest = hashlib.sha256(document["text"].encode()).hexdigest()
        if (twin := self.texts.setdefault(digest, name)) != name:
            return Rejection(name=name, reason=f"duplicate: same text as another document ({twin})", stage="twin")
        self.ids[name] = document["source"] or document["title"]
        return None

    def _take(self, result: dict[str, Any]) -> None:
        document, passages = result["document"], result["passages"]
        self._write(DOCUMENTS, document)
        for passage in passages:
            self._write(PASSAGES, passage)
        self.passages += len(passages)
        self.characters += sum(len(passage["text"]) for passage in passages)
        self.formats[document["format"]] += 1
        self.licences[document["licence"] or "not stated"] += 1
        self.origins[result["origin"]] += 1

    def _write(self, name: str, record: dict[str, Any]) -> None:
        self.files[name].write(json.dumps(record, ensure_ascii=False) + "\n")

    def why(self) -> str:
        """The commonest reasons, and the first document that was refused with all that is said of it."""
        if not self.first:
            return "there are only licences" if self.aside else "the folder is empty"
        counts = "; ".join(f"{reason}: {count}" for reason, count in in_order(self.reasons)[:3])
        return f"{counts}; the first is {self.first.name}: {collapse(self.first.reason)}"

    def figures(self, total: int) -> dict[str, Any]:
        """Of `total` files. Licences among them are counted nowhere: they are no documents."""
        funnel, left = Funnel(), total - self.aside
        for stage in (*STAGES, "id", "twin"):
            funnel.add(stage, left, self.stages[stage])
            left -= self.stages[stage]
        return {
            "documents": sum(self.formats.values()),
            "passages": self.passages,
            "characters": self.characters,
            "rejected": sum(self.reasons.values()),
            "missing_includes": self.missing,
            "rejected_by_reason": dict(in_order(self.reasons)),
            "documents_by_format": dict(self.formats.most_common()),
            "documents_by_licence": dict(self.licences.most_common()),
            "documents_by_source": dict(self.origins.most_common()),
            "funnel": funnel.rows,
        }


def in_order(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Counts, the highest first, those of one height by name."""
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))


_OWN = (  # what a reason tells of one file: the kind of reason
    (r"reader failed: .*", "reader failed"),
    (r"included by .*", "included by another file"),
    (r"skipped: no reader for .*", "no reader for this kind of file"),
    (r"skipped: (.*)", r"\1"),
    (r"sidecar .+? (cannot be read|is not valid YAML|is not a mapping)( .*)?", r"sidecar \1"),
    (r"(.*?) \(.*", r"\1"),
)


def kind_of(reason: str) -> str:
    """A reason without what is one document's own."""
    found = ((kind, match) for form, kind in _OWN if (match := re.fullmatch(form, reason, re.S)))
    return next((match.expand(kind) for kind, match in found), reason)
