"""How the next token is drawn: llama.cpp's sampler chain, held to a grammar where one is given."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, Self

import llama_cpp
import numpy as np

from qa.llama import Context, Model

Pointer = Any  # to llama.cpp's llama_sampler
CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])  # llama_token_data
PENALISED = 64  # last tokens of an answer whose repetition is made less likely


@dataclass(frozen=True)
class Draw:
    """How a token is chosen of those that may follow; the likeliest at temperature 0."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 1
    repeat_penalty: float = 1.0
    seed: int = 0

    @classmethod
    def clamped(
        cls, temperature: float, top_p: float, top_k: float, repeat_penalty: float, seed: int, vocabulary: int
    ) -> Self:
        """The values brought into the ranges that llama.cpp works in."""
        return cls(
            _clamp(temperature, 0, 2),
            _clamp(top_p, 0.01, 1),
            int(_clamp(top_k, 1, vocabulary)),
            _clamp(repeat_penalty, 1, 2),
            seed % 0xFFFFFFFF,  # 0xFFFFFFFF itself asks for a random seed
        )


class Sampler:
    """Draws an answer's tokens, one after the other, and remembers them; `close` frees it.

    The grammar, in llama.cpp's notation (GBNF), allows only what continues a text of it. Raises ValueError where
    llama.cpp cannot read it.
    """

    def __init__(self, draw: Draw, model: Model, grammar: str = "") -> None:
        self._grammar = _grammar(model, grammar) if grammar else None
        self._likeliest = draw.temperature <= 0 and draw.repeat_penalty == 1
        self._chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        for part in _parts(draw, model.size):
            llama_cpp.llama_sampler_chain_add(self._chain, part)

    def next(self, context: Context, index: int = -1) -> int:
        """A token to follow position `index` of the last batch."""
        if self._likeliest:
            token = context.likeliest(index)
        else:
            token = llama_cpp.llama_sampler_sample(self._chain, context.pointer, index)
        return token if self._grammar is None else self._held(token, context, index)

    def _held(self, token: int, context: Context, index: int) -> int:
        """The drawn token, if the grammar allows it; else one that is drawn of those allowed.

        To look at every token of Qwen2.5's vocabulary takes 40 ms, and most that a model draws are allowed.
        """
        one = np.array([(token, 0, 0)], CANDIDATE)
        _apply(self._grammar, one)
        if np.isneginf(one["logit"][0]):
            logits = context.logits([index])[0]
            all_tokens = np.zeros(len(logits), CANDIDATE)
            all_tokens["id"], all_tokens["logit"] = np.arange(len(logits)), logits
            _apply(self._grammar, all_tokens)
            token = int(all_tokens["id"][_apply(self._chain, all_tokens)])
        llama_cpp.llama_sampler_accept(self._grammar, token)
        return token

    def close(self) -> None:
        """Free the memory; safe to repeat."""
        chain, grammar, self._chain, self._grammar = self._chain, self._grammar, None, None
        for part in (chain, grammar):
            if part:
                llama_cpp.llama_sampler_free(part)


def _parts(draw: Draw, vocabulary: int) -> list[Pointer]:
    """Penalty, top-k, top-p, temperature, draw; or penalty and the likeliest. A penalty of 1 is none."""
    parts = []
    if draw.repeat_penalty != 1:
        parts.append(llama_cpp.llama_sampler_init_penalties(vocabulary, PENALISED, draw.repeat_penalty, 0.0, 0.0))
    if draw.temperature <= 0:
        return [*parts, llama_cpp.llama_sampler_init_greedy()]
    return [
        *parts,
        llama_cpp.llama_sampler_init_top_k(draw.top_k),
        llama_cpp.llama_sampler_init_top_p(draw.top_p, 1),
        llama_cpp.llama_sampler_init_temp(draw.temperature),
        llama_cpp.llama_sampler_init_dist(draw.seed),
    ]


def _grammar(model: Model, grammar: str) -> Pointer:
    found = llama_cpp.llama_sampler_init_grammar(model.vocabulary, grammar.encode(), b"root")
    if not found:
        raise ValueError("llama.cpp cannot read the grammar")
    return found


def _apply(sampler: Pointer, candidates: np.ndarray) -> int:
    """Change the candidates as the sampler does; the place of the one that it selected, or -1."""
    data = candidates.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data))
    array = llama_cpp.llama_token_data_array(data=data, size=len(candidates), selected=-1, sorted=False)
    llama_cpp.llama_sampler_apply(sampler, ctypes.byref(array))
    return array.selected


def _clamp(value: float, low: float, high: float) -> float:
    """Into the range; what is not a number becomes the lowest value."""
    return min(max(value, low), high) if value == value else low
