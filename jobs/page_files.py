"""What the page reads under `space/`: test questions, what it says of the model, examples, published picks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import PurePosixPath

from jobs.about import about_text
from jobs.card_facts import OWN, Run
from jobs.errors import UserError
from jobs.hub import Content
from jobs.published_items import published_items
from qa.artifacts import ABOUT_FILE, EXAMPLES_FILE, ITEMS_FILE, QUESTIONS_FILE
from qa.records import SPLITS, Record


def data_files(run: Run) -> dict[str, Content]:
    """The multiple-choice test questions as JSON Lines: the page reads them without pyarrow."""
    rows = [row for row in run.rows(OWN, SPLITS[-1]) if row.choices]
    if not rows:
        raise UserError(f"{run.folder / 'dataset'}: no multiple-choice test question; collect more documents")
    return {QUESTIONS_FILE: _lines(rows)}


def model_files(run: Run) -> dict[str, Content]:
    """What stands beside the served file: examples where they were answered, picks where research was asked."""
    files: dict[str, Content] = {ABOUT_FILE: about_text(run).encode()}
    if "examples" in run.steps:
        files[EXAMPLES_FILE] = run.folder / "examples" / PurePosixPath(EXAMPLES_FILE).name
    if items := published_items(run):
        files[ITEMS_FILE] = _lines(items)
    return files


def _lines(records: Iterable[Record]) -> bytes:
    return "".join(json.dumps(row.model_dump(mode="json"), ensure_ascii=False) + "\n" for row in records).encode()
