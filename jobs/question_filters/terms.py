"""Numbers and named terms of an answer must stand in its evidence, or in the title, section or question.

Numbers: 1,000 is 1000, 90 % is 90, 2× is 2, 0.50 is 0.5, and `three` is 3. Named terms: every word with a capital
beyond its first letter, or with a digit and a letter (LoRA, GPT-3, 7B, word2vec), and every capitalised word, unless it
opens the answer or a sentence of it; an opening one counts where another capitalised word follows (Edward Hu). Letter
case, hyphens, spaces (fine-tuning, fine tuning, finetuning) and a plural's s make no difference. What a wrong option
of a multiple-choice question names is not asked about.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from jobs.question_filters.refused import RefusedError
from qa.records import Passage, Question

NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
).split()
_NUMBER = re.compile(r"(?<![\w.])(?<![A-Za-z]-)\d+(?:[,\u202f\u00a0_]\d{3})*(?:\.\d+)?(?![\d_])|(?<![\w.])\.\d+")
_PARTS = re.compile(r"[^\W_]+")
_EDGES = "\"'`“”‘’()[]{}<>,;:!?*$|."
_DASHES = re.compile(r"[‐‑‒–—−]")


def check_terms(question: Question, passage: Passage) -> Question:
    """The question as it is. Raises `RefusedError` naming the first number or term that its evidence does not hold."""
    if question.kind == "not_in_text":
        return question
    context = "\n".join((question.evidence, passage.title, passage.section, question.question))
    answer, known = _plain(question.answer_text), _plain(context)
    stated = set(numbers(known))
    for number in numbers(answer):
        if number not in stated:
            raise RefusedError(f"number {number} of the answer is not in the evidence")
    words = [_singular(word.casefold()) for word in _PARTS.findall(known)]
    for term in named_terms(answer):
        if not _holds(words, term):
            raise RefusedError(f"{term} of the answer is not in the evidence")
    return question


def numbers(text: str) -> Iterator[str]:
    """Every number of a text that is no part of a name, in one spelling; number words too."""
    for found in _NUMBER.finditer(text):
        if not re.match(
            r"[A-Za-z]{2,}|[A-Z](?![a-z])|[a-z]\d", text[found.end() :]
        ):  # 7B and 2D are names, 10x is a number
            yield _spelling(found[0])
    for word in _PARTS.findall(text.casefold()):
        if word in NUMBER_WORDS[2:]:  # `one` is mostly a pronoun, and zero-shot has no number in it
            yield str(NUMBER_WORDS.index(word))


def _spelling(number: str) -> str:
    whole, _, decimals = re.sub(r"[,\u202f\u00a0_]", "", number).partition(".")
    whole, decimals = whole.lstrip("0") or "0", decimals.rstrip("0")
    return f"{whole}.{decimals}" if decimals else whole


def named_terms(text: str) -> list[str]:
    """The words of a text that name something, in order."""
    words = [word.strip(_EDGES).removesuffix("'s") for word in text.split()]
    ends = [True, *(word.endswith((".", "!", "?", ":")) for word in text.split())]  # before the first, and after
    return [
        word for place, word in enumerate(words) if _is_name(word) or (_large(word) and _counts(words, place, ends))
    ]


def _counts(words: list[str], place: int, opens: list[bool]) -> bool:
    """Whether a capitalised word is a name: within a sentence, or at its opening before another."""
    if not opens[place]:
        return words[place] != "I"
    return place + 1 < len(words) and not opens[place + 1] and _large(words[place + 1]) and len(words[place]) > 2


def _is_name(word: str) -> bool:
    letters, digits = re.search(r"[^\W\d_]", word), re.search(r"\d", word)
    if digits and letters:
        return not re.fullmatch(r"[\d.,]+(x|th|st|nd|rd|s|-[a-z-]+)", word)  # 10x, 3rd, 1990s, 4-bit: numbers
    return bool(re.search(r".[A-Z]", word))


def _large(word: str) -> bool:
    return word[:1].isupper()


def _holds(words: list[str], term: str) -> bool:
    """Whether a term stands among words: part by part, or run together over up to four of them."""
    parts = [_singular(part.casefold()) for part in _PARTS.findall(term)]
    if not parts:
        return True
    squashed = _singular("".join(part.casefold() for part in _PARTS.findall(term)))
    for start in range(len(words)):
        if words[start : start + len(parts)] == parts:
            return True
        joined = ""
        for word in words[start : start + 4]:
            joined += word
            if joined == squashed:
                return True
            if len(joined) >= len(squashed):
                break
    return len(parts) > 1 and all(part in words for part in parts)  # BERT/RoBERTa of `BERT and RoBERTa`


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", _DASHES.sub("-", text))
    return "".join(sign for sign in decomposed if not unicodedata.combining(sign)).replace("’", "'")
