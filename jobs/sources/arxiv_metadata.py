"""What arXiv's interfaces tell of papers: title, date and version (Atom), and the licence (OAI-PMH)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.documents import UnreadableError, collapse
from jobs.sources.addresses import ARXIV_PACE
from jobs.sources.arxiv_ids import ArxivId, parse_id
from jobs.sources.clock import Pace
from jobs.sources.fetcher import Fetcher

BATCH = 50  # ids of one request


@dataclass(frozen=True)
class ArxivSite:
    """arXiv's addresses, and the pace of all of them together."""

    api: str = "https://export.arxiv.org/api/query"
    oai: str = "https://oaipmh.arxiv.org/oai"
    pages: str = "https://arxiv.org"
    pace: Pace = ARXIV_PACE


@dataclass(frozen=True)
class Paper:
    """One version of a paper. `date` is that of its first version."""

    id: ArxivId
    title: str
    date: str


def papers(ids: Sequence[ArxivId], fetcher: Fetcher, site: ArxivSite) -> dict[ArxivId, Paper | str]:
    """What the Atom interface knows of each id, or why it is not known."""
    found: dict[ArxivId, Paper | str] = {}
    unique = list(dict.fromkeys(ids))
    for start in range(0, len(unique), BATCH):
        batch = unique[start : start + BATCH]
        address = f"{site.api}?id_list={','.join(map(str, batch))}&max_results={len(batch)}"
        try:
            known = _entries(_xml(fetcher, site, address, "entry"))
        except UnreadableError as error:
            found |= dict.fromkeys(batch, f"metadata cannot be had: {error}")
            continue
        found |= {asked: _pick(asked, known) for asked in batch}
    return found


def _pick(asked: ArxivId, known: Sequence[Paper]) -> Paper | str:
    """The entry of an id; one without a version is answered with the latest."""
    found = [p for p in known if p.id.paper == asked.paper and asked.version in (None, p.id.version)]
    return max(found, key=lambda p: p.id.version or 0) if found else "unknown to arXiv"


def licence(paper: str, fetcher: Fetcher, site: ArxivSite) -> str:
    """The address of a paper's licence as OAI-PMH states it; "" where it states none. Raises `UnreadableError`."""
    query = f"verb=GetRecord&metadataPrefix=arXiv&identifier=oai:arXiv.org:{paper}"
    return _text(_xml(fetcher, site, f"{site.oai}?{query}", "record"), "license")


def _xml(fetcher: Fetcher, site: ArxivSite, address: str, holds: str) -> Any:
    """An interface's answer. What is none, or holds no such element, may be different another time: it is not kept."""
    from lxml import etree

    page = fetcher.get(address, pace=site.pace, robots=False)  # interfaces for programs: their terms are the pace
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        answer = etree.fromstring(fetcher.path(page, robots=False).read_bytes(), parser)
    except etree.XMLSyntaxError:
        fetcher.drop(page, robots=False)
        raise UnreadableError("arXiv's answer is not XML") from None
    if answer.find(f".//{{*}}{holds}") is None:
        fetcher.drop(page, robots=False)
        raise UnreadableError(f"arXiv has no {holds} of it, or is busy")
    return answer


def _entries(feed: Any) -> list[Paper]:
    found = []
    for entry in feed.iterfind("{*}entry"):
        if (identifier := parse_id(_text(entry, "id"))) is not None:  # an entry that tells of an error has another id
            found.append(Paper(identifier, _text(entry, "title"), _text(entry, "published")[:10]))
    return found


def _text(element: Any, name: str) -> str:
    return collapse(next((found.text or "" for found in element.iterfind(f".//{{*}}{name}")), ""))
