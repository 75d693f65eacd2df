"""Whether a passage that a question was not made from may answer it all the same: told by words, rather once too often.

A passage that does must not stand where the right answer is "not found", and leaves a citation one of two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import Stemmer

from jobs.data_config import NOT_IN_TEXT
from jobs.shingles import words_of
from qa.records import Passage, Question
from qa.retrieval import STOP_WORDS

_STOP_WORDS = frozenset(STOP_WORDS)
_NAME = re.compile(r"(?=[^\W_]*[^\W\d_])(?=[^\W_]*[A-Z\d])[^\W_]+")  # has a letter, and a capital or a digit
_LARGE_FIRST = re.compile(r"[A-Z][^\WA-Z\d_]*")  # as any first word of a sentence is spelled


@dataclass(frozen=True)
class Signs:
    """By what a passage shows that it answers a question: whom it is about, and words of what would be said."""

    names: frozenset[str]
    said: frozenset[str]
    answer: re.Pattern[str] | None  # None where no answer is known
    definition: re.Pattern[str] | None  # of the names; None where the question does not ask for it
    initials: re.Pattern[str] | None  # words that begin with the letters of one of the names; None likewise

    def shown_by(self, words: Words) -> bool:
        """Whether the answer is there, joined and parted as it may be, or half of its words beside one of the names.

        A passage that tells what the names are answers a question for that in words of its own, or for another thing
        of the same name.
        """
        if self.answer and self.answer.search(words.text):
            return True
        if self.definition and self.definition.search(words.written):
            return True
        about = bool(self.names & words.roots) if self.names else not self.answer
        if about and self.initials and self.initials.search(words.text):
            return True
        return about and 2 * len(self.said & words.roots) >= len(self.said)


class Words:
    """The words that a passage may show, its title included."""

    def __init__(self, passage: Passage) -> None:
        self.written = f"{passage.title}\n{passage.text}"
        self.text = " ".join(words_of(self.written))

    @cached_property
    def roots(self) -> frozenset[str]:
        return _roots(self.text.split())


def signs_of(question: Question, *, withheld: bool = False) -> Signs:
    """Of a question that its text cannot answer no answer is known: half of its own words are a sign then.

    Where the right passage is `withheld`, a name is enough if the question is what that thing is: how it is used tells.
    """
    names = _roots(word.lower() for word in names_in(question.question))
    if question.kind == NOT_IN_TEXT:
        return Signs(names, _roots(words_of(question.question)) - names, None, None, None)
    written = names_in(question.question)
    defined, initials = _definition(written), _initials(written)
    said = _roots(answer := words_of(question.answer_text))
    if not (defined and defined.search(question.evidence)):
        defined = initials = None
    elif withheld and not (initials and initials.search(" ".join(answer))):
        said = frozenset()
    return Signs(names, said, _anyhow(question.answer_text), defined, initials)


def names_in(text: str, *, marked: bool = False) -> list[str]:
    """Words with a capital or a digit, and a letter; `marked` ones have more than a capital at their beginning.

    The first word of the text is none for its capital alone.
    """
    words = list(_NAME.finditer(text))
    opening = re.match(r"[\W_]*", text)
    plain = [word for word in words if _LARGE_FIRST.fullmatch(word[0])]
    left = plain if marked else [word for word in plain if opening and word.start() == opening.end()]
    return [word[0] for word in words if word not in left]


def _definition(names: list[str]) -> re.Pattern[str] | None:
    """A pattern for what tells of one of the names what it is or stands for: (LoRA), LoRA (…, LoRA is …, LoRA, a …."""
    if not names:
        return None
    name = rf"\b(?i:{'|'.join(map(re.escape, names))})s?\b"
    tells = r"[`*\"']*(?:\)|\s*[(:]|,? (?:is|are|was|were|stands?|means?|refers?|an?)\b)"
    return re.compile(rf"\([^()]*{name}[^()]*\)|{name}{tells}")


def _initials(names: list[str]) -> re.Pattern[str] | None:
    """A pattern for words that a name in capitals may be short for."""
    runs = (" ".join(rf"{letter}\w*" for letter in name.lower()) for name in names if name.isupper() and len(name) > 1)
    return re.compile(rf"\b(?:{'|'.join(found)})") if (found := list(runs)) else None


def _anyhow(answer: str) -> re.Pattern[str]:
    """A pattern for the answer in one word or in several, and in the plural: fine-tuning, finetuning, fine tuning."""
    letters = "".join(words_of(answer)).removesuffix("s")
    return re.compile(rf"\b{' ?'.join(letters)}(?: ?e?s)?\b")


def _roots(words: Iterable[str]) -> frozenset[str]:
    """Stems, without the plural's s that the stemmer leaves at abbreviations."""
    known = [word for word in words if word not in _STOP_WORDS]
    return frozenset(word.rstrip("s") for word in Stemmer.Stemmer("english").stemWords(known))
