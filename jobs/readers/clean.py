"""What readers of every format leave: blocks that are no prose, and sentences that lead to what was left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise

from jobs.documents import Block
from jobs.sentences import sentences

TAIL = 60  # characters at the end of a text that tell how it ends
LONGEST = 400  # characters of a heading or sentence that are looked at
LABEL_WORDS = 12  # a paragraph of fewer words that no full stop ends is a label, a caption or a link
# Exercises ask and tell nothing; lists of links are read elsewhere.
_SECTIONS = re.compile(
    r"^(\d+\.?\s*)?(.*\bexercises?|problem set.*|discussions?|further readings?|additional (readings?|resources)"
    r"|see also|resources|(other|external|useful) (links|resources)|links|.*\bquiz|q\d+\b.*|what'?s next|next steps"
    r"|sponsors?|contributors?|author contributions|licen[sc]e|how to (cite|contribute)|citing.*|feedback|changelog"
    r"|support us"
    # what to set up and press, in courses that are notebooks
    r"|set the gpu|create a virtual display|install (the )?dependencies|import the packages|objectives of this notebook"
    r"|some (advice|additional challenges)|do not modify.*)\W{0,20}$",
    re.I,
)
_BOILERPLATE = re.compile(
    r"^(congrat|see you (in|there|at|next|soon)|keep learning|stay awesome|edit this|sign up|subscribe|open in colab"
    r"|click (here|on the (link|button))|try it (out|yourself)|(now )?your turn|in \[\d*\]:|out\[\d+\]:|see also"
    r"|(you can )?(read|find|learn) more|all rights reserved|copyright (©|\(c\)|\d)|cookies? (policy|settings)"
    r"|skip to (main )?content|share (this|on)|follow us|join (us|our)|back to top|last updated|table of contents"
    r"|if you (like|liked|enjoy|enjoyed|find|found) (the|this|our) (course|book|guide|post|article)"
    r"|if you want to (improve|contribute)|don'?t hesitate to|feel free to (open|submit|contact|reach)"
    r"|check out our|we.{1,40} love to hear|note.to.self"
    r"|you.re (now )?all set|if you.ve made it this far|in this free course|the full doc|don.t forget to"
    r"|more info\b|(to learn|for) more (information|info|details),? (about|on|see|check|refer|visit|(have|take) a look)"
    r"|take time to (really )?grasp|to (validate|start) this hands-on|to start the hands-on|to find your result"
    r"|if you don.t (see|find) your model|and you can check your progress|the best way to learn is to (try|practice)"
    r"|in the next (\(bonus\) )?(unit|chapter|lesson)|this tutorial was written by|thanks to .{1,80} for their review"
    r"|.*\b(use code [A-Z0-9]{4,}|\d+% off|based on our (new )?course|please (open|submit|file) an? (issue|pr|pull)"
    r"|enroll (now|today)|discord (server|channel)|newsletter|sign up to|leave a (comment|star)|hit the like"
    r"|send you an email|live (stream|session)s?|certification process)\b)",
    re.I,
)
# A section that begins with it takes leave of its reader: all of it is about the course.
_FAREWELL = re.compile(r"congrat|thank(s| you) for (being|taking|reading|following)|that.s all for|well done", re.I)
# Steps of an exercise: they say what to do with code that is left out.
_STEP = re.compile(
    r"- (now,? (that )?(you|we)|(but )?(first|next|then|finally),? (of all,? )?you|we.re (now )?ready|you should"
    r"|don.t use|go to|click|add (new|dependencies))\b", re.I
)  # fmt: skip
_LISTED = re.compile(r"^(- |\$\$|\\begin|\\\[|[^\n|]+ \| )")
_ENDED = re.compile(r"([.!?:;…][\"'”’)\]*`]*|[$`}])\W*$")
_FORMULA_OR_LIST = re.compile(r"^(- |\$\$|\\begin|\\\[)")
_CLOSED = re.compile(r"[.!?;…\"'”’)\]$`*}][^\w:]*$")
_LOST = re.compile(r"\[formula\]|_{4,}")  # a formula that the source lacks, a blank to be filled in
_REFERENCE = re.compile(r"\((19|20)\d\d\)|\bet al\b|\[pdf\]", re.I)


def clean_blocks(blocks: Sequence[Block]) -> list[Block]:
    """Blocks without boilerplate, labels, exercises, sentences cut off from code, and lost formulas."""
    kept = [
        Block(block.section, text)
        for block in _without_farewells(blocks)
        if not _SECTIONS.match(_bare(block.section)) and not _LOST.search(block.text)
        if (text := _without_boilerplate(block.text))
    ]
    kept = [block for block, after in pairwise([*kept, Block("", "")]) if not _is_label(block.text, after.text)]
    return _without_tails(_without_lead_ins(kept))


def _without_farewells(blocks: Sequence[Block]) -> Iterator[Block]:
    for _, members in groupby(blocks, key=lambda block: block.section):
        section = list(members)
        if not _FAREWELL.match(_bare(section[0].text)):
            yield from section


def _is_label(text: str, after: str) -> bool:
    """Whether it is a line of code, a caption of d2lbook's, or short and not ended where no formula ends it."""
    if re.fullmatch(r"`[^`]*`\W*", text) or re.match(r":[A-Z]", text):
        return True
    ended = _LISTED.match(text) or _ENDED.search(text[-TAIL:]) or _FORMULA_OR_LIST.match(after)
    return not ended and len(text.split()) < LABEL_WORDS


def _without_boilerplate(text: str) -> str:
    """Sentences that speak to a page's visitor are left out, and lists of references or of what led to code."""
    if text.startswith("- "):
        items = text.split("\n")
        cut_off = sum(item.endswith(":") for item in items)
        references = sum(bool(_REFERENCE.search(item)) for item in items)
        steps = sum(bool(_STEP.match(item)) for item in items)
        return "" if 2 * max(cut_off, steps) >= len(items) or 2 * references > len(items) else text
    if _LISTED.match(text):
        return text
    spans = list(sentences(text))
    kept = [text[start:end] for start, end in spans if not _BOILERPLATE.match(_bare(text[start:end]))]
    return text if len(kept) == len(spans) else " ".join(kept)


def _bare(text: str) -> str:
    """Its first characters, from the first letter on: patterns that look for them anywhere take quadratic time."""
    start = next((place for place, letter in enumerate(text[:LONGEST]) if letter.isalnum()), LONGEST)
    return text[start:LONGEST]


def _is_open(text: str, listed: bool) -> bool:
    bare = text.rstrip("* ")
    return bare.endswith((":", "...", "…")) or (not listed and not _CLOSED.search(text[-TAIL:]))


def _without_lead_ins(blocks: Sequence[Block]) -> list[Block]:
    """A last sentence that nothing ends, or a colon, is left out where no list or formula of its section follows."""
    kept: list[Block] = []
    for block in reversed(blocks):
        text = block.text.rstrip()
        follows = kept and kept[-1].section == block.section and _LISTED.match(kept[-1].text)
        if not follows:
            text = text[: _closed_end(text)]
        if text:
            kept.append(Block(block.section, text))
    return kept[::-1]


def _closed_end(text: str) -> int:
    """Where the last sentence ends that is closed; the sentences are found once, not for each that is taken off."""
    end, listed = len(text), text.startswith("- ")
    if not _is_open(text[-TAIL:], listed):
        return end
    ends = [0, *(end for _, end in sentences(text))][:-1]
    while ends and _is_open(text[max(0, ends[-1] - TAIL) : ends[-1]], listed) and ends[-1]:
        ends.pop()
    return ends[-1] if ends else 0


def _without_tails(blocks: Sequence[Block]) -> list[Block]:
    """A first sentence that begins in lower case goes on from code or a figure, unless a formula or list is above."""
    kept: list[Block] = []
    for block in blocks:
        text = block.text
        follows = kept and kept[-1].section == block.section and _FORMULA_OR_LIST.match(kept[-1].text)
        if re.match(r"[a-z]+[ ,]", text) and not follows:
            _, end = next(sentences(text))
            text = text[end:].lstrip()
        if text:
            kept.append(Block(block.section, text))
    return kept
