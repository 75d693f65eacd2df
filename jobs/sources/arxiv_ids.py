"""arXiv's identifiers, old (cs/0112017) and new (2106.09685), with or without a version, bare or in an address."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MONTH = r"(?:0[1-9]|1[0-2])"
_NEW = rf"(?:0[7-9]|1[0-4]){_MONTH}\.\d{{4}}|(?:1[5-9]|[2-9]\d){_MONTH}\.\d{{5}}"  # five digits since 2015
_OLD = r"(?P<archive>[a-z-]+)(?:\.[a-z-]{2,})?/(?P<number>\d{7})"
_BARE = rf"(?:(?P<new>{_NEW})|{_OLD})(?:v(?P<version>[1-9]\d?))?"
_ID = re.compile(rf"(?:arxiv:\s*)?{_BARE}", re.I)
_ADDRESS = re.compile(
    rf"(?:https?://)?(?:www\.|export\.)?arxiv\.org/(?:abs|pdf|html|src|e-print)/{_BARE}(?:\.pdf)?/?(?:[?#].*)?", re.I
)


@dataclass(frozen=True)
class ArxivId:
    """A paper, and one of its versions; None for the latest."""

    paper: str
    version: int | None = None

    def __str__(self) -> str:
        return self.paper + (f"v{self.version}" if self.version else "")


def parse_id(text: str) -> ArxivId | None:
    """The identifier that a text is, or is an address of; an old one's subject class is dropped, as arXiv does."""
    found = _ID.fullmatch(text.strip()) or _ADDRESS.fullmatch(text.strip())
    if not found:
        return None
    paper = found["new"] or f"{found['archive'].lower()}/{found['number']}"
    return ArxivId(paper, int(found["version"]) if found["version"] else None)
