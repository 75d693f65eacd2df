"""Collect documents: files and folders → passages of whole paragraphs, with what was left out and why.

    python -m jobs.collect PATH... --out DIR [--licence CC-BY-4.0]

`DIR/passages.jsonl` holds the passages, `DIR/documents.jsonl` the extracted texts that their offsets point into, and
`DIR/rejected.jsonl` every file that gave no passage. A file that cannot be read never stops the others.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import jobs.documents
import jobs.passages
import jobs.readers
import jobs.sentences
from jobs.arguments import path_argument
from jobs.config import Documents
from jobs.documents import DocumentText, Rejection, UnreadableError, pick_metadata, printable
from jobs.errors import UserError, run_main
from jobs.passages import cut_passages, lay_out
from jobs.progress import progress
from jobs.readers import FORMATS, read_document, refuse_unfit, sidecar_of
from jobs.step import StepRecord, file_sha256, run_step, source_sha256
from qa.records import Passage, Record

PASSAGES, DOCUMENTS, REJECTED = "passages.jsonl", "documents.jsonl", "rejected.jsonl"


def collect(paths: Sequence[Path], out: Path, *, documents: Documents) -> tuple[StepRecord, bool]:
    """Read every document under `paths` into passages. Raises `UserError` for a missing path or an empty corpus.

    A document's id is its path below the folder given (its file name, for a file given by itself). `documents.licence`
    stands for documents that name none; `documents.paths` is not read.
    """
    for path in paths:
        try:
            path.stat()
        except FileNotFoundError:
            raise UserError(f"{path}: no such file or folder; check the path") from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); check its rights") from None
    files = list(_files(paths))
    code = source_sha256(jobs.readers, jobs.documents, jobs.passages, jobs.sentences, sys.modules[__name__])
    return run_step(
        "collect",
        out,
        arguments={
            "paths": [str(path) for path in paths],
            **documents.model_dump(mode="json", exclude={"paths"}),
            "files": _digest(files),
            "code": code,
        },
        inputs={},
        work=lambda folder: _collect(paths, files, folder, documents),
    )


def _digest(files: Sequence[tuple[str, Path]]) -> str:
    """SHA-256 over ids, files and sidecars. Not `jobs.step.fingerprint`, which stops at a file that cannot be read."""
    lines = (f"{name} {_state(path)} {_state(sidecar_of(path))}" for name, path in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _state(path: Path) -> str:
    """A file's SHA-256, or why it has none, so that the step runs again once it can be read."""
    try:
        refuse_unfit(path)
        return file_sha256(path)
    except FileNotFoundError:
        return "absent"
    except OSError:
        return "unreadable"
    except UnreadableError as error:
        return str(error)


def _collect(
    paths: Sequence[Path], files: Sequence[tuple[str, Path]], folder: Path, limits: Documents
) -> dict[str, Any]:
    tally = _Tally(folder, limits)
    with tally:
        for name, path in progress(files, "reading documents", unit="file"):
            tally.take(name, path)
    if not tally.passages:
        raise UserError(f"{', '.join(map(str, paths))}: no passage found in {len(files)} files; {tally.why()}")
    return tally.figures()


class _Tally:
    """Takes documents one at a time, writes what they give, and counts."""

    def __init__(self, folder: Path, limits: Documents) -> None:
        self.folder, self.limits = folder, limits
        self.seen: dict[str, str] = {}  # digest of a text: the document that has it
        self.passages, self.characters = 0, 0
        self.formats, self.licences, self.reasons = Counter[str](), Counter[str](), Counter[str]()

    def __enter__(self) -> _Tally:
        self.files = {
            name: (self.folder / name).open("w", encoding="utf-8") for name in (PASSAGES, DOCUMENTS, REJECTED)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.files.values():
            file.close()

    def take(self, name: str, path: Path) -> None:
        try:
            document, passages = _document(name, path, self.limits)
            self._refuse_twin(document)
        except UnreadableError as error:
            self._write(REJECTED, Rejection(name=name, reason=str(error)))
            self.reasons[_kind_of(str(error))] += 1
            return
        self._write(DOCUMENTS, document)
        for passage in passages:
            self._write(PASSAGES, passage)
        self.passages += len(passages)
        self.characters += sum(len(passage.text) for passage in passages)
        self.formats[document.format] += 1
        self.licences[document.licence or "not stated"] += 1

    def _refuse_twin(self, document: DocumentText) -> None:
        digest = hashlib.sha256(document.text.encode()).hexdigest()
        if (twin := self.seen.setdefault(digest, document.document)) != document.document:
            raise UnreadableError(f"duplicate: same text as another document ({twin})")

    def _write(self, name: str, record: Record) -> None:
        self.files[name].write(record.model_dump_json() + "\n")

    def why(self) -> str:
        return "; ".join(f"{reason}: {count}" for reason, count in self.reasons.most_common(3)) or "the folder is empty"

    def figures(self) -> dict[str, Any]:
        return {
            "documents": sum(self.formats.values()),
            "passages": self.passages,
            "characters": self.characters,
            "rejected": sum(self.reasons.values()),
            "rejected_by_reason": dict(self.reasons.most_common()),
            "documents_by_format": dict(self.formats.most_common()),
            "documents_by_licence": dict(self.licences.most_common()),
        }


def _kind_of(reason: str) -> str:
    """A reason without what is one file's own."""
    return reason.split(" (")[0].split(": no reader")[0] if not reason.startswith("reader failed") else "reader failed"


def _document(name: str, path: Path, limits: Documents) -> tuple[DocumentText, list[Passage]]:
    extract = read_document(path)
    text, sections = lay_out(extract.blocks)
    if not text.strip():
        raise UnreadableError("no text in it besides code, tables of numbers and navigation")
    stated = pick_metadata(extract.metadata)
    document = DocumentText(
        document=name,
        title=stated.get("title") or extract.title or path.stem.replace("-", " ").replace("_", " "),
        format=FORMATS[path.suffix.lower()],
        text=text,
        source=stated.get("source", ""),
        licence=stated.get("licence") or limits.licence,
        date=stated.get("date", ""),
    )
    passages = list(cut_passages(document, sections, limits))
    if not passages:
        raise UnreadableError(f"no passage of {limits.passage_min_chars} characters of prose or more")
    return document, passages


def _files(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Every file with its document id, in order; hidden ones and sidecars of other files are passed over.

    Ids are published: they hold no more of a place on this machine than the name of the folder given.
    """
    taken: set[str] = set()
    for root in paths:
        for path in _walk(root) if root.is_dir() else [root]:
            name = next(name for name in _names(root, path) if name not in taken)
            taken.add(name)
            yield name, path


def _names(root: Path, path: Path) -> Iterator[str]:
    """Ids for a file, the next where the one before is another's: `a.md`, `docs/a.md`, `docs-2/a.md`, ..."""
    inner = path.relative_to(root).as_posix() if path != root else path.name
    folder = (root.resolve().name or "root") if path != root else "file"
    yield printable(inner)
    yield printable(f"{folder}/{inner}")
    yield from (printable(f"{folder}-{number}/{inner}") for number in count(2))


def _walk(root: Path) -> Iterator[Path]:
    """Files below a folder in order, and last the folders that cannot be listed."""
    closed: list[OSError] = []
    for folder, folders, names in os.walk(root, onerror=closed.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            sidecar = name.endswith(".yaml") and name.removesuffix(".yaml") in names
            if not name.startswith(".") and not sidecar:
                yield Path(folder, name)
    yield from (Path(error.filename) for error in closed)


def main() -> None:
    """Parse the command line and collect."""
    parser = argparse.ArgumentParser(prog="python -m jobs.collect", description=__doc__.split("\n")[0])
    parser.add_argument(
        "paths", nargs="+", type=path_argument, metavar="PATH", help=f"files or folders ({' '.join(FORMATS)})"
    )
    parser.add_argument(
        "--out", type=path_argument, required=True, metavar="DIR", help="folder for passages.jsonl and the rest"
    )
    parser.add_argument("--licence", default="", help="licence of documents that name none themselves")
    parser.add_argument("--min-chars", type=int, default=120, help="shortest passage, in characters (default: 120)")
    parser.add_argument("--max-chars", type=int, default=1200, help="longest passage, in characters (default: 1200)")
    given = parser.parse_args()
    if not 1 <= given.min_chars <= given.max_chars or given.max_chars < 200:
        raise UserError("--min-chars, --max-chars: expected 1 <= min <= max and max >= 200")
    limits = Documents(licence=given.licence, passage_min_chars=given.min_chars, passage_max_chars=given.max_chars)
    record, worked = collect(given.paths, given.out, documents=limits)
    done = "collected" if worked else "already collected"
    counts = record.figures
    print(
        f"{done}: {counts['documents']} documents, {counts['passages']} passages, {counts['rejected']} files rejected"
    )


if __name__ == "__main__":
    run_main(main)
