"""The merged model's numbers against a file's, as llama.cpp computes them: first tokens, greedy answers, accuracy.

What four bits do to a model depends on the model: the mean change of its first tokens' log-probabilities was 0.10 nats
in the trained tiny model and 1.7 in a random one. So the bound is set by the merged model itself: noise as large as the
file's own rounding error moves it by so much (`Reference.shift`), and a file may move it by twice that. In ten models
of 2 to 36 layers (one trained, with six draws of the noise; nine random, two of them with heavy-tailed weights) and six
types, files moved it by 0.39 to 1.56 of that forecast. In the trained one a single matrix of the first layer that is
zeroed or transposed moves a Q4_K_M file by more; what is within the bound, such as a lost bias or a norm a tenth too
large, is found by its weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.gguf_export.accuracy import beats_chance, chance_of, worse
from jobs.gguf_export.merged_model import ANSWER_TOKENS, NOISE, Written
from jobs.gguf_export.properties import refused
from jobs.gguf_export.reference import Probe, Reference
from jobs.gguf_export.weights import Weights
from jobs.progress import progress
from qa.choices import Formulation, pick
from qa.engine import Engine
from qa.llama import BATCH, Context, Model
from qa.statistics import wilson

# Nats, at most. llama.cpp keeps what attention reads in F16 and multiplies in the file's type, and BF16 has 3 bits less
# than F16. In eleven models F32 moved by 0.082 at most, F16 by 0.082, BF16 by 0.43, the trained one of them by 0.0025,
# 0.0026 and 0.0096; beyond 0.05 and 0.4 there were only random models that turn the noise of `Reference.shift` into 1.2
# to 2.5 nats (0.08 in the trained one). A model beyond `ORDINARY` may move by as much more as it moves by that noise:
# then 20 times the mean that is forecast of rounding to 11 bits or 8, where 12.6 times was seen. A single matrix zeroed
# in the trained one moved it by 1.5, its layer's bias of v by 0.03.
LARGEST = {"f32": 0.05, "f16": 0.05, "bf16": 0.4}
ORDINARY = 0.7
SLACK = 2  # times the forecast, in the mean: above the 1.56 that was seen
ACTIVATIONS = 0.01  # relative: quantised types multiply with activations of eight bits
CHUNKING = 0.02  # nats: how a prompt is cut into batches alone moves them by 0.01
FLIP, MEAN_FLIP = 2, 4  # a token that overtakes another, in bounds of the numbers; in the mean 2.4 were seen at most


@dataclass(frozen=True)
class Heard:
    """What a file says at a probe: log-probabilities of the reference's likeliest tokens, and of the options."""

    logprobs: tuple[float, ...]
    options: tuple[float, ...]


@dataclass(frozen=True)
class Numbers:
    """Differences of log-probabilities in nats.

    `bound` is on the largest of a plain file, on the mean of a quantised one.
    """

    prompts: int
    compared: int
    mean: float
    largest: float
    bound: float


@dataclass(frozen=True)
class Answers:
    """Greedy answers: how many equal word for word, how many begin alike, and how far behind a token that differs was.

    `gap` is in nats under the merged model, where the answers part: the largest of a plain file, the mean over all
    answers of a quantised one. `bound` is on it.
    """

    asked: int
    equal: int
    same_first: int
    gap: float
    bound: float


@dataclass(frozen=True)
class Accuracy:
    """Right answers by multiple choice; `low` and `high` bound the merged model's share (Wilson, 95 %).

    `judged` where the merged model does better than chance at some task; then the counts are of these tasks alone.
    """

    formulation: Formulation
    judged: bool
    asked: int
    merged: int
    file: int
    low: float
    high: float


def read_probes(engine: Engine, probes: Sequence[Probe]) -> list[Heard]:
    """Every prompt once; a question's options are scored along with the likeliest tokens."""
    heard = []
    for probe in progress(probes, "verify numbers", unit="prompt"):
        single = [[token] for token in probe.following.ids]
        scores = engine.option_logprobs(probe.prompt, [*single, *probe.options])
        heard.append(Heard(tuple(scores[: len(single)]), tuple(scores[len(single) :])))
    return heard


def check_numbers(path: Path, kind: str, reference: Reference, heard: Sequence[Heard], weights: Weights) -> Numbers:
    """Compare the log-probabilities of the likely first tokens."""
    gaps = [
        abs(ours - theirs)
        for probe, said in zip(reference.probes, heard, strict=True)
        for _, ours, theirs in zip(probe.following.compared, probe.following.logprobs, said.logprobs, strict=False)
    ]
    mean, largest = sum(gaps) / len(gaps), max(gaps, key=lambda gap: gap if gap == gap else math.inf)
    bound = numbers_bound(kind, reference, weights)
    which, found = ("at most", largest) if kind in LARGEST else ("in the mean", mean)
    if not found <= bound:  # NaN too
        what = f"log-probabilities of the first token differ by {found:.3g} nats {which}, {bound:.2g} is allowed"
        raise refused(path, "numbers", what)
    return Numbers(len(heard), len(gaps), mean, largest, bound)


def numbers_bound(kind: str, reference: Reference, weights: Weights) -> float:
    """In nats: on the largest difference of a plain type, on the mean of a quantised one."""
    if kind in LARGEST:
        return LARGEST[kind] * max(1.0, reference.shift / ORDINARY)
    return max(CHUNKING, SLACK * reference.shift * math.hypot(weights.mean, ACTIVATIONS) / NOISE)


def write_answers(model: Model, context: Context, written: Sequence[Written]) -> list[list[int]]:
    """The file's greedy answers to the same prompts, as token ids with the one that ends them."""
    return [_greedy(model, context, one.prompt) for one in progress(written, "verify answers", unit="answer")]


def _greedy(model: Model, context: Context, prompt: Sequence[int]) -> list[int]:
    context.forget(-1)
    for start in range(0, len(prompt), BATCH):
        part = prompt[start : start + BATCH]
        context.decode(part, range(start, start + len(part)), [0] * len(part), [len(part) - 1])
    ids = [int(context.logits([len(part) - 1])[0].argmax())]
    while len(ids) < ANSWER_TOKENS and not model.ends_generation(ids[-1]):
        context.decode(ids[-1:], [len(prompt) + len(ids) - 1], [0], [0])
        ids.append(int(context.logits([0])[0].argmax()))
    return ids


def check_answers(path: Path, kind: str, reference: Reference, answers: Sequence[list[int]], numbers: float) -> Answers:
    """Compare greedy answers: where one parts from the merged model's, that must have been a near tie.

    `numbers` is the bound of the log-probabilities: two tokens change places only where they are closer than twice it.
    """
    pairs = list(zip(reference.written, answers, strict=True))
    gaps = [_gap(one, ids) for one, ids in pairs]
    plain = kind in LARGEST
    gap, bound = (max(gaps), FLIP * numbers) if plain else (sum(gaps) / len(gaps), MEAN_FLIP * numbers)
    if gap > bound:
        which = "at most" if plain else "in the mean"
        what = f"its greedy answers part from the model's where that is sure, by {gap:.3g} nats {which}"
        raise refused(path, "answers", f"{what}, {bound:.2g} is allowed")
    same = sum(one.ids[0] == ids[0] for one, ids in pairs)
    return Answers(len(pairs), sum(one.ids == ids for one, ids in pairs), same, gap, bound)


def _gap(one: Written, ids: Sequence[int]) -> float:
    """How far the file's token was behind where the answers part; 0 where they do not."""
    parted = ((step, token) for step, token in zip(one.steps, ids, strict=False) if step.ids[0] != token)
    return next((step.behind(token) for step, token in parted), 0.0)


def check_accuracy(path: Path, reference: Reference, heard: Sequence[Heard]) -> Accuracy | None:
    """Compare right answers by multiple choice; None where no such question was given."""
    form, asked = (
        reference.formulation,
        [pair for pair in zip(reference.probes, heard, strict=True) if pair[0].question],
    )
    if known := [pair for pair in asked if pair[0].question.task in reference.known]:
        asked = known
    if not asked:
        return None
    merged = [probe.correct for probe, _ in asked]
    file = [pick(said.options, probe.question, form) == probe.question.gold for probe, said in asked]
    low, high = wilson(sum(merged), len(merged))
    said = f"answers {sum(file)} of {len(file)} questions rightly by {form}, the model {sum(merged)}"
    if known and sum(file) / len(file) < low:
        raise refused(path, "accuracy", f"{said}: below its 95 % interval, which begins at {low:.1%}")
    chance = chance_of([len(probe.options) for probe, _ in asked])
    if known and not beats_chance(file, chance) and worse(merged, file):
        raise refused(path, "accuracy", f"{said}: no better than chance ({chance:.1%})")
    return Accuracy(form, bool(known), len(file), sum(merged), sum(file), low, high)
