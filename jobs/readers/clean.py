"""What readers of every format leave: blocks that are no prose, and sentences that lead to what was left out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jobs.documents import Block
from jobs.sentences import sentences

LABEL_WORDS = 12  # a paragraph of fewer words that no full stop ends is a label, a caption or a link
# Exercises ask and tell nothing; lists of links are read elsewhere.
_SECTIONS = re.compile(
    r"^\W*(\d+\.?\s*)?(.*\bexercises?|problem set.*|discussions?|further readings?|additional (readings?|resources)"
    r"|see also|resources|(other|external|useful) (links|resources)|links|.*\bquiz|q\d+\b.*|what'?s next|next steps"
    r"|sponsors?|contributors?|author contributions|licen[sc]e|how to (cite|contribute)|citing.*|feedback|changelog"
    r"|support us)\W*$",
    re.I,
)
_BOILERPLATE = re.compile(
    r"^\W*(congrat|see you (in|there|at|next|soon)|keep learning|stay awesome|edit this|sign up|subscribe|open in colab"
    r"|click (here|on the (link|button))|try it (out|yourself)|(now )?your turn|in \[\d*\]:|out\[\d+\]:|see also"
    r"|(you can )?(read|find|learn) more|all rights reserved|copyright (©|\(c\)|\d)|cookies? (policy|settings)"
    r"|skip to (main )?content|share (this|on)|follow us|join (us|our)|back to top|last updated|table of contents"
    r"|if you (like|liked|enjoy|enjoyed|find|found) (the|this|our) (course|book|guide|post|article)"
    r"|if you want to (improve|contribute)|don'?t hesitate to|feel free to (open|submit|contact|reach)"
    r"|check out our|we.{1,40} love to hear|note.to.self"
    r"|you.re (now )?all set|if you.ve made it this far|in this free course|the full doc|don.t forget to"
    r"|.*\b(use code [A-Z0-9]{4,}|\d+% off|based on our (new )?course|please (open|submit|file) an? (issue|pr|pull)"
    r"|enroll (now|today)|discord (server|channel)|newsletter|sign up to|leave a (comment|star)|hit the like"
    r"|send you an email|live (stream|session)s?|certification process)\b)",
    re.I,
)
_LISTED = re.compile(r"^(- |\$\$|\\begin|\\\[|[^\n|]+ \| )")
_ENDED = re.compile(r"([.!?:;…][\"'”’)\]*`]*|[$`}])\W*$")
_FORMULA_OR_LIST = re.compile(r"^(- |\$\$|\\begin|\\\[)")
_CLOSED = re.compile(r"[.!?;…\"'”’)\]$`*}][^\w:]*$")
_LOST = re.compile(r"\[formula\]|_{4,}")  # a formula that the source lacks, a blank to be filled in
_REFERENCE = re.compile(r"\((19|20)\d\d\)|\bet al\b|\[pdf\]", re.I)


def clean(blocks: Sequence[Block]) -> list[Block]:
    """Blocks without boilerplate, labels, exercises, sentences cut off from code, and lost formulas."""
    kept = [
        Block(block.section, text)
        for block in blocks
        if not _SECTIONS.match(block.section) and not _LOST.search(block.text)
        if (text := _without_boilerplate(block.text)) and not _is_label(text)
    ]
    return _without_tails(_without_lead_ins(kept))


def _is_label(text: str) -> bool:
    if re.fullmatch(r"`[^`]*`\W*", text):  # a line of code
        return True
    return not _LISTED.match(text) and not _ENDED.search(text) and len(text.split()) < LABEL_WORDS


def _without_boilerplate(text: str) -> str:
    """Sentences that speak to a page's visitor are left out, and lists of references or of what led to code."""
    if text.startswith("- "):
        items = text.split("\n")
        cut_off = sum(item.endswith(":") for item in items)
        references = sum(bool(_REFERENCE.search(item)) for item in items)
        return "" if 2 * cut_off >= len(items) or 2 * references > len(items) else text
    if _LISTED.match(text):
        return text
    spans = list(sentences(text))
    if not any(_BOILERPLATE.match(text[start:end]) for start, end in spans):
        return text
    return " ".join(text[start:end] for start, end in spans if not _BOILERPLATE.match(text[start:end]))


def _is_open(text: str, listed: bool) -> bool:
    bare = text.rstrip("* ")
    return bare.endswith((":", "...", "…")) or (not listed and not _CLOSED.search(text))


def _without_lead_ins(blocks: Sequence[Block]) -> list[Block]:
    """A last sentence that nothing ends, or a colon, is left out where no list or formula of its section follows."""
    kept: list[Block] = []
    for block in reversed(blocks):
        text = block.text
        follows = kept and kept[-1].section == block.section and _LISTED.match(kept[-1].text)
        listed = text.startswith("- ")
        while text and not follows and _is_open(text, listed):
            start, _ = list(sentences(text))[-1]
            text = text[:start].rstrip()
        if text:
            kept.append(Block(block.section, text))
    return kept[::-1]


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
