"""Reading a card back: its front matter, and its tables as a Markdown reader sees them. Not a test."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import yaml
from markdown_it import MarkdownIt

Table = list[list[str]]  # rows of cells in plain text, the header first


def front_matter(text: str) -> dict[str, Any]:
    return yaml.safe_load(text.split("---\n")[1])


def tables(text: str) -> list[Table]:
    """All tables of a card; each row must have as many cells as the header."""
    reader = _Tables()
    reader.feed(MarkdownIt("gfm-like", {"linkify": False}).render(text))
    for table in reader.found:
        assert {len(row) for row in table} == {len(table[0])}
    return reader.found


def table_headed(text: str, *headers: str) -> Table:
    """The first table whose header begins with these."""
    return next(table for table in tables(text) if table[0][: len(headers)] == list(headers))


class _Tables(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Table] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "table":
            self.found.append([])
        elif tag == "tr":
            self.found[-1].append([])
        elif tag in ("td", "th"):
            self.found[-1][-1].append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.found[-1][-1][-1] += data
