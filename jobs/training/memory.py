"""Whether a step's activations fit into a GPU's memory, or have to be computed again in the backward pass."""

from __future__ import annotations

from typing import Any

from jobs.config import Train

SPARE = 0.9  # of what is free: the allocator's rounding, the kernels' own
ADAPTER_BYTES = 16  # a trained parameter in float32: itself, its gradient, AdamW's two moments
WORK_BYTES = 2_000_000_000  # chunked logits, and work space


def recompute(model: Any, settings: Train, tokens: int) -> bool:
    """Whether a step of so many tokens asks for gradient checkpointing; what the configuration says comes first."""
    import torch

    if settings.gradient_checkpointing is not None:
        return settings.gradient_checkpointing
    if not torch.cuda.is_available():
        return False
    free, _ = torch.cuda.mem_get_info()
    weights = sum(weight.nbytes for weight in model.parameters() if not weight.is_cuda)  # still to be moved there
    activations = tokens * activation_bytes(model.config, settings)
    return not fits(activations, weights, adapter_parameters(model, settings), free)


def fits(activations: int, weights: int, trained: int, free: int) -> bool:
    """Whether a step's activations, weights (bytes) and trained parameters (count) have room in so many bytes."""
    return activations + weights + ADAPTER_BYTES * trained + WORK_BYTES <= SPARE * free


def activation_bytes(config: Any, settings: Train) -> int:
    """Bytes that the backward pass keeps of each token, LoRA on all linear layers.

    Fitted to what autograd saves of one layer in bfloat16, at five shapes: 29 bytes a unit of the width, 9.5 of the
    feed-forward's, 5 of keys and values; dropout keeps its inputs too, 24 and 4 more. In float32 it is 1.6 times as
    much. For Qwen2.5-3B that is 5.9 MB without dropout and 9.3 MB with it; saved were 5.2 and 8.6.
    """
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    dropped = settings.lora.dropout > 0
    width, inner = (53, 13.5) if dropped else (29, 9.5)
    layer = width * config.hidden_size + inner * config.intermediate_size + 5 * head * config.num_key_value_heads
    return int(config.num_hidden_layers * layer * (1.6 if settings.dtype == "float32" else 1))


def adapter_parameters(model: Any, settings: Train) -> int:
    """Parameters of the adapter: its rank times the sum of each target's inputs and outputs."""
    targets = (part for name, part in model.named_modules() if name.split(".")[-1] in settings.lora.target_modules)
    return sum(settings.lora.r * (part.in_features + part.out_features) for part in targets)
