"""Full texts of papers as QASPER has them: paragraphs run together, and headings stand at the end of a paragraph."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jobs.documents import Block, is_back_matter

# "... of the model.We then" and "as follows:Normalization: each" are two paragraphs; "torch.Tensor" is none.
_RUN_TOGETHER = re.compile(
    r"(?:(?<=[a-z0-9)\]%$”\"][.?!:])|(?<=[A-Z][A-Z][.?!:])|(?<=[\w)] [.?!:]))"
    r"(?=[A-Z][a-z]*[ ,:]|[A-Z][a-z]{3,}[.] |[A-Z]+\d: )"
)
_LOST_FORMULA = re.compile(r"[a-z:,.]where \$")  # "is defined aswhere $x$": what was defined is not in the text
_HEADING = re.compile(r"(?:^|(?<=[.!?:)\]”\"]))(?P<name>[A-Z][^.!?]{2,120}\??)$")
_MARKS = re.compile(r"BIBREF\d|(INLINE|DISPLAY)_?FORM\d| ::: ")


def is_qasper(text: str) -> bool:
    """Whether a text has the marks of that data set."""
    return bool(_MARKS.search(text))


def part(blocks: Sequence[Block]) -> list[Block]:
    """Paragraphs apart again, under the headings that were run into them; without references and thanks."""
    parted: list[Block] = []
    section = above = ""
    for number, block in enumerate(blocks):
        section = block.section if block.section != above else section
        above = block.section
        text, heading = _without_heading(block.text) if number + 1 < len(blocks) else (block.text, "")
        if not is_back_matter(section):
            parted += [Block(section, piece) for piece in _pieces(text)]
        section = heading or section
    return parted


def _pieces(text: str) -> list[str]:
    pieces = (re.sub(r" +([,.;])(?=\s|$)", r"\1", piece.strip()) for piece in _RUN_TOGETHER.split(text))
    return [piece for piece in pieces if piece and not _LOST_FORMULA.search(piece)]


def _without_heading(text: str) -> tuple[str, str]:
    """A paragraph and the heading at its end, by its last part: "Experiments ::: Data" is Data."""
    found = _HEADING.search(text)
    name = found["name"] if found else ""
    if not found or (" ::: " not in name and (len(name.split()) > 8 or name.endswith("?"))):
        return text, ""
    return text[: found.start()].rstrip(), name.split(" ::: ")[-1].strip(" :")
