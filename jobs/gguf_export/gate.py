"""Is a GGUF file the merged model? Property by property, and nothing is returned of a file that is not.

`make_reference` asks the merged model under transformers once, `verify_file` then opens each file with llama.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobs.gguf_export.comparison import (
    LARGEST,
    Accuracy,
    Answers,
    Numbers,
    check_accuracy,
    check_answers,
    check_numbers,
    read_probes,
    write_answers,
)
from jobs.gguf_export.header import check_shape, check_type
from jobs.gguf_export.properties import refused
from jobs.gguf_export.reader import GgufFile, open_whole
from jobs.gguf_export.reference import Reference, make_reference, read_test_questions
from jobs.gguf_export.tokenisation import check_stop, check_template, check_tokens, check_vocabulary
from jobs.gguf_export.weights import Weights, check_weights
from qa.engine import Engine, threads_for
from qa.llama import Context, Model, ModelFileError

__all__ = ["Reference", "Verdict", "make_reference", "read_file", "read_test_questions", "verify_file"]


@dataclass(frozen=True)
class Verdict:
    """What was compared of one file, and how far it is from the merged model; there is none of a file that fails.

    `entries` of the vocabulary, `rendered` prompts by the template, `golden` prompts tokenised, ids that end an answer.
    """

    file: str
    kind: str
    entries: int
    rendered: int
    golden: int
    ends: tuple[int, ...]
    weights: Weights
    numbers: Numbers
    answers: Answers
    accuracy: Accuracy | None
    sentence: str
    passed: bool = True


def verify_file(path: Path, kind: str, reference: Reference) -> Verdict:
    """Compare a file of type `kind` with the merged model. Raises `UserError` naming the property that differs."""
    file, tokenizer = read_file(path, kind, reference.merged), reference.tokenizer
    entries = check_vocabulary(file, tokenizer)
    rendered = check_template(file, tokenizer)
    with _opened(path, reference.window) as (model, context, engine):
        golden = check_tokens(file, model, tokenizer)
        ends = check_stop(file, model, tokenizer, reference.ends)
        weights = check_weights(file, reference.merged)
        heard = read_probes(engine, reference.probes)
        numbers = check_numbers(path, kind, reference, heard, weights)
        answers = check_answers(path, kind, reference, write_answers(model, context, reference.written), numbers.bound)
    accuracy = check_accuracy(path, reference, heard)
    said = _sentence(path, kind, (entries, golden), weights, numbers, answers, accuracy)
    return Verdict(path.name, kind, entries, rendered, golden, ends, weights, numbers, answers, accuracy, said)


def read_file(path: Path, kind: str, merged: Path) -> GgufFile:
    """What needs no model to be asked: is the file whole, of its type, and of the model's shape?"""
    file = open_whole(path)
    check_type(file, kind)
    check_shape(file, merged)
    return file


@contextmanager
def _opened(path: Path, window: int) -> Iterator[tuple[Model, Context, Engine]]:
    """The file in llama.cpp: for answers by their token ids, and as the page serves it."""
    threads = threads_for(path)
    with ExitStack() as stack:
        try:
            model = Model(path)
            stack.callback(model.close)
            engine = stack.enter_context(Engine(path.stem, model, Context(model, window, threads)))
            context = Context(model, window, threads)
        except ModelFileError as error:
            raise refused(path, "whole", str(error).removeprefix(f"{path}: ")) from None
        stack.callback(context.close)  # before the engine, which frees the weights
        yield model, context, engine


def _sentence(
    path: Path,
    kind: str,
    counts: tuple[int, int],
    weights: Weights,
    numbers: Numbers,
    answers: Answers,
    accuracy: Accuracy | None,
) -> str:
    """The verdict in words, for a card."""
    entries, golden = counts
    most = f"{numbers.bound:.2g} {'at most' if kind in LARGEST else 'in the mean'} is allowed"
    return (
        f"{path.name} was opened by llama.cpp and compared with the model it was made from, under transformers in "
        f"float32: its type and shape are as promised, its {entries:,} tokens and its chat template the same, and so "
        f"are the ids of {golden} golden prompts (normalised to NFC, as the model's tokenizer does and llama.cpp does "
        f"not) and the tokens that end an answer; all {weights.tensors} tensors are that model's, with a relative "
        f"error of {weights.error:.2g} at most; after {numbers.prompts} held-out prompts the log-probabilities of the "
        f"first token differ by {numbers.mean:.2g} nats in the mean and {numbers.largest:.2g} at most ({most}); of "
        f"{answers.asked} greedy answers {answers.same_first} begin with the same token and {answers.equal} are the "
        f"same to the last{_right(accuracy)}."
    )


def _right(accuracy: Accuracy | None) -> str:
    if accuracy is None:
        return ""
    said = f"it answers {accuracy.file} of {accuracy.asked} multiple-choice questions rightly, its model"
    if not accuracy.judged:
        return f"; {said} {accuracy.merged}, which is no better than chance, so that this says nothing"
    return f"; {said} {accuracy.merged} (95 % interval {accuracy.low:.1%} to {accuracy.high:.1%})"
