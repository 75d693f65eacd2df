"""Marks that a build would have replaced: references and citations of d2lbook, Sphinx and QASPER, in words."""

from __future__ import annotations

import re

from jobs.documents import collapse

_ROLE = re.compile(
    r"(?:\b(?:Equation|Figure|Table|Section|Chapter)s? (?=:(?:num|eq)?ref:))?"
    r":(label|eqlabel|numref|ref|eqref|cite|citet|citep|begin_tab|end_tab|width)::?`([^`]*)`"
)
_TARGETS = {"fig": "the figure", "tab": "the table", "eq": "the equation", "sec": "the section", "chap": "the chapter"}
# In a sentence that cannot do without it a citation is named in words: after these, and where a verb follows it.
_VERBS = (
    r"(?:propos|introduc|present|show|suggest|argu|demonstrat|develop|use[ds]?\b|appl|report|stud|investigat|extend|train"
    r"|pre-train|found|find|aggregat|explor|describ|observ|analy[sz]|built|creat|employ|compar|exploit|combin)\w*"
)
_QASPER_SPOKEN = re.compile(
    r"(?P<lead>(?:^|[.!?]\s*)(?:(?:However|Recently|Finally|Similarly|Later|Moreover|Furthermore|Also"
    r"|(?:In|For|On) [^,.;:]{1,30}),\s)?|(?<!\d )\band\s|\b(?:[a-z]+ly(?=\s\S+\s[a-z(])"
    r"|also|that|while|since|because|where|whereas|(?i:by|in|of|from|to|with|than|on|like|as|follow|following|see|unlike|extend|per))\s"
    rf"|(?<!\d),\s(?=BIBREF\d+ {_VERBS} (?!by|in|to|for|on|with)))"
    r"BIBREF\d+(?:\s*(?:,|and)\s*BIBREF\d+)*(?=\s+[a-z(]|\s*[.,;])"
)
_SUBJECT = re.compile(rf"\s+{_VERBS} (?:that|a|an|the|how)\b")  # after a citation that is the sentence's subject
_QASPER_CITATION = re.compile(r"\s*[(\[]?(?:BIBREF\d+)(?:\s*[,;–-]?\s*(?:and\s+)?BIBREF\d+)*[)\]]?")
# "BIBREF1 wang2019persuasion collected": a key of the author's bibliography beside that of the data set, or alone.
_KEYS = re.compile(r"(BIBREF\d+)(?: [a-z-]{2,30}(?:19|20)\d\d[a-z]*\b)+")
_KEY = re.compile(r"\b(?!wmt|conll|iwslt|semeval|trec)[a-z]{3,30}(?:19|20)\d\d[a-z]{3,}\b")
_QASPER_FORMULA = re.compile(r"(?:INLINE_?FORM|DISPLAY_?FORM|EQREF)\d+-?")
_TEX_LEFT = re.compile(
    r"\[(?:topsep|leftmargin|itemsep|label|noitemsep|width|height)\b[^\]]{0,200}\]"
    r"|\bnbcite\w+(?:,\w+)*|\bpx(?=[A-Z])"
)
_LABEL = re.compile(r"\b(eq|fig|tab|tbl|se|sec|app|alg):[\w-]+")
_UTF8 = re.compile(r"utf8(\S{1,80}?)standard")
# Marks of d2lbook for slides: [**shown**], (**shown**), [~~not shown~~]. None in another: a search ends at the next.
_SLIDE = re.compile(r"[\[(](\*\*|~~)((?:(?![\[(]\1).)+?)\1[\])]", re.S)
_QASPER_TARGET = re.compile(
    r"(?P<name>\b(?i:Figures?|Figs?\.|Tables?|Sections?|Secs?\.|Appendix))?\s*"
    r"(?P<open>\(\s*)?(?P<kind>FIG|TAB|SEC)REF\d+(?(open)\s*\))"
)
_POINTER_ALONE = re.compile(r"\s*\((?:see |cf\. )?the (?:figure|reference|table|equation|section|chapter)s?\)")
_QASPER_NAMES = {"FIG": "the figure", "TAB": "the table", "SEC": "the section"}


def replace_marks(text: str) -> str:
    """Say a reference in words ("the figure"), a citation in a sentence by its authors; drop labels and the rest.

    White space is collapsed first: these patterns take quadratic time on long runs of it.
    """
    text = collapse(text)
    if ":" in text:
        text = _ROLE.sub(_in_words, text).replace(":end_tab:", "").replace(":begin_tab:", "")
    if "REF" in text or "FORM" in text:
        text = _KEY.sub("BIBREF0", _KEYS.sub(r"\1", text))
        text = _QASPER_SPOKEN.sub(_earlier_work, text)
        text = re.sub(r",(?:\s*,)+", ",", _QASPER_CITATION.sub("", text))
        text = _QASPER_FORMULA.sub("[formula]", text)
        text = _QASPER_TARGET.sub(_qasper_target, text)
        text = _LABEL.sub(lambda found: _TARGETS.get(found[1], "the reference"), text)
        text = _UTF8.sub(r"\1", _TEX_LEFT.sub("", text))
    text = _POINTER_ALONE.sub("", text)
    text = re.sub(r" ([,.;:!?)])(?= |$)", r"\1", text).replace("()", "")
    return re.sub(r",(?=\.(?: |$))", "", text)  # "CartPole and PixelCopter,."


def drop_slide_marks(text: str) -> str:
    """Markdown source without d2lbook's marks of what is shown on slides."""
    return _SLIDE.sub(r"\2", text)


def _earlier_work(found: re.Match[str]) -> str:
    lead = found["lead"]
    if lead.rstrip()[-1:] in tuple(".!?") or not lead:
        return f"{lead.rstrip()}{' ' * bool(lead)}Earlier work"
    return f"{lead}earlier work"


def _qasper_target(found: re.Match[str]) -> str:
    words, before = _QASPER_NAMES[found["kind"]], _before(found)
    lead = found[0][: len(found[0]) - len(found[0].lstrip())]
    if found["open"] and not found["name"]:
        return f"{lead}({words})"
    return lead + (words if before and before[-1] not in ".!?" else words.capitalize())


def _before(found: re.Match[str]) -> str:
    """The end of what stands before: the text itself would be copied for every match."""
    return found.string[max(0, found.start() - 5) : found.start()].rstrip()


def _in_words(found: re.Match[str]) -> str:
    role, target = found[1], found[2]
    if role in ("numref", "ref", "eqref"):
        prefix = "eq" if role == "eqref" else re.split(r"[_:-]", target)[0].lower()
        words, before = _TARGETS.get(prefix, "the reference"), _before(found)
        first = before[-1] in ".!?" if before else found.string != found[0]
        return words.capitalize() if first else words
    spoken = role == "citet" or (role == "cite" and _SUBJECT.match(found.string, found.end()))
    return _authors(target) if spoken else ""


def _authors(key: str) -> str:
    """`Vaswani.Shazeer.Parmar.ea.2017` → `Vaswani et al. (2017)`."""
    *names, year = key.split(",")[0].strip().split(".")
    if not names or not year.isdigit():
        return "other work"
    spaced = [re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name) for name in names]
    who = spaced[0] if len(spaced) == 1 else " and ".join(spaced) if len(spaced) == 2 else f"{spaced[0]} et al."
    return f"{who} ({year})"
