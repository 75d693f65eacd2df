"""How the next token is drawn: llama.cpp's sampler chain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import llama_cpp

from qa.llama import Context


@contextmanager
def sampler(temperature: float, top_p: float, top_k: int, seed: int) -> Iterator[llama_cpp.llama_sampler_p]:
    """llama.cpp's sampler chain: greedy at temperature 0, else top-k, top-p, temperature, draw."""
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
        yield chain
    finally:
        llama_cpp.llama_sampler_free(chain)


def sample(chain: llama_cpp.llama_sampler_p, context: Context) -> int:
    """Draw the next token from the logits of the last position computed."""
    return llama_cpp.llama_sampler_sample(chain, context.pointer, -1)
