"""How large the files of an export will be, from above: asked before the first byte."""

from __future__ import annotations

import math

PLAIN_BITS = {"f32": 32, "f16": 16, "bf16": 16}
LARGEST_BITS = 6.6  # of the types below Q8_0: llama.cpp gives single tensors, as the embedding, up to Q6_K
WHOLE_BITS = 8.5  # Q8_0's; also of what llama.cpp takes for rows that blocks of 256 do not fill


def most_bits(kind: str) -> float:
    """Bits a weight in a file of that type, from above."""
    return PLAIN_BITS.get(kind, WHOLE_BITS if kind == "q8_0" else LARGEST_BITS)


def most_bytes(kind: str, shape: tuple[int, ...]) -> int:
    """Of a tensor in a file of that type, from above."""
    if len(shape) < 2:
        bits = 32.0
    elif kind in PLAIN_BITS or shape[-1] % 32:
        bits = PLAIN_BITS.get(kind, 16)
    else:
        bits = WHOLE_BITS if shape[-1] % 256 else most_bits(kind)
    return math.ceil(math.prod(shape) * bits / 8)
