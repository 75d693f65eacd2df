"""arXiv's own HTML, which LaTeXML makes of a paper's source: blocks by its `ltx_` classes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from jobs.documents import Block, Extract, collapse, is_back_matter, list_text

_SILENT = (
    "bibliography note note_outer authors ERROR error figure table float listing verbatim lstlisting TOC page_navbar"
    " page_header page_footer pagination dates keywords classification role_footnote creator engrafo tag_equation"
    " eqn_eqno nav rdf acknowledgements index"
).split()
_BLOCKS = ("ltx_p", "ltx_itemize", "ltx_enumerate", "ltx_description", "ltx_equation", "ltx_equationgroup")


def is_latexml(tree: Any) -> bool:
    """Whether a page is one of LaTeXML's."""
    return bool(tree.xpath(f"//article[{_has('ltx_document')}]|//div[{_has('ltx_page_main')}]"))


def read_latexml(tree: Any, metadata: dict[str, Any]) -> Extract:
    """Sections, paragraphs, lists and displayed formulas. The formulas have been put in LaTeX before."""
    for name in _SILENT:
        for element in tree.xpath(f"//*[{_has('ltx_' + name)}]"):
            _drop(element)
    for cite in tree.xpath("//cite"):
        if "ltx_citemacro_citet" not in (cite.get("class") or ""):  # "Hu et al. (2021) show" needs its citation
            _drop(cite)
    for tag in tree.xpath(f"//*[{_has('ltx_tag')}][not(ancestor::a)]"):  # numbers of sections, marks of items
        _drop(tag)
    extract = Extract(metadata=metadata)
    for title in tree.xpath(f"//*[{_has('ltx_title_document')}]")[:1]:
        extract.title = collapse(title.text_content())
    for section, text in _walk(tree, ""):
        if text and not is_back_matter(section):
            extract.blocks.append(Block(section, text))
    return extract


def _has(name: str) -> str:
    return f"contains(concat(' ', normalize-space(@class), ' '), ' {name} ')"


def _drop(element: Any) -> None:
    if element.getparent() is not None:
        element.drop_tree()


def _walk(parent: Any, section: str) -> Iterator[tuple[str, str]]:
    for element in parent:
        names = (element.get("class") or "").split() if isinstance(element.tag, str) else []
        if "ltx_title" in names and "ltx_title_document" not in names:
            section = collapse(element.text_content()).strip(".")
        elif "ltx_p" in names:
            yield section, _text(element)
        elif {"ltx_itemize", "ltx_enumerate", "ltx_description"} & set(names):
            yield section, list_text(_text(item) for item in element)
        elif {"ltx_equation", "ltx_equationgroup"} & set(names):
            yield section, _displayed(element)
        else:
            yield from _walk(element, section)


def _text(element: Any) -> str:
    """On one line, without the space that a citation leaves before a comma."""
    return re.sub(r" ([,.;:])(?= |$)", r"\1", collapse(element.text_content()))


def _displayed(element: Any) -> str:
    """The lines of a displayed formula as one; LaTeXML gives each cell of an alignment by itself."""
    latex = collapse(element.text_content()).replace(r"\displaystyle", "").replace("$", " ")
    return f"$$ {collapse(latex)} $$" if latex.strip() else ""
