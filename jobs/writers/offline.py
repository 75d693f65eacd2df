"""The offline writer: stated facts → multiple-choice and open questions, by rule, the same for the same seed.

The wrong options of a question are what documents on the same side of the split state of their own subjects. A held-out
side that has too few takes training documents' too, never the other way: no held-out document's words stand in a
training row.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from jobs.data_config import NOT_IN_TEXT, Scale, Writer
from jobs.documents import Rejection
from jobs.lots import number
from jobs.shards import run_shards
from jobs.writers.absent import MOST, absent_questions
from jobs.writers.facts import Fact, Refusal, find_facts
from jobs.writers.wording import alike, capitalised, kind_of, normalised, question_text
from jobs.writers.written import Written, passage_fields
from jobs.writers.wrong_options import WrongOptions
from qa.records import Passage, Question, Split

LABELS = "ABCD"
OPEN_ONLY = {  # relations whose other values are no wrong options
    "limitation",  # what one system does not do, others do not do either
    "acronym",  # only the right words have its letters: with the same letters, the acronym would be ambiguous
}
FEWEST_WRONG = 2  # wrong options without which there is no multiple-choice question
SHARD = 256  # passages
SHORT = 2  # letters of an acronym
_ENDINGS = re.compile(r"(?<=\w{3})(?:ing|ed|ion|es|e|s|i|y)+$")
WORDINGS, REPEATED = "wording of a fact", "ambiguous or asked already"


def write_offline(
    passages: Sequence[Passage], splits: Mapping[str, Split], *, writer: Writer, seed: int, folder: Path, scale: Scale
) -> Written:
    """Questions of every stated fact: an open one, and a multiple-choice one where wrong options can be found.

    Wrong options come from facts of all kinds, questions are of `writer.kinds` alone. Shards are kept under `folder`.
    """
    written = Written()
    found = list(_find(passages, folder, scale))
    refusals = [item for item in found if isinstance(item, Refusal)]
    written.rejected = [_rejection(item, WORDINGS, item.reason) for item in refusals]
    written.funnel.add(WORDINGS, len(found), len(refusals))
    facts, repeated = _first_of_each([item for item in found if isinstance(item, Fact)])
    written.rejected += repeated
    written.funnel.add(REPEATED, len(facts) + len(repeated), len(repeated))
    asked = [fact for fact in facts if kind_of(fact.relation, fact.value) in writer.kinds]
    choices = _choice_questions(asked, WrongOptions(facts, passages, splits, seed), splits, seed)
    written.questions = [question for fact in asked for question in (_open(fact, seed), choices.get(fact)) if question]
    if NOT_IN_TEXT in writer.kinds:
        written.questions += absent_questions(facts, passages, len(asked) // MOST, seed)
    return written


def _find(passages: Sequence[Passage], folder: Path, scale: Scale) -> Iterator[Fact | Refusal]:
    items = [passage.model_dump(mode="json") for passage in passages]
    results = run_shards("facts", items, find_in_shard, folder, scale=scale, size=SHARD)
    for passage, result in zip(passages, results, strict=True):
        for values in result["found"]:
            yield (Refusal if "reason" in values else Fact)(passage=passage, **values)


def find_in_shard(items: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """For each passage the facts and refusals of its sentences, without the passage."""
    for item in items:
        found = find_facts(Passage(**item))
        yield {"found": [{f.name: getattr(e, f.name) for f in fields(e) if f.name != "passage"} for e in found]}


def _first_of_each(facts: Sequence[Fact]) -> tuple[list[Fact], list[Rejection]]:
    """One fact for each subject and relation: a second answer would make the question ambiguous, or leak it."""
    first: dict[tuple[str, str], Fact] = {}
    rejected = []
    meanings = _meanings(facts)
    for fact in facts:
        if fact.relation == "acronym" and (reason := _ambiguous(fact, meanings[fact.subject])):
            rejected.append(_rejection(fact, REPEATED, reason))
            continue
        kept = first.setdefault((fact.relation, normalised(fact.subject)), fact)
        if kept is not fact:
            reason = f"asked already from {kept.passage.id}: {fact.relation} of {fact.subject}"
            rejected.append(_rejection(fact, REPEATED, reason))
    return list(first.values()), rejected


def _meanings(facts: Iterable[Fact]) -> dict[str, dict[str, set[str]]]:
    """Acronym → what it is short for → the documents that say so."""
    meanings: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for fact in facts:
        if fact.relation == "acronym":
            meanings[fact.subject][fact.value].add(fact.passage.document)
    return meanings


def _ambiguous(fact: Fact, meanings: Mapping[str, set[str]]) -> str:
    """Why an acronym cannot be asked for; two letters stand for too much where one document alone spells them out."""
    for words in meanings:
        if _squashed(words) != _squashed(fact.value) and not alike(words, fact.value):
            return f"{fact.subject} is short for more than one thing: {fact.value}, {words}"
    if len(fact.subject) <= SHORT and len(set[str]().union(*meanings.values())) < 2:
        return f"{fact.subject} has two letters and one document that spells it out: {fact.value}"
    return ""


def _squashed(text: str) -> str:
    """Stems of the words, without spaces and hyphens: Term-Frequencies, term frequency; masked language model(ing)."""
    stems = (_ENDINGS.sub("", word) for word in normalised(text).split())
    return "".join(re.sub(r"(.)\1$", r"\1", stem) for stem in stems)


def _rejection(item: Fact | Refusal, stage: str, reason: str) -> Rejection:
    sentence = item.passage.text[item.start : item.end]
    return Rejection(name=item.passage.id, reason=reason, stage=stage, text=sentence)


def _choice_questions(
    facts: Sequence[Fact], wrong: WrongOptions, splits: Mapping[str, Split], seed: int
) -> dict[Fact, Question]:
    """Multiple-choice questions; on each side the right answer stands at every place equally often."""
    groups: dict[tuple[str, int], list[tuple[int, Fact, list[str]]]] = defaultdict(list)
    for fact in facts:
        others = [] if fact.relation in OPEN_ONLY else wrong.options(fact)
        if len(others) >= FEWEST_WRONG:
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
        "kind": kind_of(fact.relation, fact.value),
        "task": "research",
        "evidence": fact.evidence,
        **passage_fields(passage),
    }
