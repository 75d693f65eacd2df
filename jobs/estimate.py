"""What a training run is likely to take: FLOPs of its rows over a GPU's rate. Calculated, not measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from jobs.config import Export, Lora, Train
from jobs.gguf_export.sizes import most_bits
from jobs.training import memory

# GB, dense bf16 TFLOP/s of the makers' data sheets (T4: fp16), hourly prices of Hugging Face Jobs, August 2026.
GPUS = {
    "t4-small": (16, 65, 0.40),
    "l4x1": (24, 121, 0.80),
    "a10g-small": (24, 125, 1.00),
    "l40sx1": (48, 362, 1.80),
    "a100-large": (80, 312, 2.50),
    "h200": (141, 989, 5.00),
}
UTILISATION = 0.25  # of the sheet's rate, assumed: padded batches of 4 keep a GPU far from busy
BF16_BITS = 16
NF4_BYTES = 0.516  # a weight of a linear layer in 4 bits, with its scales scaled in turn
BESIDE = 1.1  # times what the weights need: checkpoints, adapter, data


def parameters(shape: Any) -> int:
    """Number of weights of a Qwen2-like model, biases and norms left out (less than 0.1 %)."""
    attention = 2 * shape.hidden_size * _head(shape) * (shape.num_attention_heads + shape.num_key_value_heads)
    block = attention + 3 * shape.hidden_size * shape.intermediate_size
    embeddings = shape.vocab_size * shape.hidden_size * (1 if shape.tie_word_embeddings else 2)
    return shape.num_hidden_layers * block + embeddings


def disk_bytes(weights: int, export: Export) -> float:
    """What a run needs where most of it is there: base and merged in bf16, both exports, an F16 that is thrown away."""
    files = [*{"f16", *export.types}, export.served, "f16"]
    return weights * (2 * BF16_BITS + sum(map(most_bits, files))) / 8 * BESIDE


def adapter_parameters(shape: Any, lora: Lora) -> int:
    """Weights of the adapter: its rank times the sum of each target's inputs and outputs."""
    width, inner, head = shape.hidden_size, shape.intermediate_size, _head(shape)
    queries, keys = width + head * shape.num_attention_heads, width + head * shape.num_key_value_heads
    sides = {"q_proj": queries, "k_proj": keys, "v_proj": keys, "o_proj": queries}
    sides |= dict.fromkeys(("gate_proj", "up_proj", "down_proj"), width + inner)
    return lora.r * shape.num_hidden_layers * sum(sides.get(name, 0) for name in lora.target_modules)


def training_flops(shape: Any, lengths: Sequence[int], train: Train, recompute: bool = False) -> float:
    """FLOPs over all epochs; `lengths` are the training rows' in tokens, `recompute` is gradient checkpointing.

    Forward, 2 a weight and token, and causal attention; backward through the activations as much, attention's twice;
    6 for each weight of the adapter.
    """
    weights = parameters(shape) - (0 if shape.tie_word_embeddings else shape.vocab_size * shape.hidden_size)
    attended = shape.num_hidden_layers * shape.num_attention_heads * _head(shape)
    forward = sum(2 * length * (weights + length * attended) for length in lengths)
    backward = sum(2 * length * (weights + 2 * length * attended) for length in lengths)
    adapter = 6 * adapter_parameters(shape, train.lora) * sum(lengths)
    return (forward * (2 if recompute else 1) + backward + adapter) * train.epochs


def fits_without_recomputing(shape: Any, train: Train, max_length: int, memory_gb: int) -> bool:
    """Whether a step of the longest rows has room in so many GB with its activations kept."""
    blocks = parameters(shape) - shape.vocab_size * shape.hidden_size
    weights = 2 * parameters(shape) - (blocks * (2 - NF4_BYTES) if train.quantize == "4bit" else 0)
    tokens = train.batch_size * max_length
    kept = tokens * memory.activation_bytes(shape, train)
    return memory.fits(kept, int(weights), adapter_parameters(shape, train.lora), memory_gb * 10**9)


def cost_table(shape: Any, lengths: Sequence[int], train: Train, max_length: int, what: str) -> Table:
    """Hours and US dollars of the training on each GPU type, without recomputing activations, where they fit, and with.

    `lengths` are the training rows' in tokens, none over `max_length`.
    """
    title = f"estimate for training on {what}; {UTILISATION:.0%} of the sheet's rate is assumed, not measured"
    caption = "evaluation, merge, export, ladder and upload come on top: docs/rented-gpus.md"
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left", box=None, pad_edge=False)
    for column in ("GPU", "hours", "US dollars", "hours, recomputing", "US dollars"):
        table.add_column(column, justify="left" if column == "GPU" else "right")
    flops = [training_flops(shape, lengths, train, recompute) for recompute in (False, True)]
    for name, (memory_gb, rate, price) in GPUS.items():
        hours = [each / (rate * 1e12 * UTILISATION) / 3600 for each in flops]
        cells = [f"{value:.2f}" for each in hours for value in (each, each * price)]
        fits = fits_without_recomputing(shape, train, max_length, memory_gb)
        table.add_row(f"{name} ({memory_gb} GB)", *(cells if fits else ("–", "–", *cells[2:])))
    return table


def _head(shape: Any) -> int:
    return getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
