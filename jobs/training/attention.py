"""Attention inside rows that lie one after another.

With bfloat16 on a GPU that has it (Ampere and newer) torch's own FlashAttention takes the rows' bounds (`varlen_attn`,
Dao 2023, arXiv 2307.08691), and nothing beside torch need be installed. Elsewhere transformers' SDPA gets a mask that
lets no row see another, made from the positions.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

VARLEN = "varlen"


def attention_for(dtype: torch.dtype) -> str:
    """The name, in transformers, of the attention to train with here."""
    if dtype != torch.bfloat16 or not torch.cuda.is_available() or torch.cuda.get_device_capability()[0] < 8:
        return "sdpa"
    return register()


def register() -> str:
    """Tell transformers of `varlen_attention`, and the name that it goes by."""
    AttentionInterface.register(VARLEN, varlen_attention)
    AttentionMaskInterface.register(VARLEN, sdpa_mask)  # for batches that are padded, as in an evaluation
    return VARLEN


def varlen_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of heads (1 × heads × tokens × width) within the bounds that the collator gives."""
    from torch.nn.attention.varlen import varlen_attn

    if cu_seq_lens_q is None or max_length_q is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    heads = (part[0].transpose(0, 1) for part in (query, key, value))
    bounds, longest = (cu_seq_lens_q, cu_seq_lens_q), (max_length_q, max_length_q)
    found = varlen_attn(*heads, *bounds, *longest, scale=scaling, window_size=(-1, 0), enable_gqa=True)
    return found[None], None
