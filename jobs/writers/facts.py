"""Facts that a sentence states in a plain wording: who introduced it, when, what it is, rests on, was measured on.

The rules are conservative: the subject must be a name, and neither it nor the value may point outside the sentence.
What they miss costs a question; what they take wrongly would be taught.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jobs.sentences import sentences
from qa.records import Passage

SUBJECT = r"(?P<subject>[A-Z`\"'][^,;:]{0,70}?|[a-z]+[A-Z0-9][^\s,;:]*)"
YEAR = r"(?:in (?P<year>(?:19|20)\d\d))"
MADE = r"(?:first )?(?P<verb>introduced|proposed|presented|developed)"
PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (relation, re.compile(f"^(?:{pattern})\\.$"))
    for relation, pattern in (
        ("introduced_by", rf"{SUBJECT} (?:was|were) {MADE} by (?P<value>.+?)(?: {YEAR})?"),
        ("introduced_by", rf"{SUBJECT} (?:was|were) {MADE} {YEAR} by (?P<value>.+)"),
        ("introduced_by", rf"(?P<value>[A-Z].+?) {MADE} {SUBJECT} {YEAR}"),
        ("year", rf"{SUBJECT} (?:was|were) {MADE} {YEAR}"),
        ("idea", rf"The (?:key|central) idea of {SUBJECT} is to (?P<value>.+)"),
        ("data", rf"{SUBJECT} was (?P<verb>trained|built|demonstrated) (?:on|from) (?P<value>.+)"),
        ("measured_on", rf"{SUBJECT} was (?P<verb>measured|evaluated) on (?P<value>.+)"),
        ("result", rf"{SUBJECT} (?P<verb>reached|reported) (?P<value>.+)"),
        ("limitation", rf"{SUBJECT} does not (?P<value>.+)"),
        ("component", rf"{SUBJECT} relies on (?P<value>.+)"),
        ("kind", rf"{SUBJECT} is (?:(?P<article>an?) |(?=the ))(?P<value>.+)"),
    )
)
LONGEST = 18  # words of a value
_ACRONYM = re.compile(r"(?<!\S)\(?(?P<words>(?:[\w'/-]+ ){1,8})\((?P<letters>[A-Z][A-Za-z]{1,7})\)")
_CUT = re.compile(
    r",? (?:which|where|whose|who|while|whereas|but"
    r"|and (?:is|are|was|has|can|does|only|contains|uses|provides|requires))\b|; "
)
_CUTS = {"kind": _CUT, "limitation": re.compile(r", (?:which|but|while|whereas)\b|; ")}
_TOLD_AFTER = re.compile(r": | [–—-] ")  # what a value says comes after it
_PRAISE = re.compile(
    r"^(a |an |the )?(very (?!deep|large|small)|really|so|quite|too|more|better|much|most powerful|powerful|key"
    r"|critical|crucial|important|popular|notable|newest|latest|recent|most recent|essential|exceedingly"
    r"|increasingly|challenging|new|novel|odd|great|good|strong|sufficiently|significant|major|common|way|thing|lot"
    r"|bit|fairly|simple|example|one|part|per|another|same|basic|fundamental|dominant|(most )?obvious|seminal)\b(?!-)"
)
_OUTSIDE = re.compile(
    r"\b(this|these|those|we|our|ours|us|i|my|you|your|the latter|the former|the two|both|here|the following|there"
    r"|(?:above|below)(?! (?:an?|the|random|chance|average|\d+)\b)|nobody|everybody|everyone)\b",
    re.I,
)
_OF_THE = re.compile(r"the (?:(?!of )\S+ )+of the (?!\w+est\b|most\b|first\b)")  # the id of the hanging process
_NO_NAME = set(
    "a an it its this that these those they their there he she we our you your such each every some many most all both "
    "what which who when where why how if as in on at by for from with to of and or but so then here one another any "
    "no not only also however while although because since after before during once thus therefore hence given let "
    "next first second finally instead now unlike like despite using my his her everything something".split()
)
_NO_NAME_SIGN = re.compile(r"[$\\{}\[\]<>|`=]|^\(|^\d+$|\s-|-\s|^\w+ly\b")
_CLAUSE = re.compile(r"\b(is|was|are|were|has|have|that|which|can|does|to|therefore|thus|hence|then|also)\b")
_GERUND = re.compile(r"\w+ing ")
_STRONG = re.compile(r"[A-Z0-9].*[A-Z0-9]|[a-z][A-Z0-9]")
_WORD = re.compile(r"[^\W_]+")
_VAGUE = set(
    "model models method methods approach paper work authors author result results idea goal aim problem task system "
    "architecture network algorithm technique study section chapter figure table example question answer reason output "
    "input first second third main key following same other former latter previous proposed experiment process".split()
)


@dataclass(frozen=True)
class Fact:
    """One stated fact. `start` and `end` are the sentence's offsets in the passage; `verb` is its wording's own."""

    relation: str
    subject: str
    value: str
    verb: str
    passage: Passage
    start: int
    end: int

    @property
    def evidence(self) -> str:
        return self.passage.text[self.start : self.end]


@dataclass(frozen=True)
class Refusal:
    """A sentence in the wording of a fact that makes no question, and why. `start` and `end` are its offsets."""

    passage: Passage
    reason: str
    start: int
    end: int


def find_facts(passage: Passage) -> Iterator[Fact | Refusal]:
    """Every stated fact of a passage in order, and every sentence that looked like one."""
    for start, end in sentences(passage.text):
        sentence = passage.text[start:end]
        yield from (Fact("acronym", *pair, "", passage, start, end) for pair in _acronyms(sentence))
        for relation, pattern in PATTERNS:
            if found := pattern.match(sentence.removeprefix("- ")):
                yield from _facts(relation, found, passage, start, end)
                break


def _facts(relation: str, found: re.Match[str], passage: Passage, start: int, end: int) -> Iterator[Fact | Refusal]:
    groups = {"verb": "", "year": None, "value": None, **found.groupdict()}
    subject = groups["subject"].strip("`\"'* ")
    if reason := _no_subject(subject, passage, relation):
        yield Refusal(passage, f"{reason}: {subject}", start, end)
        return
    if groups["value"]:
        value = _CUTS[relation].split(groups["value"])[0] if relation in _CUTS else groups["value"]
        if reason := _no_value(relation, value) or _repeats(relation, subject, value):
            yield Refusal(passage, f"{reason}: {value[:80]}", start, end)
            return
        yield Fact(relation, subject, value, groups["verb"], passage, start, end)
    if groups["year"]:
        yield Fact("year", subject, groups["year"], groups["verb"], passage, start, end)


def _no_subject(subject: str, passage: Passage, relation: str) -> str:
    """Why a subject is no name; empty where it is one. What is defined may have an article: a Unigram model."""
    article, words = _articled(subject, relation)
    named = [word.casefold() for word in words]
    headed = _in_heading(" ".join(named), f"{passage.title} / {passage.section}".casefold())
    if not words or len(words) > 7 or words[0].lower() in _NO_NAME or _NO_NAME_SIGN.search(subject):
        return "subject is not a name"
    if article == "The" and not all(word[:1].isupper() or word in ("of", "for", "and") for word in words):
        return "subject is not a name"
    if article in ("A", "An") and not (headed or _marked(words)):
        return "subject is not a name"
    if _OUTSIDE.search(subject) or subject.count("(") != subject.count(")") or len(set(named)) < len(named):
        return "subject is not a name"
    if words[-1].lower() in _VAGUE and article not in ("A", "An") and subject.casefold() != passage.title.casefold():
        return "subject is not a name"
    if _CLAUSE.search(subject) or (_GERUND.match(subject) and not headed):
        return "subject is a clause"
    if headed or article in ("A", "An") or any(_STRONG.search(word) for word in words):
        return ""
    return "subject is neither marked as a name nor in the heading"


def _articled(subject: str, relation: str) -> tuple[str, list[str]]:
    """The article that a subject begins with, and its other words; `A` and `An` are left out in definitions alone."""
    words = subject.split()
    if words and words[0] in (("The", "A", "An") if relation == "kind" else ("The",)):
        return words[0], words[1:]
    return "", words


def _marked(words: Sequence[str]) -> bool:
    """Whether the words after an article are a name: two or more with a capital first, or an acronym, or end in one."""
    acronym = re.fullmatch(r"\(?[A-Z]{2,}\)?", words[-1]) is not None if words else False
    named = acronym or (len(words) > 1 and words[0][0].isupper())
    return named and not {"of", "for", "with", "in", "on", "and", "or", "from"} & set(words)


def _in_heading(name: str, heading: str) -> bool:
    """Whether a heading names it: as one phrase, a single word as all of the title, the section, or a part of them."""
    if " " in name:
        return name in heading
    return name in (part.strip() for part in re.split(r"[:/(),]|\s[–—-]\s", heading))


def _no_value(relation: str, value: str) -> str:
    """Why a value cannot stand as an answer; empty where it can."""
    words = value.split()
    if not words or len(words) > LONGEST:
        return f"value of more than {LONGEST} words" if words else "value is empty"
    if relation == "kind" and (len(words) < 2 or _PRAISE.match(value)):
        return "value says too little"
    if relation == "kind" and (_TOLD_AFTER.search(value) or (", " in value and " and " not in value)):
        return "value is cut"
    if relation == "kind" and _OF_THE.match(value):
        return "value points outside the sentence or holds a formula"
    if _OUTSIDE.search(value) or re.search(r"\[formula\]|https?://|[$\\{}\[\]|<>]", value):
        return "value points outside the sentence or holds a formula"
    if value.count("(") != value.count(")") or value[-1] in ",;:(":
        return "value is cut"
    if relation == "introduced_by" and (not re.search(r"[A-Z]", value) or words[0].lower() in _NO_NAME | {"the"}):
        return "value names nobody"
    if words[0].lower() in ("it", "they", "them", "he", "she", "that", "not", "only"):
        return "value points outside the sentence or holds a formula"
    told = " of " in value or (len(words) > 3 and re.search(r"est\b|most|first", value))
    if relation == "kind" and words[0] == "the" and not told:
        return "value says too little"
    return ""


def _repeats(relation: str, subject: str, value: str) -> str:
    """Few-shot prompting is `a prompting approach`: why such a value is no answer."""
    new = set(_WORD.findall(value.casefold())) - set(_WORD.findall(subject.casefold()))
    new -= _VAGUE | _NO_NAME | {"type", "kind", "form"}
    return "" if new or relation != "kind" else "value says too little"


def _acronyms(sentence: str) -> Iterator[tuple[str, str]]:
    """Pairs (`RAG`, `Retrieval-Augmented Generation`) whose words begin with the acronym's letters."""
    for found in _ACRONYM.finditer(sentence):
        letters = found["letters"].removesuffix("s")
        if not letters.isupper() or len(letters) < 2:
            continue
        if words := _spelled_out(found["words"].split(), letters.lower()):
            yield letters, words


def _spelled_out(words: list[str], letters: str) -> str:
    for count in range(1, len(words) + 1):
        tail = words[-count:]
        initials = "".join(part[0] for word in tail for part in re.split(r"[-/]", word) if part).lower()
        if initials == letters:
            return " ".join(tail)
        if len(initials) > len(letters):
            break
    return ""
