"""HTML: the article without navigation and other boilerplate (trafilatura), metadata from the head."""

from __future__ import annotations

import re
from typing import Any

import trafilatura
from lxml import etree
from lxml import html as lxml_html

from jobs.documents import Block, Extract, UnreadableError, collapse, is_back_matter, list_text, table_text
from jobs.readers.formulas import formulas_to_latex
from jobs.readers.latexml import is_latexml, read_latexml
from jobs.readers.page_metadata import is_login, page_metadata
from jobs.readers.plain import decode, in_utf8, recoded

_BOILERPLATE = (
    "//nav|//footer|//aside|//script|//style|//noscript|//template|//form|//iframe|//svg|//figure|//pre"
    "|//*[@role='navigation']|//*[@role='banner']|//*[@role='contentinfo']|//*[@hidden]|//comment()"
    "|//*[@aria-hidden='true']|//*[contains(translate(@style, ' ', ''), 'display:none')]"
    "|//*[contains(translate(@style, ' ', ''), 'visibility:hidden')]"
)
_CUSTOM_SILENT = re.compile(r"(^mjx-|bibliography|appendix|byline|front-matter|footnote|cite|contents)", re.I)
_CHARSET = re.compile(rb"<meta[^>]+charset=[\"']?([\w-]+)|^\W{0,9}<\?xml[^>]+encoding=[\"']([\w-]+)", re.I)
_XML = re.compile(r"^\s*<\?xml[^>]*\?>")  # lxml would go by the encoding in it


def read(data: bytes, charset: str = "") -> Extract:
    """Read a page; `charset` is its encoding where it names none.

    Raises `UnreadableError` where there is no text but boilerplate.
    """
    try:
        tree = lxml_html.document_fromstring(_decode(data, charset), parser=lxml_html.HTMLParser(encoding="utf-8"))
    except etree.ParserError as error:  # nothing but a comment or a byte-order mark
        raise UnreadableError(f"no text in it ({error})") from error
    if is_login(tree):
        raise UnreadableError("behind a login")
    metadata = page_metadata(tree)
    formulas_to_latex(tree)
    _prune(tree)
    if is_latexml(tree):
        return read_latexml(tree, metadata)
    found = trafilatura.bare_extraction(
        tree, include_comments=False, include_tables=True, favor_recall=True, fast=True, deduplicate=False
    )
    if found is None or found.body is None:
        raise UnreadableError("no text besides navigation")
    extract = Extract(title=metadata.get("title", ""), metadata=metadata)
    extract.blocks = _blocks(found.body, extract.title)
    return extract


def _decode(data: bytes, charset: str) -> bytes:
    """The page as UTF-8, from the encoding that it names, or that its server does."""
    declared = _CHARSET.search(data[:2048])
    named = (declared[1] or declared[2]).decode("ascii").lower() if declared else "utf-8"
    if declared and named not in ("utf-8", "utf8") and b"\0" not in data:
        data = recoded(data, named)
    return _XML.sub("", decode(data if declared else in_utf8(data, charset))).encode()


def _prune(tree: Any) -> None:
    """Take out what is no prose, and give custom elements (`d-article`) names that trafilatura knows."""
    for element in tree.xpath(_BOILERPLATE):
        if element.getparent() is not None:
            element.drop_tree() if isinstance(element, lxml_html.HtmlElement) else element.getparent().remove(element)
    for element in list(tree.iter(etree.Element)):
        if not isinstance(element.tag, str) or "-" not in element.tag or element.getparent() is None:
            continue
        if _CUSTOM_SILENT.search(element.tag):
            element.drop_tree()
        elif element.tag.endswith("math"):
            element.text = f"${element.text or ''}$"
            element.drop_tag()
        else:
            element.tag = "article" if element.tag.endswith("article") else "div"


def _blocks(body: Any, title: str) -> list[Block]:
    blocks: list[Block] = []
    section = ""
    for element in body:
        text = collapse("".join(element.itertext()))
        if element.tag == "head":
            section = "" if text == title else text
            continue
        if element.tag == "list":
            text = list_text(collapse("".join(item.itertext())) for item in element.iter("item"))
        elif element.tag == "table":
            rows = [[collapse("".join(cell.itertext())) for cell in row.iter("cell")] for row in element.iter("row")]
            text = table_text(rows)
        if text and element.tag != "code" and not is_back_matter(section):
            blocks.append(Block(section, text))
    return blocks
