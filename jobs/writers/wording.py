"""How a fact is asked and answered: a few wordings a relation, picked by hash, so that no form is the only one."""

from __future__ import annotations

import re

from jobs.data_config import Kind
from jobs.lots import number

QUESTIONS: dict[str, tuple[str, ...]] = {
    "introduced_by": (
        "Who introduced {s}?",
        "By whom was {s} introduced?",
        "{s} was introduced by whom?",
        "Who first presented {s}?",
    ),
    "year": (
        "In which year was {s} introduced?",
        "When was {s} introduced?",
        "In what year did {s} first appear?",
        "Which year saw the introduction of {s}?",
    ),
    "kind": ("What is {s}?", "What kind of thing is {s}?", "Which description fits {s}?", "How can {s} be described?"),
    "idea": (
        "What is the key idea of {s}?",
        "What does {s} propose to do?",
        "What is the central idea behind {s}?",
        "Which idea lies at the heart of {s}?",
    ),
    "measured_on": (
        "On what was {s} evaluated?",
        "What was {s} measured on?",
        "What was used to evaluate {s}?",
        "Which evaluation is stated for {s}?",
    ),
    "result": (
        "What result did {s} report?",
        "Which result did {s} reach?",
        "What was reported as a result of {s}?",
        "Which figure or finding was reported for {s}?",
    ),
    "limitation": (
        "What does {s} not do?",
        "What is a stated limit of {s}: what does it not do?",
        "What is {s} said not to do?",
        "What is stated as something that {s} does not do?",
    ),
    "component": (
        "On what does {s} rely?",
        "What does {s} rely on?",
        "Which mechanism or part does {s} rest on?",
        "What is {s} built around?",
    ),
    "acronym": ("What does {s} stand for?", "What is {s} short for?", "Which words does {s} abbreviate?"),
}
DATA_QUESTIONS: dict[str, tuple[str, ...]] = {
    "trained": ("On what was {s} trained?", "What was {s} trained on?", "Which data was {s} trained on?"),
    "built": ("From what was {s} built?", "What was {s} built from?", "Which material was {s} built from?"),
    "demonstrated": ("On what was {s} demonstrated?", "What was {s} demonstrated on?", "Where was {s} shown to work?"),
}
_PROPOSED = ("Who {verb} {s}?", "By whom was {s} {verb}?")
_KIND_OF: dict[str, Kind] = {  # of a question, by its fact's relation; what was reported is told apart by the value
    "introduced_by": "fact",
    "kind": "fact",
    "acronym": "fact",
    "year": "number",
    "idea": "method",
    "component": "method",
    "data": "method",
    "measured_on": "method",
    "limitation": "limitation",
}
_COMPARES = re.compile(
    r"\b(than|versus|vs|outperform\w*|exceed\w*|surpass\w*|(twice|half) (as|the)|compared (to|with))\b", re.I
)
_FIGURE = re.compile(r"((an?|the|about|around|over|under|up to|nearly|almost|at least) )*[\$~±+-]?\d")


def kind_of(relation: str, value: str) -> Kind:
    """Which kind of question asks for a fact. A result compares, is a figure, or is a finding in words."""
    if relation != "result":
        return _KIND_OF[relation]
    if _COMPARES.search(value):
        return "comparison"
    return "number" if _FIGURE.match(value) else "fact"


def question_text(relation: str, subject: str, verb: str, seed: int, *, choices: bool) -> str:
    """The question of a fact. Its wording is drawn by hash of the seed, the subject and the form."""
    forms = DATA_QUESTIONS[verb] if relation == "data" else QUESTIONS[relation]
    if relation == "introduced_by" and verb != "introduced":
        forms = _PROPOSED
    named = re.sub(r"^(The|An?) ", lambda article: article[0].lower(), subject)
    form = forms[number(seed, "wording", relation, subject, choices) % len(forms)]
    text = form.format(s=named, verb=verb)
    return capitalised(text) if form.startswith("{s}") else text


def capitalised(text: str) -> str:
    """First letter large, unless the first word is spelled in a way of its own (`word2vec`, `k-means`, `fastText`)."""
    first = text.split(maxsplit=1)[0] if text.strip() else ""
    if re.fullmatch(r"[a-z]{2,}(-[a-z0-9]+)*[,'a-z]*|a", first):
        return text[0].upper() + text[1:]
    return text


def normalised(text: str) -> str:
    """For comparing answers: lower case, letters and digits only, no articles."""
    words = re.findall(r"[^\W_]+", text.casefold())
    return " ".join(word for word in words if word not in ("a", "an", "the"))


def alike(one: str, other: str) -> bool:
    """Whether two answers could mean the same: one holds the other, or most of their words are shared."""
    first, second = set(normalised(one).split()), set(normalised(other).split())
    if not first or not second:
        return True
    shared = len(first & second)
    return shared == min(len(first), len(second)) or shared / len(first | second) > 0.6
