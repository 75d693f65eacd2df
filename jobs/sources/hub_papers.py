"""Papers of a data set on the Hub, row by row at one commit: its columns' names tell what they hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.arc import from_hub, hub_configs
from jobs.documents import Item, collapse, printable
from jobs.errors import UserError
from jobs.readers import LARGEST
from jobs.sources.arxiv_ids import parse_id

TEXT = ("text", "content", "markdown", "article", "body", "paper", "full_text")
ID = ("id", "arxiv_id", "paper_id")
STATED = {
    "title": ("title",),
    "source": ("url", "source"),
    "licence": ("licence", "license"),
    "date": ("date", "published", "year"),
}


@dataclass(frozen=True)
class HubPapers:
    """A configuration of a data set at a commit, and the licence that its card names."""

    repository: str
    config: str
    revision: str
    licence: str

    @property
    def name(self) -> str:
        """What the step's record keeps of it."""
        return f"{self.repository}:{self.config}@{self.revision}"


def open_hub(named: str) -> HubPapers:
    """Find `OWNER/NAME` or `OWNER/NAME:CONFIG`. Raises `UserError` where it is missing, or has to be chosen."""
    from huggingface_hub import HfApi

    repository, _, config = named.partition(":")
    info = from_hub(repository, lambda: HfApi().dataset_info(repository))
    known = hub_configs(repository)
    if not config and len(known) != 1:
        raise UserError(f"{repository}: has {', '.join(known)}; name one, such as {repository}:{known[0]}")
    if config and config not in known:
        raise UserError(f"{named}: no such configuration; it has {', '.join(known)}")
    card = (info.card_data or {}).get("license")
    licence = ", ".join(card) if isinstance(card, list) else card or ""
    return HubPapers(repository, config or known[0], info.sha, licence)


def hub_items(papers: HubPapers) -> Iterator[Item]:
    """A document for each row of all splits. Raises `UserError` where no column holds a text, or the Hub fails."""
    for number, row in enumerate(_rows(papers)):
        if not set(TEXT) & row.keys():
            raise UserError(f"{papers.repository}: no column of texts; it has {', '.join(row)}, not {', '.join(TEXT)}")
        yield _item(row, number, papers)


def _rows(papers: HubPapers) -> Iterator[dict[str, Any]]:
    from datasets import load_dataset

    name, config = papers.repository, papers.config
    splits = from_hub(name, lambda: load_dataset(name, config, revision=papers.revision, streaming=True), config)
    for split in splits.values():
        rows = iter(split)
        while (row := from_hub(name, lambda rows=rows: next(rows, None), config)) is not None:
            yield row


def _item(row: Mapping[str, Any], number: int, papers: HubPapers) -> Item:
    text = next((found for name in TEXT if (found := _whole_text(row.get(name)))), "")
    stated = {ours: value for ours, names in STATED.items() if (value := _first(row, names))}
    arxiv = parse_id(_first(row, ("arxiv_id",))) or parse_id(_first(row, ("id",)))
    if arxiv and "source" not in stated:
        stated["source"] = f"https://arxiv.org/abs/{arxiv}"
    stated.setdefault("source", f"https://huggingface.co/datasets/{papers.repository}")
    if papers.licence:
        stated.setdefault("licence", papers.licence)
    problem = "" if text.strip() else "no text in its row"
    if len(text) > LARGEST:
        text, problem = "", f"larger than {LARGEST // 1_000_000} MB ({len(text) / 1_000_000:.0f} MB)"
    return Item(
        name=printable(f"{papers.repository}/{_first(row, ID) or number}"),
        origin="hub",
        text=text,
        kind="markdown" if _is_markdown(text) else "plain",
        stated=stated,
        problem=problem,
    )


def _first(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """The first of these columns that holds a line of text, a number or a date."""
    values = (row.get(name) for name in names)
    return next(
        (collapse(printable(str(value))) for value in values if value and not isinstance(value, list | dict)), ""
    )


def _whole_text(value: Any) -> str:
    """A text, or one of sections as QASPER has it: `section_name` and, for each, its `paragraphs`."""
    if isinstance(value, str):
        return printable(value)
    if not isinstance(value, dict) or not {"section_name", "paragraphs"} <= value.keys():
        return ""
    sections = zip(value["section_name"] or (), value["paragraphs"] or (), strict=False)
    parts = [part for name, paragraphs in sections for part in (f"## {name}" if name else "", *(paragraphs or ()))]
    return printable("\n\n".join(part for part in parts if part))


def _is_markdown(text: str) -> bool:
    """Whether it has a heading of Markdown, which plain text has not."""
    return bool(re.search(r"^#{1,4} \S", text, re.M))
