"""The merged model under transformers, in float32: what follows a prompt, greedy answers, and what noise does to it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import UserError
from jobs.evaluation.packing import batches
from jobs.progress import bar, progress
from jobs.transformers_model import load_model
from qa.prompts import END_OF_TEXT, IM_END

if TYPE_CHECKING:
    import torch

    from jobs.evaluation.likelihood import TransformersBackend

ANSWER_TOKENS = 48  # of a compared answer: two sentences
BATCH, BATCH_TOKENS = 8, 2048  # rows written, prompt tokens read at once: 233 MB of logits at Qwen2.5's vocabulary
LIKELIEST = 20  # tokens whose log-probabilities are kept at each place …
LEAST = math.log(1e-3)  # … of which the less likely are not compared: they decide no answer
NOISE = 0.07  # relative, as large as the rounding of four bits (Q4_K)


@dataclass(frozen=True)
class Next:
    """The likeliest tokens after a prompt, best first, and their natural-log probabilities, in float32 arithmetic."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]

    @property
    def compared(self) -> list[int]:
        """The tokens that decide an answer; at least the first."""
        sure = (token for token, logprob in zip(self.ids, self.logprobs, strict=True) if logprob >= LEAST)
        return list(sure) or [self.ids[0]]

    def behind(self, token: int) -> float:
        """By how many nats a token is less likely than the first; for one that is not listed, the least it can be."""
        place = self.ids.index(token) if token in self.ids else -1
        return self.logprobs[0] - self.logprobs[place]


@dataclass(frozen=True)
class Written:
    """A greedy answer: `steps` has, for each of its tokens, the likeliest at that place; the first is the answer's."""

    prompt: list[int]
    steps: tuple[Next, ...]

    @property
    def ids(self) -> list[int]:
        """The tokens of the answer, with the one that ends it."""
        return [step.ids[0] for step in self.steps]


@contextmanager
def opened(merged: Path, tokenizer: Any) -> Iterator[tuple[Any, TransformersBackend]]:
    """The merged model in float32, and as what an evaluation asks; freed after."""
    import torch

    from jobs.evaluation.likelihood import TransformersBackend

    model = load_model(merged, dtype="float32")
    try:
        backend = TransformersBackend(model, tokenizer)
    except ValueError as error:
        raise UserError(f"{merged}: {error}") from None
    try:
        with torch.inference_mode():
            yield model, backend
    finally:
        backend.close()


def ends_of(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """The ids at which generation stops, the end of the turn and of the text among them."""
    named = model.generation_config.eos_token_id
    ids = named if isinstance(named, list) else [named] if named is not None else []
    return tuple(sorted({*ids, *tokenizer.convert_tokens_to_ids([IM_END, END_OF_TEXT])}))


def _after(model: Any, prompts: Sequence[list[int]], what: str) -> Iterator[tuple[int, torch.Tensor]]:
    """Each prompt's number and the log-probabilities [vocabulary] after it, in no order.

    Prompts are padded behind, where a causal model does not look.
    """
    import torch

    with bar(len(prompts), what, unit="prompt") as shown:
        for batch in batches([len(prompt) for prompt in prompts], BATCH_TOKENS):
            rows = [prompts[n] for n in batch]
            longest, last = max(map(len, rows)), [len(row) - 1 for row in rows]
            ids = torch.tensor([row + [row[-1]] * (longest - len(row)) for row in rows], device=model.device)
            states = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
            yield from zip(
                batch, model.get_output_embeddings()(states[range(len(rows)), last]).log_softmax(-1), strict=True
            )
            shown.update(len(rows))


def following(model: Any, prompts: Sequence[list[int]]) -> list[Next]:
    """What may follow each prompt, in their order."""
    found = {n: _likeliest(row[None])[0] for n, row in _after(model, prompts, "first tokens")}
    return [found[n] for n in range(len(prompts))]


def _likeliest(logprobs: torch.Tensor) -> list[Next]:
    """The likeliest tokens of each row [rows, vocabulary]."""
    values, ids = logprobs.topk(LIKELIEST)
    return [Next(tuple(numbers), tuple(row)) for numbers, row in zip(ids.tolist(), values.tolist(), strict=True)]


def shift_of(model: Any, prompts: Sequence[list[int]], followed: Sequence[Next], seed: int) -> float:
    """The mean change, in nats, of the compared log-probabilities when noise is put on every matrix.

    The model is spoilt after.
    """
    import torch

    drawn = torch.Generator(model.device).manual_seed(seed)
    for weight in model.parameters():
        if weight.ndim == 2:
            noise = torch.randn(weight.shape, generator=drawn, device=weight.device)
            weight.add_(noise, alpha=NOISE * float(weight.square().mean().sqrt()))
    changes: list[float] = []
    for n, row in _after(model, prompts, "noise"):
        compared = followed[n].compared
        changes += (row[compared] - torch.tensor(followed[n].logprobs[: len(compared)]).to(row)).abs().tolist()
    return sum(changes) / len(changes)


def write(model: Any, prompts: Sequence[list[int]], ends: Sequence[int]) -> Iterator[Written]:
    """Greedy answers, batch by batch, padded before."""
    import torch
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=list(ends), pad_token_id=ends[0], max_new_tokens=ANSWER_TOKENS,
        output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    for start in progress(range(0, len(prompts), BATCH), "answers", unit="batch"):
        rows = prompts[start : start + BATCH]
        pads = [max(map(len, rows)) - len(row) for row in rows]
        ids = [[ends[0]] * pad + row for pad, row in zip(pads, rows, strict=True)]
        mask = [[0] * pad + [1] * len(row) for pad, row in zip(pads, rows, strict=True)]
        placed = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
        out = model.generate(**{name: value.to(model.device) for name, value in placed.items()})
        steps = [_likeliest(logits.float().log_softmax(-1)) for logits in out.logits]
        yield from (Written(row, _until_end([step[n] for step in steps], ends)) for n, row in enumerate(rows))


def _until_end(steps: Sequence[Next], ends: Sequence[int]) -> tuple[Next, ...]:
    length = next((place for place, step in enumerate(steps, start=1) if step.ids[0] in ends), len(steps))
    return tuple(steps[:length])
