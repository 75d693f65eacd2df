"""The offline writer: stated facts → multiple-choice and open questions, by rule, the same for the same seed.

The wrong options of a question are what documents on the same side of the split state of their own subjects. A held-out
side that has too few takes training documents' too, never the other way: no held-out document's words stand in a
training row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jobs.documents import Rejection
from jobs.progress import progress
from jobs.writers.facts import Fact, Refusal, find_facts
from jobs.writers.wording import alike, capitalised, normalised, number, question_text
from qa.records import Passage, Question, Split

LABELS = "ABCD"
OPEN_ONLY = {"limitation"}  # what one system does not do, others do not do either: their limits are no wrong options
WRONG = 3  # wrong options; 2 where no more are to be had, and no multiple-choice question below that


@dataclass
class Written:
    """What a writer made: questions, what was left out, and its funnel."""

    questions: list[Question]
    rejected: list[Rejection]
    funnel: dict[str, int]


def write_offline(passages: Iterable[Passage], splits: Mapping[str, Split], seed: int) -> Written:
    """Questions of every stated fact: an open one, and a multiple-choice one where wrong options can be found."""
    passages = list(passages)
    reading = progress(passages, "writing questions", total=len(passages), unit="passage")
    found = [item for passage in reading for item in find_facts(passage)]
    rejected = [Rejection(name=item.passage.id, reason=item.reason) for item in found if isinstance(item, Refusal)]
    facts, repeated = _first_of_each([item for item in found if isinstance(item, Fact)])
    rejected += repeated
    choices = _choice_questions(facts, _Wrong(facts, passages, splits, seed), splits, seed)
    questions = [question for fact in facts for question in (_open(fact, seed), choices.get(fact)) if question]
    funnel = {
        "passages": len(passages),
        "candidates": len(found),
        "refused": len(rejected),
        "facts": len(facts),
        "questions_open": len(questions) - len(choices),
        "questions_choice": len(choices),
    }
    return Written(questions, rejected, funnel)


def _first_of_each(facts: Sequence[Fact]) -> tuple[list[Fact], list[Rejection]]:
    """One fact for each subject and relation: a second answer would make the question ambiguous, or leak it."""
    first: dict[tuple[str, str], Fact] = {}
    rejected = []
    for fact in facts:
        kept = first.setdefault((fact.relation, normalised(fact.subject)), fact)
        if kept is not fact:
            reason = f"asked already from {kept.passage.id}: {fact.relation} of {fact.subject}"
            rejected.append(Rejection(name=fact.passage.id, reason=reason))
    return list(first.values()), rejected


class _Wrong:
    """Finds wrong options: values of the same relation, of other subjects, in other documents.

    They come from the document's own side of the split, for a held-out one from the training side too where that has
    fewer than three.
    """

    def __init__(
        self, facts: Sequence[Fact], passages: Iterable[Passage], splits: Mapping[str, Split], seed: int
    ) -> None:
        self.splits, self.seed = splits, seed
        self.pool: dict[tuple[str, str], list[Fact]] = defaultdict(list)
        for fact in facts:
            self.pool[splits[fact.passage.document], _pool_key(fact)].append(fact)
        texts: dict[str, list[str]] = defaultdict(list)
        for passage in passages:
            texts[passage.document].append(normalised(passage.text))
        self.texts = {document: f" {' '.join(parts)} " for document, parts in texts.items()}

    def options(self, fact: Fact) -> list[str]:
        """Up to three values; from the training side too where a held-out side has too few."""
        side = self.splits[fact.passage.document]
        chosen = self._pick(fact, [side])
        if len(chosen) < WRONG and side != "train":
            chosen = self._pick(fact, [side, "train"])
        return chosen

    def _pick(self, fact: Fact, sides: Sequence[str]) -> list[str]:
        chosen: list[str] = []
        candidates = [other for side in sides for other in self.pool[side, _pool_key(fact)]]
        for other in sorted(candidates, key=lambda other: self._rank(fact, other)):
            if self._false_of(fact, other) and not any(alike(other.value, value) for value in chosen):
                chosen.append(other.value)
            if len(chosen) == WRONG:
                break
        return chosen

    def _rank(self, fact: Fact, other: Fact) -> tuple[bool, int]:
        """By lot, among those first that length, date or first letter do not give away."""
        if fact.relation == "year":
            far = abs(int(fact.value) - int(other.value)) > 8
        elif fact.relation == "acronym":
            far = fact.value[0].lower() != other.value[0].lower()
        else:
            far = abs(len(fact.value) - len(other.value)) > 12
        return far, number(self.seed, "option", fact.relation, fact.subject, other.subject, other.value)

    def _false_of(self, fact: Fact, other: Fact) -> bool:
        if fact.passage.document == other.passage.document or normalised(fact.subject) == normalised(other.subject):
            return False
        if alike(fact.value, other.value) or normalised(fact.subject) in normalised(other.value):
            return False
        return f" {normalised(other.value)} " not in self.texts[fact.passage.document]


def _pool_key(fact: Fact) -> str:
    return f"data {fact.verb}" if fact.relation == "data" and fact.verb == "built" else fact.relation


def _choice_questions(
    facts: Sequence[Fact], wrong: _Wrong, splits: Mapping[str, Split], seed: int
) -> dict[Fact, Question]:
    """Multiple-choice questions; on each side the right answer stands at every place equally often."""
    groups: dict[tuple[str, int], list[tuple[int, Fact, list[str]]]] = defaultdict(list)
    for fact in facts:
        others = [] if fact.relation in OPEN_ONLY else wrong.options(fact)
        if len(others) >= 2:
            lot = number(seed, "place", fact.relation, fact.subject, fact.passage.document)
            groups[splits[fact.passage.document], len(others)].append((lot, fact, others))
    questions = {}
    for (_, count), members in sorted(groups.items()):
        for rank, (_, fact, others) in enumerate(sorted(members, key=lambda member: member[0])):
            questions[fact] = _choice(fact, others, rank % (count + 1), seed)
    return questions


def _choice(fact: Fact, others: Sequence[str], place: int, seed: int) -> Question:
    values = [*others[:place], fact.value, *others[place:]]
    labels = tuple(LABELS[: len(values)])
    return Question(
        question=question_text(fact.relation, fact.subject, fact.verb, seed, choices=True),
        choices=tuple(capitalised(value) for value in values),
        labels=labels,
        answer=labels[place],
        answer_text=capitalised(fact.value),
        **_common(fact, "choice"),
    )


def _open(fact: Fact, seed: int) -> Question:
    return Question(
        question=question_text(fact.relation, fact.subject, fact.verb, seed, choices=False),
        answer_text=f"{capitalised(fact.value).removesuffix('.')}.",
        **_common(fact, "open"),
    )


def _common(fact: Fact, form: str) -> dict[str, str]:
    passage = fact.passage
    return {
        "id": f"research/{number(form, passage.document, fact.relation, fact.subject):016x}",
        "kind": fact.relation,
        "task": "research",
        "document": passage.document,
        "passage": passage.id,
        "evidence": fact.evidence,
        "source": passage.source,
        "licence": passage.licence,
    }
