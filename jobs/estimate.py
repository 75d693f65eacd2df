"""What a training run is likely to take: FLOPs of its rows over a GPU's rate. Calculated, not measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from jobs.config import Export
from jobs.gguf_export.sizes import most_bits

# Dense bf16 TFLOP/s from the makers' data sheets (T4: fp16) and hourly prices of Hugging Face Jobs, August 2026.
GPUS = {
    "t4-small (16 GB)": (65, 0.40),
    "l4x1 (24 GB)": (121, 0.80),
    "a10g-small (24 GB)": (125, 1.00),
    "a100-large (80 GB)": (312, 2.50),
    "h200 (141 GB)": (989, 5.00),
}
UTILISATION = 0.25  # of the sheet's rate, assumed: padded batches of 4 with recomputation keep a GPU far from busy
BACKWARD = 2.0  # passes beside the forward one: through activations, and recomputation under checkpointing
BF16_BITS = 16
BESIDE = 1.1  # times what the weights need: checkpoints, adapter, data
OTHER_TIME = 0.5  # evaluation, merge, export and upload as a share of training, assumed


def parameters(shape: Any) -> int:
    """Number of weights of a Qwen2-like model, biases and norms left out (less than 0.1 %)."""
    head = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
    attention = 2 * shape.hidden_size * head * (shape.num_attention_heads + shape.num_key_value_heads)
    block = attention + 3 * shape.hidden_size * shape.intermediate_size
    embeddings = shape.vocab_size * shape.hidden_size * (1 if shape.tie_word_embeddings else 2)
    return shape.num_hidden_layers * block + embeddings


def disk_bytes(weights: int, export: Export) -> float:
    """What a run needs where most of it is there: base and merged in bf16, both exports, an F16 that is thrown away."""
    files = [*{"f16", *export.types}, export.served, "f16"]
    return weights * (2 * BF16_BITS + sum(map(most_bits, files))) / 8 * BESIDE


def training_flops(weights: int, lengths: Sequence[int], epochs: float) -> float:
    """2 FLOPs a weight and token, forward and backward; `lengths` are the training rows' in tokens."""
    return 2 * weights * (1 + BACKWARD) * sum(lengths) * epochs


def cost_table(flops: float, what: str) -> Table:
    """Hours and US dollars on each GPU type."""
    title = f"estimate for {what}; {UTILISATION:.0%} of the sheet's rate is assumed, not measured"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("GPU", "hours", "US dollars"):
        table.add_column(column, justify="left" if column == "GPU" else "right")
    for name, (rate, price) in GPUS.items():
        hours = flops / (rate * 1e12 * UTILISATION) / 3600 * (1 + OTHER_TIME)
        table.add_row(name, f"{hours:.2f}", f"{hours * price:.2f}")
    return table
