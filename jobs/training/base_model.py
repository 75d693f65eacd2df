"""The model that is fine-tuned, as transformers loads it; what is not Qwen2-like is refused by name."""

from __future__ import annotations

from typing import Any

from jobs.config import Train
from jobs.errors import UserError, first_line
from jobs.team import Team
from jobs.training.distributed import shard, take_over


def load_base(base: str, revision: str, settings: Train) -> tuple[Any, Any]:
    """Tokenizer and model of the base; anything but a Qwen2-like architecture is refused by name."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    check_base(base, revision)
    team = Team.current()
    sharded = take_over(settings, team.world)
    options: dict[str, Any] = {"dtype": getattr(torch, settings.dtype)}
    if settings.quantize == "4bit":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=options["dtype"],
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(base, revision=revision)
        model = AutoModelForCausalLM.from_pretrained(base, revision=revision, **options)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{base}: cannot be loaded ({first_line(error)}); check its files") from None
    if sharded:
        shard(model, team)
    return tokenizer, model


def check_base(base: str, revision: str) -> Any:
    """The base's configuration; refuses what is not there and what is not Qwen2-like."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(base, revision=revision)
    except (OSError, ValueError) as error:
        raise UserError(f"base model {base!r}: cannot be read ({first_line(error)})") from None
    if config.model_type not in ("qwen2", "qwen3"):
        raise UserError(f"base model {base!r} is a {config.model_type} model; only Qwen2 and Qwen3 dense are supported")
    return config
