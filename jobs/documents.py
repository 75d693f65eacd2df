"""What a document is between its file and its passages: a title, its attribution, and blocks of text under sections."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from pydantic import Field, field_validator

from qa.records import Record

Origin = Literal["local", "arxiv", "web", "hub"]  # where a document was had from


class UnreadableError(Exception):
    """A file that gives no text; its message is the reason, for the list of rejected files."""


class Rejection(Record):
    """One row of `rejected.parquet`: what was left out, by which filter or check (`stage`), why, and its words."""

    name: str
    reason: str
    stage: str = ""
    text: str = ""

    @field_validator("name", "reason", "text", mode="before")
    @classmethod
    def _can_be_written(cls, value: Any) -> Any:
        """Words of strangers may hold half of a sign, which Parquet refuses."""
        return printable(value) if isinstance(value, str) else value


class Item(Record):
    """A document that is to be read: a file, or its text itself, with what its source states of it.

    `kind` is the reader's name (`markdown`, `html`, `latex`, `latex_source`, `pdf`...); empty: by the file's suffix.
    `root` is the folder that a file may include others from, `charset` the encoding that a server states.
    `stated` uses our names (title, source, licence, date) and goes before what the document says of itself;
    `folder_licence`, of the LICENSE file above it, comes after. `problem` is why it could not be had; it is then
    rejected unread.
    """

    name: str
    origin: Origin = "local"
    path: str = ""
    root: str = ""
    text: str = ""
    kind: str = ""
    charset: str = ""
    stated: dict[str, str] = Field(default_factory=dict)
    folder_licence: str = ""
    problem: str = ""


class DocumentText(Record):
    """One line of `documents.jsonl`: a document's extracted text, into which its passages' offsets point."""

    document: str
    title: str
    format: str
    text: str
    source: str = ""
    licence: str = ""
    date: str = ""


@dataclass(frozen=True)
class Block:
    """A paragraph, a list or a displayed formula, as plain text with formulas in LaTeX."""

    section: str
    text: str


@dataclass
class Extract:
    """What a reader gets out of one file. `metadata` holds what the file says of itself, in its own names.

    `missing` are the names of files that it includes and that are not there: it was read without them.
    """

    title: str = ""
    blocks: list[Block] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


NAMES = {  # our name: what front matter, meta tags, docinfo, TeX comments and sidecars call it
    "title": ("title", "og:title", "citation_title", "dc.title"),
    "source": ("source", "url", "canonical", "source_url", "og:url", "citation_public_url", "dc.identifier"),
    "licence": ("licence", "license", "dc.rights", "dcterms.license", "rights"),
    "date": ("date", "published", "article:published_time", "citation_publication_date", "dc.date"),
}


def pick_metadata(values: dict[str, Any]) -> dict[str, str]:
    """Title, source, licence and date from a file's own names for them; what is not stated is left out."""
    lower = {str(key).strip().lower(): value for key, value in values.items()}
    found = {}
    for name, aliases in NAMES.items():
        for alias in aliases:
            if text := _scalar(lower.get(alias)):
                found[name] = text
                break
    return found


def _scalar(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int) and value.bit_length() > 64:  # Python refuses to write out very long numbers
        return ""
    return collapse(printable(str(value))) if isinstance(value, str | int | float) else ""


def printable(text: str) -> str:
    """Text that UTF-8 can hold: YAML's `"\\ud83d\\ude00"` is one sign, half of a pair is none."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def collapse(text: str) -> str:
    """One line: every run of white space is one space."""
    return " ".join(text.split())


def list_text(items: Iterable[str]) -> str:
    """A list as one block, an item a line."""
    return "\n".join(f"- {item}" for item in items if item)


def table_text(rows: Sequence[Sequence[str]]) -> str:
    """A table as lines of `cell | cell`; empty where half of the cells below the head or more are mere numbers."""
    cells = [cell for row in rows[1:] for cell in row if cell.strip()]
    numbers = sum(len(re.findall(r"[^\W\d_]{3,}", cell)) < (2 if re.search(r"\d", cell) else 1) for cell in cells)
    if not cells or 2 * numbers >= len(cells):
        return ""
    return "\n".join(" | ".join(collapse(cell) for cell in row) for row in rows if any(row))


_REFERENCES = re.compile(
    r"^(\d+\.?\s*)?(references?|bibliography|works cited|acknow\w+|table of contents|contents|citation)$", re.I
)


def is_back_matter(heading: str) -> bool:
    """Whether a section of this name is no prose: a reference list, a table of contents, thanks."""
    return bool(_REFERENCES.match(heading.strip().rstrip(":")))
