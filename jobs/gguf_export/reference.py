"""What the merged model says in float32: asked once, for every file that is made from it.

Only numbers are kept (a few hundred kB), and the model is closed before llama.cpp opens a file.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import UserError
from jobs.evaluation.packing import batches
from jobs.gguf_export.accuracy import KNOWN, beats_chance, chance_of
from jobs.gguf_export.merged_model import (
    ANSWER_TOKENS,
    BATCH_TOKENS,
    Next,
    Written,
    ends_of,
    following,
    opened,
    shift_of,
    write,
)
from jobs.gguf_export.tokenisation import load_tokenizer
from jobs.progress import bar
from qa.choices import FORMULATIONS, Formulation, Item, choice_ids, pick
from qa.prompts import ask_messages
from qa.records import Question

if TYPE_CHECKING:
    from jobs.evaluation.likelihood import TransformersBackend

WRITTEN, ASKED = 32, 200  # answers that are compared word by word, questions that are asked by multiple choice
WINDOW = 2048  # tokens of prompt and answer: 75 MB of keys and values at the 3B's shape

Put = tuple[Question, Item, bool]  # a question as put to the model, and whether it was right


@dataclass(frozen=True)
class Probe:
    """A prompt and what may follow it; of a multiple-choice question its options, and whether the model is right."""

    prompt: list[int]
    following: Next
    question: Question | None = None
    options: tuple[list[int], ...] = ()
    correct: bool = False


@dataclass(frozen=True)
class Reference:
    """The merged model by its words.

    `ends` are the ids at which its generation stops, `formulation` is how it was asked by multiple choice, and `known`
    the tasks at which it then does better than chance. `shift` is by how many nats its first tokens' log-probabilities
    change in the mean when noise of relative size `NOISE` is put on every matrix.
    """

    merged: Path
    tokenizer: Any
    ends: tuple[int, ...]
    window: int
    formulation: Formulation
    known: frozenset[str]
    written: tuple[Written, ...]
    probes: tuple[Probe, ...]
    shift: float


def read_test_questions(dataset: Path) -> list[Question]:
    """The test split of a folder that build_dataset made: questions on research first, then ARC's."""
    from jobs.evaluation.built_tasks import RECENT, built_rows

    tasks = built_rows(dataset, shots=False)
    questions = [question for task, rows in tasks.items() if task != RECENT for question in rows.test]
    return sorted(questions, key=lambda question: question.task != "research")


def make_reference(merged: Path, questions: Sequence[Question], *, seed: int) -> Reference:
    """Ask the merged model, in float32 on the GPU if there is one. Raises `UserError` where it cannot be loaded.

    Of the questions, drawn with the seed, open ones are preferred for the answers in words. Those of multiple choice
    are put by letter, or by the options' words where the merged model answers letters no better than chance.
    """
    tokenizer = load_tokenizer(merged)
    drawn = _evenly(questions, seed)
    with opened(merged, tokenizer) as (model, backend):
        window = min(WINDOW, backend.window)
        prompts = _answered(merged, backend, drawn, window)
        ends = ends_of(model, tokenizer)
        written = tuple(write(model, prompts, ends))
        choice = [question for question in drawn if question.choices][:ASKED]
        formulation, asked, known = _ask(backend, choice, window)
        every = [*prompts, *(item.prompt for _, item, _ in asked)]
        followed = following(model, every)
        shift = shift_of(model, every, followed, seed)
    put = [()] * len(prompts) + [(question, tuple(item.options), right) for question, item, right in asked]
    probes = tuple(Probe(prompt, after, *rest) for prompt, after, rest in zip(every, followed, put, strict=True))
    return Reference(merged, tokenizer, ends, window, formulation, known, written, probes, shift)


def _answered(merged: Path, backend: TransformersBackend, drawn: Sequence[Question], window: int) -> list[list[int]]:
    """The prompts of the questions that are answered in words: open ones first, of those that fit with their answer."""
    open_first = sorted(drawn, key=lambda question: bool(question.choices))
    prompts = (backend.encoder.prompt(ask_messages(question.question)) for question in open_first)
    fitting = list(islice((prompt for prompt in prompts if len(prompt) + ANSWER_TOKENS <= window), WRITTEN))
    if not fitting:
        raise UserError(f"{merged}: no held-out question fits its window of {window} tokens; build another data set")
    return fitting


def _evenly(questions: Sequence[Question], seed: int) -> list[Question]:
    """Drawn with the seed, one of each task in turn: ARC has many times the questions of the project's own."""
    rank: dict[str, int] = {}
    drawn = []
    for question in random.Random(seed).sample(list(questions), len(questions)):
        rank[question.task] = rank.get(question.task, 0) + 1
        drawn.append((rank[question.task], question))
    return [question for _, question in sorted(drawn, key=lambda pair: pair[0])]


def _ask(
    backend: TransformersBackend, questions: Sequence[Question], window: int
) -> tuple[Formulation, list[Put], frozenset[str]]:
    """The questions as put by letter if the model answers a task better than chance so, else in words."""
    found = {}
    for formulation in FORMULATIONS:
        found[formulation] = list(_put(backend, questions, formulation, window))
        if known := _known(found[formulation]):
            return formulation, found[formulation], known
    return "letter", found["letter"], frozenset()


def _known(put: Sequence[Put]) -> frozenset[str]:
    """Tasks whose questions the model answers better than chance."""
    tasks = {question.task: [pair for pair in put if pair[0].task == question.task] for question, _, _ in put}
    return frozenset(
        task
        for task, asked in tasks.items()
        if beats_chance(
            [right for _, _, right in asked], chance_of([len(question.choices) for question, _, _ in asked]), KNOWN
        )
    )


def _put(
    backend: TransformersBackend, questions: Sequence[Question], formulation: Formulation, window: int
) -> Iterator[Put]:
    """Questions that fit the window, as token ids, and whether the model answers them rightly."""
    items = [choice_ids(backend.encoder, question, formulation) for question in questions]
    fitting = [n for n, item in enumerate(items) if len(item.prompt) + max(map(len, item.options)) <= window]
    lengths = [len(items[n].prompt) for n in fitting]
    with bar(len(fitting), f"ask by {formulation}", unit="question") as shown:
        for batch in batches(lengths, BATCH_TOKENS):
            chosen = [fitting[place] for place in batch]
            for n, scores in zip(chosen, backend.option_logprobs([items[n] for n in chosen]), strict=True):
                yield questions[n], items[n], pick(scores, questions[n], formulation) == questions[n].gold
            shown.update(len(batch))
