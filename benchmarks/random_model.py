"""A random model of Qwen2.5-3B's shape and a LoRA adapter on it, made file by file: no whole model is in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

LAYERS = 36
WIDTH, INNER, VOCABULARY = 2048, 11008, 151_936
HEADS, KV_HEADS = 16, 2
BIASED = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
RANK, ALPHA = 16, 32
SPREAD = 0.02  # Qwen2's own initializer_range
SEED = 17


@dataclass(frozen=True)
class Shape:
    """A Qwen2 with Qwen2.5-3B's heads, vocabulary and tied embedding; its widths too unless a test takes others."""

    layers: int = LAYERS
    width: int = WIDTH
    inner: int = INNER

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """The linear layers of a block: outputs and inputs."""
        width, inner, kv_width = self.width, self.inner, self.width // HEADS * KV_HEADS
        return {
            "self_attn.q_proj": (width, width),
            "self_attn.k_proj": (kv_width, width),
            "self_attn.v_proj": (kv_width, width),
            "self_attn.o_proj": (width, width),
            "mlp.gate_proj": (inner, width),
            "mlp.up_proj": (inner, width),
            "mlp.down_proj": (width, inner),
        }

    @property
    def weights(self) -> int:
        """How many there are, biases and norms left out: they are less than a thousandth."""
        return VOCABULARY * self.width + self.layers * sum(rows * columns for rows, columns in self.linear.values())


def make_model(base: Path, adapter: Path, shape: Shape) -> None:
    """Write both folders; the tokenizer's files are put into `base` by the caller."""
    import torch

    torch.manual_seed(SEED)
    _write_config(base, shape)
    _write_base(base, shape)
    _write_adapter(base, adapter, shape)


def _write_config(folder: Path, shape: Shape) -> None:
    from transformers import GenerationConfig, Qwen2Config

    Qwen2Config(
        architectures=["Qwen2ForCausalLM"],
        vocab_size=VOCABULARY,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=32_768,
        rope_theta=1_000_000.0,
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        dtype="bfloat16",
        bos_token_id=151_643,
        eos_token_id=151_645,
    ).save_pretrained(folder)
    GenerationConfig(eos_token_id=[151_645, 151_643], pad_token_id=151_643).save_pretrained(folder)


def _write_base(folder: Path, shape: Shape) -> None:
    """One file for each layer and one for the embedding, with the index over them."""
    from safetensors.torch import save_file

    places: dict[str, str] = {}
    total = 0
    for number, tensors in enumerate(_shards(shape), start=1):
        name = f"model-{number:05}-of-{shape.layers + 1:05}.safetensors"
        save_file(tensors, folder / name, metadata={"format": "pt"})
        places |= dict.fromkeys(tensors, name)
        total += sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def _shards(shape: Shape) -> Iterator[dict[str, torch.Tensor]]:
    width, linear = shape.width, shape.linear
    yield {"model.embed_tokens.weight": _random(VOCABULARY, width), "model.norm.weight": 1 + _random(width)}
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        norms = ("input_layernorm", "post_attention_layernorm")
        tensors = {f"{prefix}{norm}.weight": 1 + _random(width) for norm in norms}
        tensors |= {f"{prefix}{name}.weight": _random(*extents) for name, extents in linear.items()}
        yield tensors | {f"{prefix}{name}.bias": _random(linear[name][0]) for name in BIASED}


def _random(*extents: int) -> torch.Tensor:
    import torch

    return torch.empty(extents, dtype=torch.bfloat16).normal_(0, SPREAD)


def _write_adapter(base: Path, folder: Path, shape: Shape) -> None:
    """LoRA on all seven linear layers; its updates are about a tenth of the weights."""
    import torch
    from peft import LoraConfig
    from safetensors.torch import save_file

    names = sorted(name.rpartition(".")[2] for name in shape.linear)
    config = LoraConfig(
        r=RANK, lora_alpha=ALPHA, target_modules=names, task_type="CAUSAL_LM", base_model_name_or_path=str(base)
    )
    config.inference_mode = True
    config.save_pretrained(folder)
    tensors = {}
    for layer in range(shape.layers):
        for name, (rows, columns) in shape.linear.items():
            prefix = f"base_model.model.model.layers.{layer}.{name}"
            tensors[f"{prefix}.lora_A.weight"] = torch.randn(RANK, columns) * SPREAD
            tensors[f"{prefix}.lora_B.weight"] = torch.randn(rows, RANK) * SPREAD / 2
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
