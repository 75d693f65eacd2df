"""Papers of arXiv by their ids: metadata and licence first, then HTML, else the LaTeX source, else the PDF."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from jobs.documents import Item, UnreadableError
from jobs.licence_names import spdx_name
from jobs.progress import progress
from jobs.sources.addresses import entries
from jobs.sources.arxiv_ids import ArxivId, parse_id
from jobs.sources.arxiv_metadata import ArxivSite, Paper, licence, papers
from jobs.sources.fetcher import Fetcher
from jobs.sources.store import RefusedError

FORMS = (("html", "html"), ("src", "latex_source"), ("pdf", "pdf"))  # where a paper's text is, and who reads it


def arxiv_ids(named: Sequence[str]) -> list[ArxivId]:
    """The ids named, and those in files named. Raises `UserError` for what is neither."""
    return list(entries(named, "an arXiv id such as 2106.09685", parse_id))


def arxiv_items(
    ids: Sequence[ArxivId], fetcher: Fetcher, site: ArxivSite, refused: Callable[[Item], str]
) -> Iterator[Item]:
    """A document for each id, or the reason why there is none.

    `refused` tells why a paper may not be used ("" if it may): it is then listed without its text, which is not asked
    for. Of two versions of one paper each has its version in its id.
    """
    known = papers(ids, fetcher, site)
    versions = defaultdict[str, set[ArxivId]](set)
    for paper in known.values():
        if isinstance(paper, Paper):
            versions[paper.id.paper].add(paper.id)
    for asked in progress(ids, "fetching papers", unit="paper"):
        paper = known[asked]
        if isinstance(paper, str):
            yield Item(name=f"arxiv:{asked}", origin="arxiv", problem=paper)
            continue
        name = f"arxiv:{paper.id if len(versions[paper.id.paper]) > 1 else paper.id.paper}"
        item = Item(name=name, origin="arxiv", stated=_stated(paper))
        try:
            yield _with_text(item, paper, fetcher, site, refused)
        except UnreadableError as error:
            yield item.model_copy(update={"problem": str(error)})


def _stated(paper: Paper) -> dict[str, str]:
    return {"title": paper.title, "source": f"https://arxiv.org/abs/{paper.id}", "date": paper.date}


def _with_text(item: Item, paper: Paper, fetcher: Fetcher, site: ArxivSite, refused: Callable[[Item], str]) -> Item:
    under = licence(paper.id.paper, fetcher, site)
    item = item.model_copy(update={"stated": item.stated | ({"licence": spdx_name(under)} if under else {})})
    if refused(item):
        return item
    missing: list[str] = []
    for form, kind in FORMS:
        try:
            page = fetcher.get(f"{site.pages}/{form}/{paper.id}", pace=site.pace)
        except RefusedError as refusal:
            if not refusal.lasting:
                raise
            missing.append(f"{form} {refusal}")
            continue
        path = fetcher.path(page)
        if found := _kind_of(path.read_bytes(), kind):
            return item.model_copy(update={"path": str(path), "kind": found})
        missing.append(f"{form} without its text")
        if not _is_of_latexml(path.read_bytes()):  # a notice that it is busy, which is not kept
            fetcher.drop(page)
    raise UnreadableError(f"no text to be had ({'; '.join(missing)})")


def _kind_of(data: bytes, kind: str) -> str:
    """What a paper's text is in: of its source nothing but a PDF may be there. "" where it is not there after all."""
    if kind == "html":
        return kind if re.search(rb"\bltx_p(ara)?\b", data) else ""
    if data.startswith(b"%PDF-"):
        return "pdf"
    is_page = re.match(rb"\s*<(!doctype|html)", data[:100], re.I)
    return "" if kind == "pdf" or is_page else kind


def _is_of_latexml(data: bytes) -> bool:
    """Whether a page was made of a paper, although LaTeXML failed at its text."""
    return b"ltx_" in data
