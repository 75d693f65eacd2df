"""Signs that a model is broken rather than bad, each with its likeliest cause.

A broken template, tokenizer or stop token makes figures that look like those of a weak model. What tells them apart is
in the rows: how else the same model does, and how the other models do on the same prompts.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jobs.evaluation.groups import Asked, chance, groups, is_choice, tied
from qa.records import Answer, Question
from qa.statistics import wilson

CHANCE_ROWS = 40  # of four options, 16 of 40 right just beat chance: of fewer, a model that knows something may not
CHOICE_ROWS = 12  # letters and ties
WRITTEN_ROWS = 8
MOST, NEARLY_ALL = 0.5, 0.9  # shares of the rows that make a sign
GOLD_ROWS, GOLD_SHARE = 8, 0.1  # a model that is right half the time misses eight in a row once in 256
LONG = 100  # characters: 48 tokens of English are some 200, an answer of the data set's kind is under 60
ENDS = (".", "!", "?", "]", ")", '"', "”", "…")

CAUSES = {  # of each kind, as docs/evaluation.md lists them
    "ids": "its tokenizer is another",
    "tokenizer": "its tokenizer, which reads the prompts otherwise than the first model's",
    "template": "a template it was not trained with",
    "weights": "its weights, damaged when they were trained, merged or quantised",
    "letter": "the template, or a model that cannot answer by letter",
    "label": "the template: the turn opens with a token that is no label",
    "writing": "how an answer is written out: the stop token, or words around the letter",
    "task": "this task, too hard or with wrong right answers",
    "size": "a model too small for these questions; if it is known to be able, its template or tokenizer",
    "never": "the template, or a model that goes by the label and not the option",
    "ties": "scores in too low a precision, or a prompt that the model reads as nothing",
    "mute": "the stop token or the template: the turn does not go on from its opening",
    "empty": "the stop token: the turn ends before its first word",
    "endless": "the stop token: the turn does not end",
    "long": "a model that says much, or the stop token",
}


@dataclass(frozen=True)
class Group:
    """One model's rows of one task and formulation, with their questions."""

    model: str
    task: str
    formulation: str
    rows: Sequence[Answer]
    questions: Sequence[Question]

    @property
    def correct(self) -> int:
        return sum(row.correct for row in self.rows)

    @property
    def chance(self) -> float:
        return chance(self.questions)

    @property
    def beats_chance(self) -> bool:
        """Whether the whole 95 % interval lies above chance."""
        return is_choice(self.rows[0]) and wilson(self.correct, len(self.rows))[0] > self.chance


def canaries(answers: Mapping[str, Sequence[Answer]], asked: Asked) -> list[str]:
    """A line for every sign, in the order of the models. Few rows show nothing and are passed over."""
    differing = _other_prompts(answers)
    first = next(iter(answers))
    found = [
        f"{model}: {count} prompts have other token ids than {first}'s; likeliest cause: {CAUSES['ids']}"
        for model, count in differing.items()
    ]
    known = [
        Group(model, task, formulation, rows, [asked[task, row.row_id] for row in rows])
        for model, given in answers.items()
        for (task, formulation), rows in groups(given).items()
        if len(rows) >= (CHOICE_ROWS if is_choice(rows[0]) else WRITTEN_ROWS)
    ]
    for group in known:
        where = f"{group.model}, {group.task}, {group.formulation}"
        signs = _choice_signs(group, known, differing) if is_choice(group.rows[0]) else _written_signs(group, known)
        found += [f"{where}: {sign}; likeliest cause: {cause}" for sign, cause in signs]
    return found


def _other_prompts(answers: Mapping[str, Sequence[Answer]]) -> dict[str, int]:
    """Prompts that a model read as other token ids than the first model did, by model."""
    first, *others = answers
    known = {(row.task, row.formulation, row.row_id): row.prompt_sha256 for row in answers[first]}
    counts = {
        model: sum(
            known.get((row.task, row.formulation, row.row_id), row.prompt_sha256) != row.prompt_sha256
            for row in answers[model]
        )
        for model in others
    }
    return {model: count for model, count in counts.items() if count}


def _choice_signs(group: Group, known: Sequence[Group], differing: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    n = len(group.rows)
    if n >= CHANCE_ROWS and not group.beats_chance and (cause := _cause_of_chance(group, known, differing)):
        yield f"{group.correct} of {n} right is no better than chance ({group.chance:.1%})", cause
    if group.formulation.startswith("letter"):
        yield from _letter_signs(group)
    if group.formulation.startswith("chat"):
        yield from _chat_signs(group)
    elif (count := tied(group.rows)) > MOST * n:
        yield f"the two likeliest options tie in {count} of {n} questions", CAUSES["ties"]


def _cause_of_chance(group: Group, known: Sequence[Group], differing: Mapping[str, int]) -> str:
    """What the other figures leave as the likeliest reason for a model that guesses; none where nothing is broken."""
    if group.model in differing:
        return CAUSES["tokenizer"]
    able = [other for other in known if other.beats_chance]
    elsewhere = [other.formulation for other in able if (other.model, other.task) == (group.model, group.task)]
    better = [other.model for other in able if (other.task, other.formulation) == (group.task, group.formulation)]
    if elsewhere:
        return _cause_of_way(group.formulation, elsewhere, better)
    if better:
        return f"{CAUSES['weights']}: {better[0]} beats chance here"
    if others := [other.task for other in able if other.model == group.model]:
        return f"{CAUSES['task']}: the model beats chance at {others[0]}"
    return CAUSES["size"]


def _cause_of_way(formulation: str, elsewhere: Sequence[str], better: Sequence[str]) -> str:
    """Why a model guesses one way that answers the same questions another way."""
    way, ways = formulation.split()[0], {name.split()[0]: name for name in reversed(elsewhere)}
    if way == "chat" and "letter" in ways:
        return f"{CAUSES['writing']}: it beats chance by {ways['letter']}"
    if way == "letter" and "chat" in ways:
        return f"{CAUSES['label']}: it beats chance by {ways['chat']}"
    if better:
        return f"{CAUSES['template']}: by {elsewhere[0]} it beats chance, and {better[0]} does here"
    if way == "cloze":
        return ""  # questions that need their options shown: nothing is broken
    return f"{CAUSES['letter']}: it beats chance by {elsewhere[0]}"


def _letter_signs(group: Group) -> Iterator[tuple[str, str]]:
    """A letter that is always given, or one that is often right and never given."""
    n, right = len(group.rows), Counter(row.gold for row in group.rows)
    given = Counter(row.predicted for row in group.rows)
    if len(given) == 1:
        (label,) = given
        if len(right) > 1 and right[label] <= NEARLY_ALL * n:
            yield f"the answer is always {label}", CAUSES["label"]
        return
    for label, count in right.items():
        if label not in given and count >= max(GOLD_ROWS, GOLD_SHARE * n):
            yield f"the answer is never {label}, right in {count} of {n}", CAUSES["never"]


def _chat_signs(group: Group) -> Iterator[tuple[str, str]]:
    """Written answers to multiple choice that name no option, punctuation aside as in the exact match."""
    pairs = zip(group.rows, group.questions, strict=True)
    mute = sum(
        row.predicted.strip(f"{string.punctuation} ").upper() not in {*map(str.upper, question.labels), *"ABCD"}
        for row, question in pairs
    )
    if mute > MOST * len(group.rows):
        yield f"{mute} of {len(group.rows)} answers name no option", CAUSES["mute"]


def _written_signs(group: Group, known: Sequence[Group]) -> Iterator[tuple[str, str]]:
    n, empty = len(group.rows), sum(not row.predicted.strip() for row in group.rows)
    if empty > MOST * n:
        yield f"{empty} of {n} answers are empty", CAUSES["empty"]
    if (endless := _endless(group)) > NEARLY_ALL * n:
        peers = [other for other in known if (other.task, other.formulation) == (group.task, group.formulation)]
        ends = [other.model for other in peers if _endless(other) <= MOST * len(other.rows)]
        cause = f"{CAUSES['endless']}, and {ends[0]}'s does" if ends else CAUSES["long"]
        yield f"{endless} of {n} answers break off in the middle", cause


def _endless(group: Group) -> int:
    """Answers that were still going on when their room was used up, as far as a text shows it."""
    texts = (row.predicted.strip() for row in group.rows)
    return sum(len(text) >= LONG and not text.endswith(ENDS) for text in texts)
