"""What a page says of itself: meta tags, links, JSON-LD, `time`, and whether it is only a form to log in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from jobs.documents import NAMES, collapse
from jobs.licence_names import spdx_name

_PAGES = ("Article", "WebPage", "BlogPosting")  # types of JSON-LD that are the page; ScholarlyArticle is one too
_COMMENTS = re.compile(r"(comments?|commentlist|replies|disqus_thread)($|[-_](?!open|closed|status|enabled))", re.I)
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
    entries = list(_linked_data(tree))
    for entry in entries:
        if entry.get("datePublished"):
            found.setdefault("date", entry["datePublished"])
    stated = [found.pop(name, "") for name in NAMES["licence"]]
    if licences := _licences(tree, [*stated, *(text for entry in entries for text in _of_entry(entry))]):
        found["licence"] = licences
    for time in tree.xpath("//article//time[@datetime]|//time[@pubdate][@datetime]")[:1]:
        found.setdefault("date", time.get("datetime"))
    for element in (tree.find(".//h1"), tree.find(".//title")):
        if element is not None and (text := collapse(element.text_content())):
            found["title"] = text
    return found


def _licences(tree: Any, stated: Iterable[str]) -> str:
    """Every licence that the page states of itself or links to; several are joined: no list allows such a name."""
    links = tree.xpath("//*[self::a or self::link][@href][contains(concat(' ', @rel, ' '), ' license ')]")
    arxiv = [text.split(":", 1)[-1] for text in tree.xpath("//*[@id='license-tr']//text()") if text.strip()]
    linked = [link.get("href") for link in links if not any(map(_is_of_others, link.iterancestors()))]
    names = [spdx_name(text) for text in [*stated, *(linked or arxiv[:1])] if text.strip()]
    return " and ".join({name.lower(): name for name in names}.values())


def _is_of_others(element: Any) -> bool:
    """Whether a licence in here is that of a picture, of a visitor's comment, or not on the page."""
    names = f"{element.get('class') or ''} {element.get('id') or ''}".split()
    comment = element.tag not in ("html", "body", "main") and any(map(_COMMENTS.match, names))
    return comment or element.tag in ("figure", "template", "noscript", "script")


def _of_entry(entry: dict[str, Any]) -> Iterator[str]:
    """Licences of a page's or article's entry; one without a type is the page's."""
    types = entry.get("@type") or "WebPage"
    if any(str(name).endswith(_PAGES) for name in (types if isinstance(types, list) else [types])):
        values = entry.get("license")
        for value in values if isinstance(values, list) else [values]:
            text = value.get("url") or value.get("@id") if isinstance(value, dict) else value
            yield text if isinstance(text, str) else ""


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
