"""The sides of the training benchmark, each in a process of its own: the same rows, adapter, seed and steps.

The first step is not counted: it reads the weights into memory and sets up the optimiser. Tokens are those of prompts
and answers; padding is not counted on any side.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.paired import own_peak_bytes
from jobs.config import Train
from jobs.training_rows import IGNORED, Turns, encode_row
from qa.records import Record

SEED = 17
RANK, ALPHA, DROPOUT = 16, 32, 0.05


class Work(Record):
    """What every side trains on: `model` is a folder with its tokenizer; each row is prompt and completion."""

    model: str
    rows: tuple[tuple[Turns, Turns], ...]
    batch: int
    max_length: int
    device: str
    quantize: str = "none"


class Taken(Record):
    """From the end of the first step to the end of the last. CPU seconds are user's and system's together."""

    tokens: int
    answer_tokens: int  # by their share in the rows' tokens
    steps: int
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int  # resident, or on the GPU
    losses: tuple[float, ...]
    matrix_rate: float = 0.0  # FLOP/s of the GPU's bfloat16 products, taken in this process


def take(side: str, work: str, result: str) -> None:
    """Let a side of `SIDES` do the work in one file and write what it took to another."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    torch.set_num_threads(1)  # a second one's waiting would be counted as work where cores are shared
    task = Work.model_validate_json(Path(work).read_text())
    Path(result).write_text(run(side, task, Path(result).parent).model_dump_json())


def run(side: str, work: Work, folder: Path) -> Taken:
    """Build the side's trainer, then time it."""
    from transformers import set_seed

    set_seed(SEED)
    trainer = SIDES[side](work, folder)
    clock = _clock()(work.device)
    trainer.add_callback(clock)
    trainer.train()
    losses = tuple(entry["loss"] for entry in trainer.state.log_history if "loss" in entry)
    return clock.taken(losses, _answer_share(work))


def seed_recipe(work: Work, folder: Path) -> Any:
    """transformers' Trainer on rows that are padded to the longest length, with labels on all their tokens."""
    from peft import get_peft_model
    from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

    tokenizer, model = _loaded(work)
    options = {"padding": "max_length", "max_length": work.max_length, "truncation": True, "return_tensors": None}
    data = [dict(tokenizer(_text(row, tokenizer), **options)) for row in work.rows]
    return Trainer(
        model=get_peft_model(model, _lora()),
        args=TrainingArguments(**_arguments(work, folder), bf16=work.device == "cuda"),
        train_dataset=data,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
    )


def trl_defaults(work: Work, folder: Path) -> Any:
    """`trl sft` as its script builds it, with its defaults but the rows of a batch and what is logged."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    tokenizer, model = _loaded(work)
    rows = [{"prompt": prompt, "completion": completion} for prompt, completion in work.rows]
    return SFTTrainer(
        model=model,
        args=SFTConfig(**_arguments(work, folder)),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=_lora(),
    )


def ours(work: Work, folder: Path, *, packing: bool = False) -> Any:
    """As `jobs.train` builds it."""
    from datasets import Dataset

    from jobs.training.base_model import load_base
    from jobs.training.trainer import build_trainer
    from qa.prompts import PromptEncoder

    settings = Train(
        batch_size=work.batch,
        epochs=1,
        quantize=work.quantize,
        dtype="bfloat16" if work.device == "cuda" else "float32",
        packing=packing,
        lora={"r": RANK, "alpha": ALPHA, "dropout": DROPOUT},
    )
    tokenizer, model = load_base(work.model, "main", settings)
    encoder = PromptEncoder.from_transformers(tokenizer)
    rows = Dataset.from_list([encode_row(prompt, completion, encoder) for prompt, completion in work.rows])
    trainer = build_trainer(
        model, tokenizer, rows, rows.select([0]), settings, folder / "ours", work.max_length, SEED, []
    )
    trainer.args.save_strategy, trainer.args.logging_steps = "no", 1
    return trainer


def ours_packed(work: Work, folder: Path) -> Any:
    """The same with `train.packing`: fewer steps of more rows."""
    return ours(work, folder, packing=True)


SIDES: dict[str, Callable[[Work, Path], Any]] = {
    "seed": seed_recipe,
    "trl": trl_defaults,
    "ours": ours,
    "packed": ours_packed,
}


def _loaded(work: Work) -> tuple[Any, Any]:
    """The tokenizer and the model in float32 on a CPU and in bfloat16 on a GPU, as ours."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    dtype = torch.bfloat16 if work.device == "cuda" else torch.float32
    return AutoTokenizer.from_pretrained(work.model), AutoModelForCausalLM.from_pretrained(work.model, dtype=dtype)


def _lora() -> Any:
    from peft import LoraConfig

    modules = list(Train().lora.target_modules)
    return LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=DROPOUT, target_modules=modules, task_type="CAUSAL_LM")


def _arguments(work: Work, folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder / "theirs"),
        "per_device_train_batch_size": work.batch,
        "num_train_epochs": 1,
        "learning_rate": Train().learning_rate,
        "weight_decay": Train().weight_decay,
        "include_num_input_tokens_seen": "non_padding",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": work.device == "cpu",
        "seed": SEED,
    }


def _text(row: tuple[Turns, Turns], tokenizer: Any) -> str:
    """Prompt and completion by the model's template."""
    return tokenizer.apply_chat_template([*row[0], *row[1]], tokenize=False)


def _clock() -> Any:
    """The clock, as a class: transformers is imported first."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        """Looks at the time, and at the tokens seen, after the first step and after the last."""

        def __init__(self, device: str) -> None:
            self.device, self.marks = device, []

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step in (1, state.max_steps):
                _synchronised(self.device)
                now = (time.perf_counter(), time.process_time(), state.num_input_tokens_seen, state.global_step)
                self.marks.append(now)

        def taken(self, losses: tuple[float, ...], answer_share: float) -> Taken:
            wall, cpu, tokens, steps = (last - first for first, last in zip(*self.marks, strict=True))
            return Taken(
                tokens=tokens,
                answer_tokens=round(tokens * answer_share),
                steps=steps,
                wall_seconds=wall,
                cpu_seconds=cpu,
                peak_bytes=_peak(self.device),
                losses=losses,
                matrix_rate=_matrix_rate() if self.device == "cuda" else 0.0,
            )

    return Clock


def _answer_share(work: Work) -> float:
    """Share of the rows' tokens that are answers."""
    from transformers import AutoTokenizer

    from qa.prompts import PromptEncoder

    encoder = PromptEncoder.from_transformers(AutoTokenizer.from_pretrained(work.model))
    labels = [label for row in work.rows for label in encode_row(*row, encoder)["labels"]]
    return sum(label != IGNORED for label in labels) / len(labels)


def _synchronised(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def _peak(device: str) -> int:
    import torch

    return torch.cuda.max_memory_allocated() if device == "cuda" else own_peak_bytes()


def _matrix_rate(size: int = 8192, times: int = 50) -> float:
    """FLOP a second of square bfloat16 products of this size."""
    import torch

    left, right = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for number in range(times + 5):
        if number == 5:  # the first choose a kernel
            torch.cuda.synchronize()
            begun = time.perf_counter()
        left @ right
    torch.cuda.synchronize()
    return 2 * size**3 * times / (time.perf_counter() - begun)
