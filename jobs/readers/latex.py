"""LaTeX: sections, paragraphs and lists as text; formulas stay LaTeX; figures, code and the bibliography are left out.

Files of its own folder tree are included, macros of the author's own are expanded; nothing is run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pylatexenc.latex2text import LatexNodes2Text, MacroTextSpec, get_default_latex_context_db
from pylatexenc.latexwalker import (
    LatexCharsNode,
    LatexCommentNode,
    LatexEnvironmentNode,
    LatexGroupNode,
    LatexMacroNode,
    LatexMathNode,
    LatexWalker,
    LatexWalkerError,
)

from jobs.documents import Block, Extract, UnreadableError, collapse, is_back_matter, list_text
from jobs.readers.plain import decode
from jobs.readers.tex_includes import Includes, Load, from_folder, includer
from jobs.readers.tex_macros import Macros

_SECTIONS = {"chapter", "section", "subsection", "subsubsection", "paragraph"}
_SILENT_MACROS = (
    "cite citep citet citeauthor citeyear nocite label footnote footnotetext thanks maketitle tableofcontents "
    "bibliography bibliographystyle includegraphics vspace hspace input include index pagestyle author "
    "documentclass usepackage newcommand renewcommand"
).split()
_REFERENCES = {"ref": "the reference", "autoref": "the reference", "cref": "the reference", "eqref": "the equation"}
_FORMULAS = set("equation align gather multline eqnarray displaymath math flalign alignat".split())
_LISTS = {"itemize", "enumerate", "description"}
_SILENT = set(
    "thebibliography figure table tabular tabularx verbatim lstlisting minted tikzpicture algorithm algorithmic "
    "comment filecontents titlepage".split()
)
_TEX_COMMENT = re.compile(r"^%+[ \t]*(title|source|licence|license|url|date)[ \t]*:[ \t]*(.+)$", re.I | re.M)


def _converter() -> LatexNodes2Text:
    context = get_default_latex_context_db()
    silent = [MacroTextSpec(name, discard=True) for name in _SILENT_MACROS]
    spoken = [MacroTextSpec(name, simplify_repl=words) for name, words in _REFERENCES.items()]
    context.add_context_category("footnote", prepend=True, macros=[*silent, *spoken])
    return LatexNodes2Text(math_mode="verbatim", latex_context=context, strict_latex_spaces=False)


_CONVERTER = _converter()


def read(data: bytes, path: Path | None = None, root: Path | None = None) -> Extract:
    """Read a LaTeX file, with files of its folder tree.

    Raises `UnreadableError` for one that another includes: one in its folder, or above it up to `root`.
    """
    source = decode(data)
    if path is None:
        return read_source(source, lambda name: None)
    whole = re.search(r"\\documentclass|\\documentstyle|\\begin\{document\}", source)
    if not whole and (main := includer(path, root or path.parent)):
        raise UnreadableError(f"included by {main}")
    return read_source(source, from_folder(path.parent))


def read_source(source: str, load: Load) -> Extract:
    """Read a LaTeX source with what it includes. Raises `UnreadableError` where it cannot be parsed or grows on."""
    includes = Includes(load)
    try:
        preamble, body = _parts(Macros().expand(includes.expand(source)))
        walk = _Walk({name.lower(): value.strip() for name, value in _TEX_COMMENT.findall(source)})
        walk.run([node for node in _nodes(preamble) if _is_named(node, ("title", "date"))])
        walk.run(_nodes(body))
        walk.flush()
    except (LatexWalkerError, RecursionError, IndexError, ValueError) as error:
        raise UnreadableError(f"not valid LaTeX ({collapse(str(error))[:120]})") from error
    walk.extract.missing = includes.missing
    return walk.extract


def _parts(source: str) -> tuple[str, str]:
    """What stands before the document's text, and that text; all is text where it has no such mark."""
    before, mark, after = source.partition("\\begin{document}")
    return (before, after.partition("\\end{document}")[0]) if mark else ("", source)


def _nodes(source: str) -> list[Any]:
    return LatexWalker(source, tolerant_parsing=True).get_latex_nodes()[0]


def _is_named(node: Any, names: Sequence[str]) -> bool:
    return isinstance(node, LatexMacroNode) and node.macroname in names


class _Walk:
    """One pass over the nodes; text gathers in `pending` until a paragraph ends."""

    def __init__(self, metadata: dict[str, Any]) -> None:
        self.extract, self.section = Extract(metadata=metadata), ""
        self.pending: list[Any] = []

    def run(self, nodes: Sequence[Any]) -> None:
        for node in nodes:
            if isinstance(node, LatexEnvironmentNode):
                self.environment(node)
            elif isinstance(node, LatexMathNode) and node.displaytype == "display":
                self.formula(node.latex_verbatim())
            elif isinstance(node, LatexMacroNode) and node.macroname in (*_SECTIONS, "title", "date"):
                self.heading(node)
            elif isinstance(node, LatexCharsNode) and "\n" in node.chars and re.search(r"\n\s*\n", node.chars):
                self.paragraphs(node)
            elif getattr(node, "specials_chars", "") == "\n\n":
                self.flush()
            elif not isinstance(node, LatexCommentNode):
                self.pending.append(node)

    def paragraphs(self, node: Any) -> None:
        *closed, last = re.split(r"\n\s*\n", node.chars)
        for part in closed:
            self.pending.append(_chars(node, part))
            self.flush()
        self.pending.append(_chars(node, last))

    def heading(self, node: Any) -> None:
        self.flush()
        text = _text([group for group in _arguments(node) if isinstance(group, LatexGroupNode)][-1:])
        if node.macroname == "title":
            self.extract.title = text
        elif node.macroname == "date":
            if re.search(r"\d{4}", text):
                self.extract.metadata.setdefault("date", text)
        else:
            self.section = text

    def environment(self, node: Any) -> None:
        name = node.environmentname.rstrip("*")
        if name in _SILENT:
            return
        if name in _FORMULAS:
            self.formula(node.latex_verbatim())
        elif name in _LISTS:
            self.flush()
            self.add(list_text(_items(node.nodelist)))
        else:
            self.flush()
            outer, self.section = self.section, "Abstract" if name == "abstract" else self.section
            self.run(node.nodelist)
            self.flush()
            if name == "abstract":
                self.section = outer

    def formula(self, latex: str) -> None:
        """A displayed formula stays in the sentence that it stands in."""
        self.pending.append(LatexCharsNode(parsing_state=None, chars=f" {collapse(latex)} ", pos=0, len=0))

    def flush(self) -> None:
        self.add(_text(self.pending))
        self.pending = []

    def add(self, text: str) -> None:
        if text and not is_back_matter(self.section):
            self.extract.blocks.append(Block(self.section, text))


def _arguments(macro: LatexMacroNode) -> Sequence[Any]:
    """A macro's arguments; pylatexenc gives one at the file's end that lacks them no list at all."""
    return (macro.nodeargd.argnlist or ()) if macro.nodeargd else ()


def _chars(node: Any, text: str) -> LatexCharsNode:
    return LatexCharsNode(parsing_state=node.parsing_state, chars=text, pos=node.pos, len=len(text))


def _text(nodes: Sequence[Any]) -> str:
    text = collapse(_CONVERTER.nodelist_to_text(list(nodes)))
    return re.sub(r"\s+([,.;:])(?=\s|$)", r"\1", text)


def _items(nodes: Sequence[Any]) -> list[str]:
    items: list[list[Any]] = []
    for node in nodes:
        if isinstance(node, LatexMacroNode) and node.macroname == "item":
            items.append([argument for argument in _arguments(node) if argument is not None])
        elif items:
            items[-1].append(node)
    return [_text(item) for item in items]
