"""Small folders that build_dataset reads: questions with their splits, passages, ARC. Not a test: tests import it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.build_dataset import build_dataset
from jobs.config import Dataset
from jobs.rejections import read_rejections
from jobs.step import write_json
from qa.records import SPLITS, Passage, Question, write_records

SIDES = {"a": "train", "b": "validation", "c": "test"}


def question(document: str, text: str, **fields: object) -> Question:
    values = {"id": f"research/{document}-{text}", "answer_text": "An answer."} | fields
    return Question(question=text, document=document, **values)


def one_each(*more: Question) -> list[Question]:
    """A question for every side, in words that are no copies of each other."""
    words = {"a": "alpha optimisers for sparse retrieval", "b": "beta schedules of warm restarts", "c": "gamma heads"}
    return [question(name, f"What are {words[name]}?") for name in "abc"] + list(more)


def questions_folder(
    folder: Path, questions: list[Question], sides: dict[str, str] | None = None, groups: dict[str, str] | None = None
) -> Path:
    """Each document is a group of its own unless `groups` says otherwise."""
    folder.mkdir(parents=True)
    write_records(folder / "questions.jsonl", questions)
    if sides is not None:
        groups = {name: name for name in sides} | (groups or {})
        split = {"salt": "footnote", "fractions": [0.8, 0.1, 0.1], "documents": sides, "groups": groups}
        write_json(folder / "splits.json", split)
    return folder


def passages_folder(folder: Path, passages: list[Passage]) -> Path:
    folder.mkdir(parents=True)
    write_records(folder / "passages.jsonl", passages)
    return folder


def passage(document: str, number: int, text: str, **fields: Any) -> Passage:
    where = {"id": f"{document}#{number}", "start": 0, "end": len(text)}
    return Passage(document=document, title=f"On {document}", text=text, **where, **fields)


def read_rows(path: Path) -> list[dict[str, Any]]:
    from pyarrow import parquet

    return parquet.read_table(path).to_pylist()


def build(source: Path, out: Path, tokenizer: str, **fields: object):
    """Rows by split as plain dictionaries, reasons of drops, figures."""
    given = {name: fields.pop(name) for name in ("passages", "index", "evaluated", "seed") if name in fields}
    record, _ = build_dataset(source, out, tokenizer=tokenizer, dataset=Dataset(**fields), **given)
    rows = {split: read_rows(out / "research_qa" / f"{split}.parquet") for split in SPLITS}
    dropped = {entry.name: entry.reason for entry in read_rejections(out / "rejected.parquet")}
    return rows, dropped, record.figures
