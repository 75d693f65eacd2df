"""A question stands alone: it points at nothing that its reader cannot see, and it names a subject."""

from __future__ import annotations

import re

from jobs.documents import collapse
from jobs.question_filters.refused import RefusedError
from qa.records import Passage, Question

_MATERIAL = (
    "paper|passage|text|article|study|section|chapter|document|excerpt|context|figure|table|post|tutorial|lecture|"
    "course|unit|lesson|notebook|appendix|survey|report|example|thesis"
)
_THING = (
    "methods?|models?|approach(?:es)?|algorithms?|systems?|techniques?|frameworks?|architectures?|networks?|results?|"
    "experiments?|tasks?|data ?sets?|strategy|strategies|procedure|technology|tool|library|works?|findings?"
)
_ASKS = r"(?:what|who|whom|how|why|when|where|which)"
_IS = r"(?:is|are|was|were|does|do|did|has|have|had|can|could|will|would|should|might)"
# In "why is it hard to train GANs?" and "how long does it take to train BERT?" the pronoun stands for what follows.
_EXPLETIVE = (
    r"(?! (?:take|that)\b| (?:not )?(?:so |more |less )?(?:hard|difficult|easy|easier|better|worse|common|worth|"
    r"good|bad|[a-z]+(?:ful|able|ible|ant|ial|ary|ous)) (?:to|for|that|when|if)\b)"
)
_DOES = r"(?:\w+ed|uses?|rely|relies|do|learns?|reach|reports?|based|trained|built|called)"
_POINTERS = {
    "the text itself": (
        rf"\b(?:this|these|that|their|its|our|said|above|given|following|current|present) (?:\w+ )?(?:{_MATERIAL})s?\b",
        r"\b(?:in|of|by|to|does|do|did) the (?:\w+ )?(?:paper|passage|article|study|excerpt)\b(?! of \w)",
        r"\b(?:in|according to|does|did) the (?:text|context|section|chapter)\b",
    ),
    "its authors": (r"\bthe (?:\w+ )?(?:authors?|researchers|writers?|experimenters)\b", r"\bauthors\b"),
    "a numbered part": (
        r"\b(?:figures?|figs?\.?|tables?|sections?|sec\.|equations?|eqs?\.|chapters?|appendix|listing|theorem|lemma|page|"
        r"footnote|algorithm|step) ?\(?\d",
        r"\bappendix [A-Z]\b",
    ),
    "a reference by number": (r"\[\d+(?:\s*[,–-]\s*\d+)*\]",),
    "its place in a text": (
        r"\bthe above\b|\b(?:above|below)(?=\W*$|[,.;:?])",
        r"\b(?:listed|shown|described|given|defined|mentioned|discussed|presented|seen) (?:above|below)\b",
        r"\b(?:aforementioned|the (?:latter|former|following))\b",
        r"\bpreviously (?:mentioned|described)\b|\bmentioned (?:here|earlier|before)\b|\bhere\b",
    ),
    "whoever speaks": (r"\b(?:we|our|ours|(?-i:us)|you|your|my|me)\b(?!-)",),
    "what it does not name": (
        rf"^\W*(?:\w+ )?{_ASKS} (?:\w+ )?{_IS} (?:it|this|that|they|these|those|he|she)\b{_EXPLETIVE}",
        rf"\b(?:this|these|those) (?:\w+ )?(?:{_THING})\b",
        r"\b(?:the|its|their) (?:proposed|presented|suggested|resulting|new|novel|same|described|introduced|considered|"
        rf"mentioned) (?:{_THING})\b",
        rf"^\W*(?:\w+ )?{_ASKS} (?:[\w-]+ )?{_IS} the (?:{_THING})(?= {_DOES}\b|\?)",
    ),
}
_OPTIONS = re.compile(r"\bof (?:the following|these)\b", re.I)
POINTERS = {what: re.compile("|".join(patterns), re.I) for what, patterns in _POINTERS.items()}
_EMPTY = set(
    "a an the and or of in on at by for from with without to into as than that this these those it its they their what "
    "which who whom whose when where why how is are was were be been being do does did done has have had can could may "
    "might must shall should will would not no nor only also most more less many much some any each every all both "
    "other another such same one two first second third last next new novel main key central major important general "
    "common typical possible different several various certain specific particular overall called named known used "
    "use uses using make makes made get gets give gives given show shows shown say says said state states stated "
    "describe described propose proposes proposed present presented introduce introduced report reported evaluate "
    "evaluated measure measured train trained build built rely relies compare compared achieve achieved result results "
    "model models method methods approach approaches system systems algorithm algorithms technique techniques "
    "framework architecture network task tasks problem problems idea goal aim purpose reason way ways type types kind "
    "kinds thing things part parts step steps example examples term word words name names number value values figure "
    "finding year time work paper question answer advantage disadvantage benefit limitation limitations limit limits "
    "difference component components feature features property properties experiment experiments data dataset set "
    "training evaluation performance accuracy there here if so about between during after before over under up "
    "out".split()
)


def check_alone(question: Question, passage: Passage) -> Question:
    """The question as it is. Raises `RefusedError` naming the words that point outside of it."""
    text = collapse(question.question)
    if question.choices:
        text = _OPTIONS.sub("of", text)  # what follows is shown
    for what, pattern in POINTERS.items():
        if found := pattern.search(text):
            raise RefusedError(f"question does not stand alone: {found[0].strip()!r} points at {what}")
    if not any(word not in _EMPTY for word in re.findall(r"[^\W_]+", text.casefold())):
        raise RefusedError("question does not stand alone: it names no subject")
    return question
