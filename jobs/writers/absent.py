"""Questions that no passage answers, for certain: the year of what stands beside no year in any of them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from jobs.data_config import NOT_IN_TEXT
from jobs.lots import number
from jobs.writers.facts import Fact
from jobs.writers.wording import normalised, question_text
from jobs.writers.written import passage_fields
from qa.prompts import NOT_FOUND
from qa.records import Passage, Question

MOST = 10  # open questions for each of these
MADE = {"idea", "data", "measured_on", "introduced_by", "component"}  # relations of what was made at some time
_MADE = re.compile(r"\b(method|model|algorithm|data ?set|benchmark|library|framework|optimi[sz]er|tokeni[sz]er)\b")
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")


def absent_questions(facts: Sequence[Fact], passages: Iterable[Passage], most: int, seed: int) -> list[Question]:
    """At most so many, drawn by lot, one a subject, in the order of the facts.

    The subject's document holds no year, nor does any passage that names the subject: each may be shown beside it.
    """
    passages = list(passages)
    dated = {passage.document for passage in passages if _has_year(passage)}
    chosen: dict[str, Fact] = {}
    for fact in facts:
        if fact.passage.document not in dated and (fact.relation in MADE or _is_made(fact)):
            chosen.setdefault(normalised(fact.subject), fact)
    left = set(chosen) - set(_named(chosen, filter(_has_year, passages)))
    drawn = set(sorted(left, key=lambda subject: (number(seed, "absent", subject), subject))[:most])
    return [_question(fact, seed) for subject, fact in chosen.items() if subject in drawn]


def _has_year(passage: Passage) -> bool:
    return _YEAR.search(f"{passage.title}\n{passage.text}") is not None


def _is_made(fact: Fact) -> bool:
    return fact.relation == "kind" and _MADE.search(fact.value) is not None


def _named(subjects: Iterable[str], passages: Iterable[Passage]) -> Iterator[str]:
    """Those of the normalised subjects that stand in one of the passages."""
    by_opening: dict[str, list[list[str]]] = defaultdict(list)
    for subject in subjects:
        words = subject.split()
        by_opening[words[0]].append(words)
    for passage in passages:
        words = normalised(f"{passage.title}\n{passage.text}").split()
        for place, word in enumerate(words):
            for subject in by_opening.get(word, ()):
                if words[place : place + len(subject)] == subject:
                    yield " ".join(subject)


def _question(fact: Fact, seed: int) -> Question:
    passage = fact.passage
    return Question(
        id=f"research/{number('absent', passage.document, fact.subject):016x}",
        question=question_text("year", fact.subject, "introduced", seed, choices=False),
        answer_text=NOT_FOUND,
        kind=NOT_IN_TEXT,
        **passage_fields(passage),
    )
