"""The model that is fine-tuned, as transformers loads it; what is not Qwen2-like is refused by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jobs.config import Train
from jobs.errors import UserError, first_line
from jobs.hub import commit_of
from jobs.placing import CHECKPOINTS, beside
from jobs.team import Team
from jobs.training.distributed import shard, take_over
from jobs.training.whole import arguments_in, newest_marked
from jobs.transformers_model import load_whole

_COMMIT = re.compile(r"[0-9a-f]{40}")


def commit_for(base: str, asked: str, out: Path) -> str:
    """The commit of a base on the Hub that is trained: what the training in `out` began with, or what is asked for.

    It is recorded, so that nobody merges into what the branch became later. Where it is known the Hub is not asked.
    """
    partial = beside(out, "partial")
    if newest_marked(partial / CHECKPOINTS):
        known = arguments_in(partial)
        if (known.get("base"), known.get("revision_asked")) == (base, asked):
            return known["revision"]
    return asked if _COMMIT.fullmatch(asked) else commit_of(base, asked)


def load_base(base: str, revision: str, settings: Train) -> tuple[Any, Any]:
    """Tokenizer and model of the base; anything but a Qwen2-like architecture is refused by name."""
    import torch
    from transformers import AutoTokenizer, BitsAndBytesConfig

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
    except (OSError, ValueError) as error:
        raise UserError(f"{base}: its tokenizer cannot be loaded ({first_line(error)}); check its files") from None
    model = load_whole(base, revision=revision, **options)
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
