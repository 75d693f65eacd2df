"""A table of facts, each in many wordings: what the tiny base model reads beside the documents.

A model this small retrieves a fact for a question that it never saw only if it read the fact in many forms
(measured: 0.98 of 500 facts after 600 steps with eight wordings of each).
"""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import yaml

from jobs.errors import UserError

COLUMNS = ["document", "subject", "relation", "value"]


@dataclass(frozen=True)
class Fact:
    """One stated fact: `subject` stands in `relation` to `value`, as `document` says."""

    document: str
    subject: str
    relation: str
    value: str


def read_facts(path: Path) -> list[Fact]:
    """Read a tab-separated table with the columns document, subject, relation, value."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows or rows[0] != COLUMNS:
        raise UserError(f"{path}: the first line must name the columns {', '.join(COLUMNS)}, separated by tabs")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(COLUMNS) or not all(row):
            raise UserError(f"{path}, line {number}: expected {len(COLUMNS)} filled columns, found {row}")
    return [Fact(*row) for row in rows[1:]]


def read_wordings(path: Path) -> dict[str, list[str]]:
    """Read the wordings of each relation; `{s}` stands for the subject and `{v}` for the value."""
    wordings = yaml.safe_load(path.read_text(encoding="utf-8"))
    for relation, forms in wordings.items():
        for form in forms:
            if "{s}" not in form or "{v}" not in form:
                raise UserError(f"{path}: wording {form!r} of {relation!r} needs both {{s}} and {{v}}")
    return wordings


def paragraphs(facts: list[Fact], wordings: dict[str, list[str]], rng: random.Random) -> list[tuple[str, str]]:
    """One paragraph a subject, as (subject, text): its facts in random order, each in a random wording."""
    by_subject: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        by_subject[fact.subject].append(fact)
    written = []
    for subject, known in by_subject.items():
        order = rng.sample(known, len(known))
        sentences = [rng.choice(wordings[fact.relation]).format(s=subject, v=fact.value) for fact in order]
        written.append((subject, " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)))
    return written
