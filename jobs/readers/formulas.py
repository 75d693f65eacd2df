"""Formulas of a page → LaTeX between dollars: MathJax's scripts, MathML with its source, KaTeX."""

from __future__ import annotations

import re
from typing import Any

from jobs.documents import collapse

_TEX = "application/x-tex"
_RENDERED = (  # what a browser shows of a formula whose source stands beside it
    "//*[contains(concat(' ', normalize-space(@class), ' '), ' MathJax_Preview ')"
    " or contains(concat(' ', normalize-space(@class), ' '), ' MathJax ')"
    " or contains(concat(' ', normalize-space(@class), ' '), ' katex-html ')]"
)


def formulas_to_latex(tree: Any) -> None:
    """Put the LaTeX of each formula in its place; one without a source becomes `[formula]`, if it is not one sign."""
    for shown in tree.xpath(_RENDERED):
        if not shown.xpath(".//math") and shown.getparent() is not None:
            shown.drop_tree()
    for script in tree.xpath("//script[starts-with(@type, 'math/tex')]"):
        _replace(script, script.text or "", display="mode=display" in script.get("type"))
    for math in tree.xpath("//math"):
        source = math.get("alttext") or "".join(
            node.text or "" for node in math.iter("annotation") if node.get("encoding") == _TEX
        )
        _replace(math, source or _sign(math), display=math.get("display") == "block", bare=not source)


def _sign(math: Any) -> str:
    text = collapse(math.text_content())
    return text if re.fullmatch(r"\w+", text) else "[formula]"


def _replace(element: Any, source: str, *, display: bool, bare: bool = False) -> None:
    mark = "" if bare else "$$" if display else "$"
    latex = collapse(re.sub(r"(?<!\\)%\s*\n", "", source.replace("<![CDATA[", "").replace("]]>", "")))
    span = element.makeelement("span")
    span.text = f"{mark}{latex}{mark}"
    span.tail = element.tail
    element.getparent().replace(element, span)
