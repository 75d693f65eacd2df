"""All documents that a configuration names: what is not on this machine is fetched, but for the rows of the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from jobs.config import Documents
from jobs.document_work import refused_licence
from jobs.documents import Item
from jobs.errors import UserError
from jobs.sources.arxiv import arxiv_ids, arxiv_items
from jobs.sources.fetcher import Fetcher
from jobs.sources.hub_papers import HubPapers, hub_items, open_hub
from jobs.sources.local import local_items
from jobs.sources.net import Net
from jobs.sources.store import PageStore
from jobs.sources.web import web_addresses, web_items
from jobs.user_cache import user_cache


@dataclass(frozen=True)
class Found:
    """Documents that are on this machine now, and data sets of papers that are read row by row."""

    items: Sequence[Item]
    hub: Sequence[HubPapers]

    def write(self, path: Path) -> int:
        """All of them as JSON Lines, unless the file is there already. Returns how many."""
        if not path.is_file():
            partial = path.with_name(path.name + ".partial")
            with partial.open("w", encoding="utf-8") as file:
                for item in chain(self.items, *map(hub_items, self.hub)):
                    file.write(item.model_dump_json() + "\n")
            partial.replace(path)
        with path.open("rb") as lines:
            return sum(1 for _ in lines)


def find(documents: Documents, net: Net) -> Found:
    """List and fetch them. Raises `UserError` for what is wrong with the names, before anything is fetched."""
    ids, addresses = arxiv_ids(documents.arxiv), web_addresses(documents.urls)
    items = list(local_items([Path(path) for path in documents.paths]))
    hub = [open_hub(name) for name in documents.hub]
    if ids or addresses:
        store = PageStore(_cache(documents.cache))
        with Fetcher(store, contact=documents.contact, clock=net.clock, refresh=net.refresh) as fetcher:
            items += arxiv_items(ids, fetcher, net.arxiv, lambda item: refused_licence(item, documents))
            items += web_items(addresses, fetcher)
    return Found(items, hub)


def _cache(named: str) -> Path:
    folder = user_cache("documents", named).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{folder}: a file stands where fetched documents are kept; give another --cache") from None
    return folder
