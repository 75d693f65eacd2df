"""Signs that a model is broken rather than bad, each with its likeliest cause.

A broken template, tokenizer or stop token makes figures that look like those of a weak model. What tells them apart is
in the rows: how else the same model does, and how the other models do on the same prompts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jobs.evaluation.groups import Asked, chance, groups, is_choice, tied
from qa.records import Answer, Question
from qa.statistics import wilson

CHOICE_ROWS = 40  # fewer questions leave chance inside any interval
WRITTEN_ROWS = 8
MOST, NEARLY_ALL = 0.5, 0.9  # shares of the rows that make a sign
LONG = 100  # characters: 48 tokens of English are some 200, an answer of the data set's kind is under 60
ENDS = (".", "!", "?", "]", ")", '"', "”", "…")


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
        f"{model}: {count} prompts have other token ids than {first}'s; likeliest cause: its tokenizer is another"
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
    if not group.beats_chance:
        sign = f"{group.correct} of {n} right is no better than chance ({group.chance:.1%})"
        yield sign, _cause_of_chance(group, known, differing)
    if group.formulation.startswith("letter"):
        yield from _letter_signs(group)
    if group.formulation.startswith("chat"):
        yield from _chat_signs(group)
    elif (count := tied(group.rows)) > MOST * n:
        sign = f"the two likeliest options tie in {count} of {n} questions"
        yield sign, "scores in too low a precision, or a prompt that the model reads as nothing"


def _cause_of_chance(group: Group, known: Sequence[Group], differing: Mapping[str, int]) -> str:
    """What the other figures leave as the likeliest reason for a model that guesses."""
    if group.model in differing:
        return "its tokenizer, which reads the prompts otherwise than the first model's"
    able = [other for other in known if other.beats_chance]
    elsewhere = [other.formulation for other in able if (other.model, other.task) == (group.model, group.task)]
    better = [other.model for other in able if (other.task, other.formulation) == (group.task, group.formulation)]
    if elsewhere and better:
        return f"a template it was not trained with: by {elsewhere[0]} it beats chance, and {better[0]} does here"
    if better:
        return f"its weights, damaged when they were trained, merged or quantised: {better[0]} beats chance here"
    if elsewhere and group.formulation.startswith("cloze"):
        return f"questions that need their options: it beats chance by {elsewhere[0]}"
    if elsewhere:
        return f"the template, or a model that cannot answer by letter: it beats chance by {elsewhere[0]}"
    if others := [other.task for other in able if other.model == group.model]:
        return f"this task, too hard or with wrong right answers: the model beats chance at {others[0]}"
    return "a model too small for these questions; if it is known to be able, its template or tokenizer"


def _letter_signs(group: Group) -> Iterator[tuple[str, str]]:
    """A letter that is always given, or one that is offered in most rows and never given."""
    offered = Counter(label for question in group.questions for label in question.labels)
    given = Counter(row.predicted for row in group.rows)
    if len(given) == 1:
        yield (
            f"the answer is always {next(iter(given))}",
            "the template: the turn opens with a token that is no label",
        )
        return
    for label, count in offered.items():
        if count > MOST * len(group.rows) and label not in given:
            yield f"the answer is never {label}", "the template, or a model that goes by the label and not the option"


def _chat_signs(group: Group) -> Iterator[tuple[str, str]]:
    """Written answers to multiple choice that name no option."""
    pairs = zip(group.rows, group.questions, strict=True)
    mute = sum(row.predicted.strip(" .").upper() not in {*question.labels, *"ABCD"} for row, question in pairs)
    if mute > MOST * len(group.rows):
        sign = f"{mute} of {len(group.rows)} answers name no option"
        yield sign, "the stop token or the template: the turn does not go on from its opening"


def _written_signs(group: Group, known: Sequence[Group]) -> Iterator[tuple[str, str]]:
    n, empty = len(group.rows), sum(not row.predicted.strip() for row in group.rows)
    if empty > MOST * n:
        yield f"{empty} of {n} answers are empty", "the stop token: the turn ends before its first word"
    if (endless := _endless(group)) > NEARLY_ALL * n:
        peers = [other for other in known if (other.task, other.formulation) == (group.task, group.formulation)]
        ends = [other.model for other in peers if _endless(other) <= MOST * len(other.rows)]
        cause = f"the stop token: {ends[0]} ends its turns" if ends else "a model that says much, or the stop token"
        yield f"{endless} of {n} answers break off in the middle", cause


def _endless(group: Group) -> int:
    """Answers that were still going on when their room was used up, as far as a text shows it."""
    texts = (row.predicted.strip() for row in group.rows)
    return sum(len(text) >= LONG and not text.endswith(ENDS) for text in texts)
