"""Bases and adapters to merge: random, small, of any of LoRA's variants. Not a test: test modules import it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make_base(
    folder: Path, kind: str = "qwen2", *, tied: bool = True, dtype: torch.dtype | None = None, **sizes: int
) -> Path:
    """A random Qwen2 or Qwen3 of two layers without a tokenizer, in bf16 unless told otherwise."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config, Qwen3Config

    shape = {"vocab_size": 640, "hidden_size": 96, "intermediate_size": 200, "num_hidden_layers": 2} | sizes
    heads = {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 24 if kind == "qwen3" else 16}
    config = (Qwen3Config if kind == "qwen3" else Qwen2Config)(**shape, **heads, tie_word_embeddings=tied)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).to(dtype or torch.bfloat16)
        for name, weight in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                weight.data.normal_()
    model.save_pretrained(folder)
    return folder


def make_adapter(base: Path, folder: Path, **options: Any) -> Path:
    """An adapter that changes every matrix it is for; `options` are those of peft's LoraConfig."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    wanted = {"r": 4, "lora_alpha": 11, "target_modules": ALL, "task_type": "CAUSAL_LM"} | options
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**wanted))
        for name, weight in model.named_parameters():
            if "magnitude" in name:
                weight.data.mul_(torch.rand_like(weight) + 0.5)
            elif "lora_" in name:
                weight.data.normal_(std=0.2)
        model.save_pretrained(folder)
    return folder


def changed(adapter: Path, target: Path, **config: Any) -> Path:
    """A copy of an adapter with other values in its configuration."""
    shutil.copytree(adapter, target)
    path = target / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return target


def changed_base(base: Path, adapter: Path, folder: Path, **config: Any) -> tuple[Path, Path]:
    """A copy of a base to damage, with other values in config.json, and of its adapter, which names the copy."""
    shutil.copytree(base, folder / "base")
    path = folder / "base" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder / "base", changed(adapter, folder / "adapter", base_model_name_or_path=str(folder / "base"))
