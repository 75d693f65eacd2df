"""What a page says of itself: meta tags, links, JSON-LD, `time`, and whether it is only a form to log in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from jobs.documents import collapse
from jobs.licence_names import spdx_name

LOGIN_WORDS = 200  # a page with a field for a password and fewer words is a form to log in


def is_login(tree: Any) -> bool:
    """Whether there is a field for a password and little else."""
    words = sum(len(text.split()) for text in tree.xpath("//body//text()[not(ancestor::script or ancestor::style)]"))
    return bool(tree.xpath("//input[translate(@type, 'PASWORD', 'pasword')='password']")) and words < LOGIN_WORDS


def page_metadata(tree: Any) -> dict[str, Any]:
    """Names as the page has them, those of `jobs.documents.NAMES` among them."""
    found: dict[str, Any] = {}
    for meta in tree.iter("meta"):
        name = meta.get("name") or meta.get("property") or meta.get("itemprop") or ""
        if name and meta.get("content"):
            found.setdefault(name.lower(), meta.get("content"))
    for link in tree.xpath("//link[@rel='canonical'][@href]"):
        found.setdefault("canonical", link.get("href"))
    for entry in _linked_data(tree):
        for name, value in (("license", entry.get("license")), ("date", entry.get("datePublished"))):
            if value := value.get("url") or value.get("@id") if isinstance(value, dict) else value:
                found.setdefault(name, value)
    if licences := _licences(tree):
        found.setdefault("license", licences)
    for time in tree.xpath("//article//time[@datetime]|//time[@pubdate][@datetime]")[:1]:
        found.setdefault("date", time.get("datetime"))
    for element in (tree.find(".//h1"), tree.find(".//title")):
        if element is not None and (text := collapse(element.text_content())):
            found["title"] = text
    return found


def _licences(tree: Any) -> str:
    """The licence that the page links to. Where links name several, all of them: no list allows such a name."""
    links = tree.xpath("//*[self::a or self::link][@href][contains(concat(' ', @rel, ' '), ' license ')]")
    arxiv = [text.split(":", 1)[-1] for text in tree.xpath("//*[@id='license-tr']//text()") if text.strip()]
    names = [spdx_name(link.get("href")) for link in links] or [spdx_name(text) for text in arxiv[:1]]
    return " and ".join(dict.fromkeys(names))


def _linked_data(tree: Any) -> Iterator[dict[str, Any]]:
    for script in tree.xpath("//script[@type='application/ld+json']"):
        try:
            values = json.loads(script.text or "null")
        except ValueError:  # many pages have broken ones; it is one source of several
            continue
        values = values if isinstance(values, list) else [values]
        for value in values:
            if isinstance(value, dict):
                graph = value.get("@graph")
                yield from (
                    entry for entry in (graph if isinstance(graph, list) else [value]) if isinstance(entry, dict)
                )
