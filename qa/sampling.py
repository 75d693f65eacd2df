"""How the next token is drawn: llama.cpp's sampler chain, held to a grammar where one is given."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import llama_cpp
import numpy as np

from qa.llama import Context, Model

Sampler = Any  # a pointer to llama.cpp's llama_sampler
CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])  # llama_token_data


@contextmanager
def sampler(
    temperature: float, top_p: float, top_k: int, seed: int, grammar: Sampler | None = None
) -> Iterator[Callable[[Context], int]]:
    """What draws the next token from the logits of the last position computed.

    llama.cpp's sampler chain: greedy at temperature 0, else top-k, top-p, temperature, draw. The grammar is freed.
    """
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    parts = [llama_cpp.llama_sampler_init_greedy()]
    if temperature > 0:
        parts = [
            llama_cpp.llama_sampler_init_top_k(top_k),
            llama_cpp.llama_sampler_init_top_p(top_p, 1),
            llama_cpp.llama_sampler_init_temp(temperature),
            llama_cpp.llama_sampler_init_dist(seed % 0xFFFFFFFF),  # 0xFFFFFFFF itself asks for a random seed
        ]
    for part in parts:
        llama_cpp.llama_sampler_chain_add(chain, part)
    try:
        yield partial(_held, chain, grammar) if grammar else partial(_sample, chain)
    finally:
        llama_cpp.llama_sampler_free(chain)
        if grammar:
            llama_cpp.llama_sampler_free(grammar)


def grammar_sampler(model: Model, grammar: str) -> Sampler:
    """A sampler that allows only what continues a text of the grammar, in llama.cpp's notation (GBNF).

    Raises ValueError where llama.cpp cannot read the grammar.
    """
    found = llama_cpp.llama_sampler_init_grammar(model.vocabulary, grammar.encode(), b"root")
    if not found:
        raise ValueError("llama.cpp cannot read the grammar")
    return found


def _sample(chain: Sampler, context: Context) -> int:
    return llama_cpp.llama_sampler_sample(chain, context.pointer, -1)


def _held(chain: Sampler, grammar: Sampler, context: Context) -> int:
    """The token that the chain draws, if the grammar allows it; else one that it draws of those allowed.

    To look at every token of Qwen2.5's vocabulary takes 40 ms, and most that a model draws are allowed.
    """
    token = _sample(chain, context)
    one = np.array([(token, 0, 0)], CANDIDATE)
    _apply(grammar, one)
    if np.isneginf(one["logit"][0]):
        logits = context.logits([-1])[0]
        all_tokens = np.zeros(len(logits), CANDIDATE)
        all_tokens["id"], all_tokens["logit"] = np.arange(len(logits)), logits
        _apply(grammar, all_tokens)
        token = int(all_tokens["id"][_apply(chain, all_tokens)])
    llama_cpp.llama_sampler_accept(grammar, token)
    return token


def _apply(sampler: Sampler, candidates: np.ndarray) -> int:
    """Change the candidates as the sampler does; the place of the one that it selected, or -1."""
    data = candidates.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data))
    array = llama_cpp.llama_token_data_array(data=data, size=len(candidates), selected=-1, sorted=False)
    llama_cpp.llama_sampler_apply(sampler, ctypes.byref(array))
    return array.selected
