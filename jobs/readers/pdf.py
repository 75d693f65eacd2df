"""PDF (pypdfium2): lines by their place and font, joined to paragraphs; larger or bold lines are headings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from jobs.documents import Block, Extract, UnreadableError, collapse, is_back_matter

MOST_PAGES = 2000
_LINE_HYPHENS = "\x02\ufffe\u00ad"  # what pdfium leaves of a hyphen at a line's end
_BREAKS = re.compile(r"(\w)-$")


@dataclass(frozen=True)
class Line:
    """One line of a page, with its height above the page's lower edge in points."""

    text: str
    page: int
    bottom: float
    size: float
    bold: bool


def read(data: bytes) -> Extract:
    """Read a PDF. Raises `UnreadableError` where it is broken, encrypted or has no text in it."""
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        reason = "encrypted: needs a password" if "password" in str(error).lower() else "broken, or not a PDF"
        raise UnreadableError(f"{reason} ({collapse(str(error))})") from error
    try:
        pages = len(document)
        if pages > MOST_PAGES:
            raise UnreadableError(f"more than {MOST_PAGES:,} pages ({pages:,})")
        lines = _without_running_heads([line for number in range(pages) for line in _lines(document, number)])
        title = document.get_metadata_value("Title")
    except pdfium.PdfiumError as error:
        raise UnreadableError(f"broken PDF ({collapse(str(error))})") from error
    finally:
        document.close()
    if not lines:
        raise UnreadableError(f"no text in it (scanned images?) on {pages} page{'s' * (pages != 1)}")
    return _assemble(lines, collapse(title))


def _lines(document: Any, number: int) -> Iterator[Line]:
    page = document[number]
    text = page.get_textpage()
    position = 0
    for raw in re.split(r"(?<=\n)", text.get_text_range(errors="replace")):
        start = position + len(raw) - len(raw.lstrip())
        position += len(raw)
        if raw.strip():
            first = min(start, text.count_chars() - 1)
            bottom = text.get_charbox(first, loose=True)[1]
            size, weight = pdfium_c.FPDFText_GetFontSize(text, first), pdfium_c.FPDFText_GetFontWeight(text, first)
            yield Line(raw.strip("\r\n "), number, bottom, size, weight >= 600)


def _without_running_heads(lines: list[Line]) -> list[Line]:
    """Without page numbers, and without lines that most of three or more pages repeat."""
    pages = len({line.page for line in lines})
    shape = {line: re.sub(r"\d+", "#", line.text) for line in lines}
    seen = Counter((shape[line], round(line.bottom)) for line in lines)
    repeated = {key for key, count in seen.items() if pages >= 3 and count > pages / 2}
    return [line for line in lines if shape[line] != "#" and (shape[line], round(line.bottom)) not in repeated]


def _assemble(lines: list[Line], title: str) -> Extract:
    body = Counter()
    for line in lines:
        body[round(line.size, 1)] += len(line.text)
    size = body.most_common(1)[0][0]
    gaps = [above.bottom - below.bottom for above, below in pairwise(lines) if _below(above, below)]
    pitch = median(gaps) if gaps else size * 1.2
    extract, section = Extract(), ""
    for group in _paragraphs(lines, pitch):
        text = _join(group)
        if _is_heading(group, text, size):
            if not extract.title and not extract.blocks:
                extract.title = text
            else:
                section = text
        elif not is_back_matter(section):
            extract.blocks.append(Block(section, text))
    extract.title = extract.title or title
    return extract


def _below(above: Line, below: Line) -> bool:
    return above.page == below.page and above.bottom > below.bottom and round(above.size) == round(below.size)


def _paragraphs(lines: list[Line], pitch: float) -> list[list[Line]]:
    """Runs of lines of one font at one pitch. A paragraph that a page or column cuts mid-sentence goes on after it."""
    groups: list[list[Line]] = []
    for line in lines:
        if groups and _goes_on(groups[-1][-1], line, pitch):
            groups[-1].append(line)
        else:
            groups.append([line])
    return groups


def _goes_on(above: Line, line: Line, pitch: float) -> bool:
    if abs(above.size - line.size) >= 0.5 or above.bold != line.bold:
        return False
    if _below(above, line):
        return above.bottom - line.bottom < 1.35 * pitch
    return not re.search(r"[.!?:]['\")]?$", above.text)


def _join(group: list[Line]) -> str:
    text = ""
    for line in group:
        if text[-1:] in tuple(_LINE_HYPHENS) or (_BREAKS.search(text[-2:]) and line.text[:1].islower()):
            text = text[:-1] + line.text
        else:
            text = f"{text} {line.text}"
    return collapse(re.sub(f"[{_LINE_HYPHENS}]", "", text))


def _is_heading(group: list[Line], text: str, size: float) -> bool:
    larger = group[0].size > 1.1 * size
    bold = group[0].bold and len(group) <= 2
    return (larger or bold) and len(text) < 150 and not text.endswith((".", ","))
