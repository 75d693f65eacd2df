"""Marks that a build would have replaced: references and citations of d2lbook, Sphinx and QASPER, in words."""

from __future__ import annotations

import re

_ROLE = re.compile(r":(label|eqlabel|numref|ref|eqref|cite|citet|citep|begin_tab|end_tab|width)::?`([^`]*)`")
_TARGETS = {"fig": "the figure", "tab": "the table", "eq": "the equation", "sec": "the section", "chap": "the chapter"}
_QASPER_CITATION = re.compile(r"\s*[(\[]?(?:BIBREF\d+)(?:\s*[,;–-]?\s*(?:and\s+)?BIBREF\d+)*[)\]]?")
_QASPER_FORMULA = re.compile(r"(?:INLINEFORM|DISPLAYFORM|EQREF)\d+")
_QASPER_TARGET = re.compile(r"\b(Figures?|Figs?\.|Tables?|Sections?|Secs?\.|Appendix)?\s*\(?(FIG|TAB|SEC)REF\d+\)?")
_QASPER_NAMES = {"FIG": "the figure", "TAB": "the table", "SEC": "the section"}


def replace_marks(text: str) -> str:
    """Say a reference in words ("the figure"), a citation in a sentence by its authors; drop labels and the rest."""
    if ":" in text:
        text = _ROLE.sub(_in_words, text).replace(":end_tab:", "").replace(":begin_tab:", "")
    if "REF" in text or "FORM" in text:
        text = _QASPER_CITATION.sub("", text)
        text = _QASPER_FORMULA.sub("[formula]", text)
        text = _QASPER_TARGET.sub(_qasper_target, text)
    return re.sub(r"[ \t]+([,.;:!?)](?:\s|$))", r"\1", text).replace("()", "")


def _qasper_target(found: re.Match[str]) -> str:
    words, before = _QASPER_NAMES[found[2]], found.string[: found.start()].rstrip()
    lead = found[0][: len(found[0]) - len(found[0].lstrip())]
    return lead + (words if before and before[-1] not in ".!?" else words.capitalize())


def _in_words(found: re.Match[str]) -> str:
    role, target = found[1], found[2]
    if role in ("numref", "ref", "eqref"):
        prefix = "eq" if role == "eqref" else re.split(r"[_:-]", target)[0].lower()
        return _TARGETS.get(prefix, "the reference")
    return _authors(target) if role == "citet" else ""


def _authors(key: str) -> str:
    """`Vaswani.Shazeer.Parmar.ea.2017` → `Vaswani et al. (2017)`."""
    *names, year = key.split(",")[0].strip().split(".")
    if not names or not year.isdigit():
        return "other work"
    spaced = [re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name) for name in names]
    who = spaced[0] if len(spaced) == 1 else " and ".join(spaced) if len(spaced) == 2 else f"{spaced[0]} et al."
    return f"{who} ({year})"
