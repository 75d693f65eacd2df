"""Numbers and named terms of an answer must stand in its evidence, or in the title, section or question.

Numbers: 1,000 is 1000, 0.50 is 0.5, 2× is 2, `three` is 3 and 176 million is 176000000; a sign counts (-12.5), and per
cent are not points, though a number without a unit may be either. Named terms: every word with a capital beyond its
first letter, or with a digit and a letter (LoRA, GPT-3, 7B, word2vec), and every capitalised word, unless it opens the
answer or a sentence of it; an opening one counts where another capitalised word follows (Edward Hu). Letter case,
hyphens, spaces (fine-tuning, fine tuning, finetuning) and a plural's s make no difference. What a wrong option of a
multiple-choice question names is not asked about.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal

from jobs.data_config import NOT_IN_TEXT
from jobs.question_filters.refused import RefusedError
from qa.records import Passage, Question

NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
).split()
SCALES = {"thousand": 3, "k": 3, "million": 6, "billion": 9, "trillion": 12}  # powers of ten
_SCALE = r"(?:[\s-]?(?P<scale>(?:thousand|[mb]illion|trillion)s?\b|(?<![\s-])[kK](?![^\W_])))?"
_UNIT = r"(?:\s?\\?(?P<percent>%|percent\b|per cent\b)(?!-|\s?points?)|%?\s?(?:[^\W\d]+ )?(?P<points>points?\b))?"
_NUMBER = re.compile(
    r"(?P<sign>(?:(?<=[\s(\[{$=~,:<>/|^])|^)-)?(?<![\w.])(?<![A-Za-z]-)"
    r"(?P<number>\d+(?:[,\u202f\u00a0_]\d{3})*(?:\.\d+)?(?![\d_])|\.\d+)" + _SCALE + _UNIT
)
_WORD = re.compile(rf"(?<![^\W_])(?P<number>{'|'.join(NUMBER_WORDS[2:])})(?![^\W_])" + _SCALE + _UNIT, re.I)
_NAME = re.compile(r"[A-Za-z]{2,}|[A-Z](?![a-z])|[a-z]\d")  # after a number: 7B and 2D are names, 10x is a number
_PARTS = re.compile(r"[^\W_]+(?:(?<=\d)\.\d[^\W_]*)*")  # GPT-3.5 is no GPT-3
_EDGES = "\"'`“”‘’()[]{}<>,;:!?*$|."
_DASHES = re.compile(r"[‐‑‒–—−]")


def check_terms(question: Question, passage: Passage) -> Question:
    """The question as it is. Raises `RefusedError` naming the first number or term that its evidence does not hold."""
    if question.kind == NOT_IN_TEXT:
        return question
    context = "\n".join((question.evidence, passage.title, passage.section, question.question))
    if missing := missing_number(question.answer_text, context):
        raise RefusedError(f"number {missing} of the answer is not in the evidence")
    for term in missing_terms(question.answer_text, context):
        raise RefusedError(f"{term} of the answer is not in the evidence")
    return question


def missing_number(answer: str, context: str) -> str:
    """The first number of an answer that does not stand in its context, or not in that unit; empty: none."""
    known = set(numbers(context))
    stated = {value for value, _ in known}
    for value, unit in numbers(answer):
        if value not in stated or (unit and not {(value, unit), (value, "")} & known):
            return f"{value} {unit}".strip()
    return ""


def missing_terms(answer: str, context: str) -> list[str]:
    """The named terms of an answer that do not stand in its context."""
    words = [_singular(word.casefold()) for word in _PARTS.findall(_plain(context))]
    return [term for term in named_terms(_plain(answer)) if not _holds(words, term)]


def numbers(text: str) -> Iterator[tuple[str, str]]:
    """Every number of a text that is no part of a name, in one spelling, with its unit: %, points or none."""
    text = _plain(text)
    for found in _NUMBER.finditer(text):
        if found["scale"] or not _NAME.match(text, found.end("number")):
            number = re.sub(r"[,\u202f\u00a0_]", "", found["number"])
            yield _spelling(f"{found['sign'] or ''}{number}", found["scale"]), _unit(found)
    for found in _WORD.finditer(text):  # `one` is mostly a pronoun, and zero-shot has no number in it
        yield _spelling(str(NUMBER_WORDS.index(found["number"].casefold())), found["scale"]), _unit(found)


def _spelling(number: str, scale: str | None) -> str:
    power = SCALES[scale.casefold().removesuffix("s")] if scale else 0
    value = f"{Decimal(number).scaleb(power):f}"
    return (value.rstrip("0").rstrip(".") if "." in value else value) or "0"


def _unit(found: re.Match[str]) -> str:
    return "%" if found["percent"] else "points" if found["points"] else ""


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
        return not re.fullmatch(r"[\d.,]+(x|[kK]|th|st|nd|rd|s|-[a-z-]+)", word)  # 10x, 10k, 3rd, 1990s, 4-bit: numbers
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
    sides = term.split("/")  # BERT/RoBERTa of `BERT and RoBERTa`
    return len(sides) > 1 and all(re.search(r"[^\W\d_]", side) and _holds(words, side) for side in sides)


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", _DASHES.sub("-", text))
    return "".join(sign for sign in decomposed if not unicodedata.combining(sign)).replace("’", "'")
