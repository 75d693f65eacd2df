"""Documents at web addresses: blogs, articles, PDFs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import urldefrag, urlsplit

from jobs.documents import Item, printable
from jobs.errors import UserError
from jobs.progress import progress
from jobs.sources.addresses import entries, split_address
from jobs.sources.fetcher import Fetcher
from jobs.sources.store import RefusedError

KINDS = {  # content type: reader
    "text/html": "html",
    "application/xhtml+xml": "html",
    "application/pdf": "pdf",
    "text/markdown": "markdown",
    "text/x-markdown": "markdown",
    "text/plain": "plain",
    "application/x-tex": "latex",
    "text/x-tex": "latex",
}
PLAIN_KINDS = {".md": "markdown", ".markdown": "markdown", ".mdx": "mdx", ".tex": "latex", ".rst": "rst"}


def web_addresses(named: Sequence[str]) -> list[str]:
    """The addresses named, and those in files named. Raises `UserError` for what is neither."""
    return list(entries(named, "a web address (http…)", _address))


def _address(text: str) -> str | None:
    try:
        parts = split_address(text)
    except RefusedError:
        return None
    if parts.username or parts.password:
        raise UserError(
            f"{parts.hostname}: an address with a name or a password in it, which would be published; drop it"
        )
    if any(sign.isspace() or "\ud800" <= sign <= "\udfff" for sign in text):  # half a sign: bytes that are no UTF-8
        return None
    return urldefrag(text).url


def web_items(addresses: Sequence[str], fetcher: Fetcher) -> Iterator[Item]:
    """A document for each address, fetched, or the reason why it is not. Its id is the address without the scheme."""
    for address in progress(addresses, "fetching pages", unit="page"):
        item = Item(name=printable(address.partition("://")[2]), origin="web", stated={"source": address})
        try:
            page = fetcher.get(address, types=KINDS)
        except RefusedError as refusal:
            yield item.model_copy(update={"problem": str(refusal)})
            continue
        kind = KINDS[page.content_type]
        if kind == "plain":  # as servers of source files call all of them
            suffix = "." + urlsplit(page.final).path.rpartition(".")[2].lower()
            kind = PLAIN_KINDS.get(suffix, kind)
        yield item.model_copy(update={"kind": kind, "path": str(fetcher.path(page)), "charset": page.charset})
