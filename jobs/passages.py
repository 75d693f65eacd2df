"""Blocks of a document → its text and its passages: whole paragraphs of one section, with their place in the text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from jobs.config import Documents
from jobs.documents import Block, DocumentText
from jobs.sentences import sentences
from qa.records import Passage

BETWEEN = "\n\n"
WORDS = 8  # a passage with fewer words is a caption, a formula or a menu, and tells nothing
Span = tuple[int, int]


def lay_out(blocks: Sequence[Block]) -> tuple[str, list[tuple[str, list[Span]]]]:
    """The document's text, headings included, and for each section in order its title and its blocks' places."""
    parts: list[str] = []
    sections: list[tuple[str, list[Span]]] = []
    length = 0
    for title, members in groupby(blocks, key=lambda block: block.section):
        spans: list[Span] = []
        for text in [title] * bool(title) + [block.text for block in members]:
            spans.append((length, length + len(text)))
            parts.append(text)
            length += len(text) + len(BETWEEN)
        sections.append((title, spans[bool(title) :]))
    return BETWEEN.join(parts), sections


def cut_passages(
    document: DocumentText, sections: Iterable[tuple[str, list[Span]]], limits: Documents
) -> Iterator[Passage]:
    """Passages of `passage_min_chars` to `passage_max_chars` characters; what stays shorter is left out."""
    number = 0
    for title, blocks in sections:
        units = [unit for block in blocks for unit in _units(document.text, block, limits.passage_max_chars)]
        for start, end in _merge(_tie(document.text, units, limits.passage_max_chars), limits):
            start, end = _whole(document.text, start, end)
            text = document.text[start:end]
            if end - start < limits.passage_min_chars or not is_prose(text) or not _balanced(text):
                continue
            yield Passage(
                id=f"{document.document}#{number}",
                document=document.document,
                title=document.title,
                section=title,
                text=text,
                source=document.source,
                licence=document.licence,
                date=document.date,
                start=start,
                end=end,
            )
            number += 1


_FORMULA = re.compile(r"\$\$.*?\$\$|\$[^$\n]*\$|\\\[.*?\\\]|\\begin\{.*?\\end\{[^}]*\}|https?://\S+", re.S)


def is_prose(text: str) -> bool:
    """Whether words carry the text: enough of them, and most of the characters letters, formulas aside."""
    plain = _FORMULA.sub(" ", text)
    words = re.findall(r"[^\W\d_]{2,}", plain)
    visible = len(re.sub(r"\s", "", plain))
    return len(words) >= WORDS and sum(map(len, words)) >= 0.6 * visible


def _units(text: str, block: Span, longest: int) -> list[Span]:
    """The block itself, or its sentences gathered into pieces of at most `longest` characters."""
    if block[1] - block[0] <= longest:
        return [block]
    pieces = [piece for span in sentences(text[block[0] : block[1]]) for piece in _chop(text, block[0], span, longest)]
    gathered: list[Span] = []
    for start, end in pieces:
        if gathered and end - gathered[-1][0] <= longest:
            gathered[-1] = (gathered[-1][0], end)
        else:
            gathered.append((start, end))
    return gathered


def _chop(text: str, offset: int, span: Span, longest: int) -> Iterator[Span]:
    """A sentence longer than a passage is cut between words."""
    start, end = offset + span[0], offset + span[1]
    while end - start > longest:
        space = text.rfind(" ", start, start + longest)
        cut = space if space > start else start + longest
        yield start, cut
        start = cut + 1 if cut == space else cut
    yield start, end


def _whole(text: str, start: int, end: int) -> Span:
    """Without a first sentence that goes on from the passage before, and a last one that leads to the next."""
    if re.match(r"[a-z]+[ ,]", text[start:end]):
        _, first = next(sentences(text[start:end]))
        start = end - len(text[start + first : end].lstrip())
    if text[start:end].endswith(":"):
        last, _ = list(sentences(text[start:end]))[-1]
        end = start + len(text[start : start + last].rstrip())
    return start, end


def _balanced(text: str) -> bool:
    """Whether no displayed formula is cut."""
    return text.count("$$") % 2 == 0 and text.count("\\begin{") == text.count("\\end{")


def _tie(text: str, units: Sequence[Span], longest: int) -> list[Span]:
    """What leads to a list or a formula, and what goes on from one, stays with it as far as a passage is long."""
    tied: list[Span] = []
    for start, end in units:
        leads = tied and (text[tied[-1][1] - 1] in ":," or text[start].islower() or text.startswith("$$", start))
        if leads and end - tied[-1][0] <= longest:
            tied[-1] = (tied[-1][0], end)
        else:
            tied.append((start, end))
    return tied


def _merge(units: Sequence[Span], limits: Documents) -> list[Span]:
    """Neighbours joined up to the longest passage; a short last one takes units from the one before it."""
    groups: list[list[Span]] = []
    for unit in units:
        if groups and unit[1] - groups[-1][0][0] <= limits.passage_max_chars:
            groups[-1].append(unit)
        else:
            groups.append([unit])
    if len(groups) > 1 and _length(groups[-1]) < limits.passage_min_chars and len(groups[-2]) > 1:
        groups[-1].insert(0, groups[-2].pop())
    return [(group[0][0], group[-1][1]) for group in groups if _length(group) <= limits.passage_max_chars]


def _length(group: Sequence[Span]) -> int:
    return group[-1][1] - group[0][0]
