"""Scores of answers: choice accuracy, exact match, token F1, abstention, citation precision and recall.

Pure functions; `jobs/metrics/` wraps them as metrics of the `evaluate` library. Normalisation and token F1 are those of
SQuAD 1.1 (Rajpurkar et al. 2016, arXiv 1606.05250, evaluate-v1.1.py).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Collection, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_MARKS = re.compile(r"\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]")
_MATERIAL = r"(given |provided )?(sources?|passages?|texts?|contexts?|documents?|articles?|papers?|tables?)"
_NOT = r"(do not|don't|does not|doesn't|cannot|can't|could not|couldn't)"
_ABSTENTION = re.compile(  # of one sentence; in "T5, not mentioned in the table, is larger" nobody abstains
    rf"\bi {_NOT} (know|answer|say|tell|find (this|that|it|(an|the|any) (answer|information|mention)))\b"
    r"|\bi(?: am|'m) (not (sure|certain)|unable to (answer|say|tell|find))\b"
    r"|\bunknown to me\b"
    r"|^((this|the|that) (question )?is )?unanswerable\W*$"
    r"|^(there is |i have )?(no|not enough|insufficient) information(\W*$| (about|on|in|to|for|regarding|available)\b)"
    r"|^(based on [^,]*, )?[^,;:]*\bnot (mentioned|stated|given|specified|found|provided)"
    rf" in (the|my|these|any of the) {_MATERIAL}\W*$"
    rf"|^(the|my|these) {_MATERIAL} {_NOT} (say|tell|hold|contain|mention)\b(?!.*\b(but|however)\b)"
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def normalise(text: str) -> str:
    """SQuAD's normal form: lower case, no punctuation, no articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, references: Sequence[str]) -> bool:
    """Whether the answer equals one of the references after normalisation."""
    return normalise(prediction) in {normalise(reference) for reference in references}


def token_f1(prediction: str, references: Sequence[str]) -> float:
    """Harmonic mean of precision and recall over the bag of words, 0 to 1; the best over the references."""
    return max(_f1(normalise(prediction).split(), normalise(reference).split()) for reference in references)


def _f1(ours: list[str], theirs: list[str]) -> float:
    if not ours or not theirs:
        return float(ours == theirs)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * shared / (len(ours) + len(theirs))


def abstains(text: str) -> bool:
    """Whether an answer says that it does not know (English wordings; an empty answer says so too).

    The first sentence decides, apologies aside: what a real answer adds about its sources is no abstention.
    """
    plain = text.lower().replace("’", "'").strip()
    first = next((part for part in _SENTENCE_END.split(plain) if len(part.split()) > 1), plain)
    return not plain or _ABSTENTION.search(first) is not None


def citation_marks(text: str) -> list[int]:
    """Numbers of the passages an answer cites, in order, each once: [1], [2, 3]."""
    numbers = [int(number) for mark in _MARKS.findall(text) for number in mark.split(",")]
    return list(dict.fromkeys(numbers))


def without_marks(text: str) -> str:
    """The answer without its citations, as exact match and token F1 read it: `LoRA [1, 2].` is `LoRA.`"""
    return re.sub(rf"\s*{_MARKS.pattern}", "", text)


def citation_precision(marks: Collection[int], gold: Collection[int]) -> float:
    """Share of the cited passages that hold the evidence; 0 where nothing is cited."""
    return len(set(marks) & set(gold)) / len(set(marks)) if marks else 0.0


def citation_recall(marks: Collection[int], gold: Collection[int]) -> float:
    """Share of the passages with evidence that are cited; 1 where there are none."""
    return len(set(marks) & set(gold)) / len(set(gold)) if gold else 1.0
