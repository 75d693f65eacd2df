"""Questions about a document rather than its matter: authors, addresses, venues, dates, links, page counts, funding.

Who introduced a method, and in which year, is knowledge of the field and passes; so does the licence of a model.
"""

from __future__ import annotations

import re

from jobs.documents import collapse
from jobs.question_filters.refused import RefusedError
from qa.records import Passage, Question

_PAPER = (
    r"(?:paper|article|study|survey|report|preprint|manuscript|publication|blog|blog ?post|post|tutorial|document|"
    r"thesis|book|course|chapter|lecture)"
)
_PARTS = r"(?:pages|sections|chapters|tables|figures|references|citations|appendices|authors|lessons|units|footnotes)"
_TRIVIA = {
    "authors": (
        r"\bwho (?:\w+ )?(?:wrote|authored|edited|published)\b",
        r"\b(?:written|authored|edited) by (?:whom|who)\b",
        r"\bby whom (?:was|were) .*\b(?:written|authored|published|edited)\b",
        r"\bfirst author\b",
        r"\b(?:co-?)?authors? of\b",
        r"\bwho (?:is|are|was|were) the (?:\w+ )?(?:co-?)?authors?\b",
    ),
    "affiliations": (
        r"\baffiliat",
        r"\bwhich (?:universit\w+|institut\w+|lab\w*|company) .*\b(?:from|at|belong|work|employ)",
    ),
    "addresses": (
        r"\be-?mails? (?:address|of)\b|\bwhat is .*\be-?mail\b",
        r"\bcorrespond(?:ing|ence) (?:author|address|to)\b",
        r"\bcontact (?:address|details?)\b",
    ),
    "the title": (
        rf"\btitles? of (?:the|this|that|which|a) (?:\w+ )?{_PAPER}",
        rf"\b{_PAPER}'s title\b",
        rf"\bwhat is the {_PAPER} (?:called|titled|named)\b",
        r"\btitle of the\b.*\b(?:section|chapter)\b",
    ),
    "the venue": (
        r"\b(?:conference|journal|venue|proceedings|workshop|publisher)\b.*\b(?:publish|present|appear|accept|submit)",
        r"\bwhere (?:was|were|is) .*\bpublished\b",
        r"\bpublished (?:in|at|by) (?:which|what|whom)\b",
    ),
    "its date": (
        rf"\b(?:when|what (?:year|date)|which (?:year|month))\b.*\b{_PAPER}s?\b.*"
        r"\b(?:publish|releas|submit|writ|appear|post|updat|revis)",
        r"\b(?:publication|submission|posting) date\b",
        r"\bdate of (?:publication|submission)\b",
        r"\b(?:when|in (?:which|what) year) was .*\b(?:submitted|posted|uploaded|last updated)\b",
    ),
    "an identifier": (
        r"\bdoi\b|\bisbn\b|\bissn\b",
        r"\barxiv (?:number|id|identifier|paper|link|version|preprint)\b",
        r"\b(?:urls?|hyperlink|web ?address|web ?link)\b",
        r"\b(?:link|address) (?:to|of|for) the\b",
        r"\b(?:github|gitlab) (?:repository|repo|link|page|address|url)\b",
    ),
    "counts of its parts": (
        rf"\bhow many (?:\w+ )?{_PARTS} (?:does|do|did|is|are|was|were|has|have) .*\b{_PAPER}\b",
        rf"\bhow many (?:\w+ )?{_PARTS} (?:in|of) (?:the|this) (?:\w+ )?{_PAPER}\b",
        r"\bhow many (?:pages|authors)\b",
        rf"\bnumber of {_PARTS} (?:in|of) (?:the|this) (?:\w+ )?{_PAPER}\b",
    ),
    "funding": (
        r"\bfund(?:ed|ing|s)\b|\bgrants? (?:number|from|of)\b",
        r"\bfinancial(?:ly)? support|\bsponsor",
        r"\bsupported by (?:which|what|whom)\b.*\b(?:grant|agency|foundation|institution)",
    ),
    "thanks": (r"\backnowledge?ments?\b|\b(?:is|are|was|were) thanked\b|\bthanks (?:to|for)\b",),
    "its licence": (
        rf"\blicen[cs]e[ds]?\b.*\b{_PAPER}\b|\b{_PAPER}\b.*\blicen[cs]e[ds]?\b",
        r"\bcopyright (?:holder|owner|notice|of)\b",
    ),
}
TRIVIA = {what: re.compile("|".join(patterns), re.I) for what, patterns in _TRIVIA.items()}


def check_trivia(question: Question, passage: Passage) -> Question:
    """The question as it is. Raises `RefusedError` where it asks for metadata of a document."""
    text = collapse(question.question)
    for what, pattern in TRIVIA.items():
        if pattern.search(text):
            raise RefusedError(f"asks about a document, not its matter: {what}")
    return question
