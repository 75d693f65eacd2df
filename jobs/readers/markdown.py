"""Markdown: front matter, headings, paragraphs, lists and tables; code is left out, formulas stay in LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.footnote import footnote_plugin
from mdit_py_plugins.front_matter import front_matter_plugin

from jobs.documents import NAMES, Block, Extract, UnreadableError, collapse, is_back_matter, list_text, table_text
from jobs.readers.marks import drop_slide_marks, replace_marks
from jobs.readers.plain import decode
from jobs.readers.qasper import is_qasper, part

_PARSER = (
    MarkdownIt("commonmark")
    .enable(["table", "strikethrough"])
    .use(front_matter_plugin)
    .use(footnote_plugin)
    .use(dollarmath_plugin, allow_space=False, allow_digits=False, double_inline=True)
)
MOST_BRACKETS = 1_000_000  # brackets times characters of one paragraph: for each, the parser goes to the end of it


def _without_many_brackets(state: StateCore) -> None:
    for token in state.tokens:
        if token.type == "inline" and token.content.count("[") * len(token.content) > MOST_BRACKETS:
            token.content = token.content.replace("[", " ")


_PARSER.core.ruler.before("inline", "many_brackets", _without_many_brackets)
_SILENT = re.compile(r"<(script|style|table|svg|iframe|video|pre)\b.*?(</\1>|\Z)|<!--.*?(-->|\Z)", re.S | re.I)
_MARKUP = re.compile(r"</?[a-zA-Z!][^>]*(>|\Z)")
# A search ends at the next opening, or paragraph: it would go to the end of the text from each.
_BRACKETED_MATH = re.compile(r"\\\\\(((?:(?!\\\\\(|\n\n).)+?)\\\\\)|\\\\\[((?:(?!\\\\\[|\n\n).)+?)\\\\\]", re.S)
_CALLOUT = re.compile(r"^\s*\[!\w+\]\s*")
_HEAD_LINE = re.compile(r"([A-Za-z][\w.:-]*):(?:\s|$)|\s|- |#")  # a key, or what belongs to the one above
_METADATA = frozenset(alias for aliases in NAMES.values() for alias in aliases)
_ANCHOR = re.compile(r" ?(\[\[[^\]]{0,200}\]\]|\{#[^}]{0,200}\})$")


def read(data: bytes) -> Extract:
    """Read a Markdown file."""
    return read_markdown(decode(data))


def read_markdown(text: str) -> Extract:
    """Blocks and metadata of Markdown text. The first heading of the first level is the title, not a section."""
    text = _BRACKETED_MATH.sub(lambda found: f"${found[1]}$" if found[1] else f"$${found[2]}$$", text)
    tokens = _PARSER.parse(drop_slide_marks(text))
    extract = Extract()
    if tokens and tokens[0].type == "front_matter":
        extract.metadata = _front_matter(tokens[0].content)
    elif _is_unclosed(text):  # a licence may stand in it
        raise UnreadableError("front matter is not closed")
    _Walk(extract).run(tokens)
    if is_qasper(text):
        extract.blocks = part(extract.blocks)
    return extract


def _front_matter(text: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or number that is none
        raise UnreadableError(f"front matter is not valid YAML ({collapse(str(error))[:120]})") from error
    return values if isinstance(values, dict) else {}


def _is_unclosed(text: str) -> bool:
    """Whether a first line of dashes opens lines of `key: value`, not of prose: a rule is followed by anything else."""
    rule, *lines = text.split("\n", 200)[:200]
    if not re.fullmatch(r"-{3,}\s*", rule):
        return False
    block = list(takewhile(str.strip, lines))
    head = list(takewhile(bool, map(_HEAD_LINE.match, block)))
    keys = [found[1].lower() for found in head if found[1]]
    return not _METADATA.isdisjoint(keys) or (len(keys) > 1 and len(head) == len(block))


class _Walk:
    """One pass over the tokens; `section` is the nearest heading above."""

    def __init__(self, extract: Extract) -> None:
        self.extract, self.section = extract, ""

    def run(self, tokens: Sequence[Token]) -> None:
        index = 0
        while index < len(tokens):
            token = tokens[index]
            end = _closing(tokens, index)
            inner = tokens[index + 1 : end]
            if token.type == "heading_open":
                self.heading(inline_text(inner), int(token.tag[1]))
            elif token.type == "paragraph_open":
                self.add("" if _of_links(inner) else inline_text(inner))
            elif token.type in ("bullet_list_open", "ordered_list_open"):
                self.add(list_text(_items(inner)))
            elif token.type == "table_open":
                self.add(table_text(_rows(inner)))
            elif token.type.startswith("math_block"):
                self.add(f"$$ {collapse(token.content)} $$")
            elif token.type == "html_block":
                self.add(replace_marks(collapse(_MARKUP.sub(" ", _SILENT.sub(" ", token.content)))))
            elif token.type == "blockquote_open":
                self.run(inner)
            index = end + 1

    def heading(self, text: str, level: int) -> None:
        text = _ANCHOR.sub("", text).strip("[]()* ") if text[:1] in "[(" else _ANCHOR.sub("", text)
        if level == 1 and not self.extract.title:
            self.extract.title = text
            return
        self.section = text

    def add(self, text: str) -> None:
        if text and not is_back_matter(self.section):
            self.extract.blocks.append(Block(self.section, text))


def _closing(tokens: Sequence[Token], index: int) -> int:
    """Index of the token that closes the one at `index`: itself where it stands alone."""
    depth = 0
    for position in range(index, len(tokens)):
        depth += tokens[position].nesting
        if depth == 0:
            return position
    return len(tokens) - 1


def _items(tokens: Sequence[Token]) -> list[str]:
    """Texts of a list's items; items of lists within follow their own. Code and mere links are left out."""
    items: list[str] = []
    for token in tokens:
        if token.type == "list_item_open":
            items.append("")
        elif token.type == "inline" and items and not _of_links([token]):
            items[-1] = f"{items[-1]} {inline_text([token])}".strip()
        elif token.type.startswith("math_block") and items:
            items[-1] = f"{items[-1]} $${collapse(token.content)}$$".strip()
    return items


def _rows(tokens: Sequence[Token]) -> list[list[str]]:
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(inline_text([token]))
    return rows


def inline_text(tokens: Sequence[Token]) -> str:
    """Words of inline tokens on one line: links by their text, no images, no tags, formulas between dollars."""
    parts: list[str] = []
    for token in tokens:
        for child in token.children or ():
            parts.append(_inline(child))
    return collapse(replace_marks(_CALLOUT.sub("", "".join(parts))))


def _of_links(tokens: Sequence[Token]) -> bool:
    """Whether half or more of the letters are those of links: it tells where else to read."""
    inside, linked, letters = 0, 0, 0
    for child in (child for token in tokens for child in token.children or ()):
        inside += {"link_open": 1, "link_close": -1}.get(child.type, 0)
        letters += len(child.content)
        linked += len(child.content) if inside else 0
    return bool(linked) and 2 * linked >= letters


def _inline(token: Token) -> str:
    if token.type == "text":
        return token.content
    if token.type == "code_inline":
        return f"`{token.content}`"
    if token.type.startswith("math_inline"):
        mark = "$$" if token.type == "math_inline_double" else "$"
        return f"{mark}{token.content}{mark}"
    return " " if token.type in ("softbreak", "hardbreak") else ""
