"""Fine-tune a base model with LoRA: `python -m jobs.train DATASET --base MODEL --config FILE --out DIR`.

TRL's SFTTrainer with peft; `--quantize 4bit` is QLoRA (Dettmers et al. 2023) with bitsandbytes. Killed, it goes on from
its newest whole checkpoint; the epoch with the lowest validation loss is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import jobs.training_rows
import qa.prompts
from jobs.arguments import path_argument
from jobs.config import Train
from jobs.config_file import load_config
from jobs.errors import UserError, first_line, run_main
from jobs.step import CHECKPOINTS, StepRecord, run_step, source_sha256
from jobs.training_rows import load_split
from qa.prompts import PromptEncoder


def train(
    dataset: Path, out: Path, *, base: str, revision: str, settings: Train, max_length: int, seed: int
) -> tuple[StepRecord, bool]:
    """Train an adapter of `base` (Hub id or folder) on a data set's training rows into `out`."""
    from jobs.hub import commit_of

    inputs = {"dataset": dataset}
    if Path(base).is_dir():
        inputs["base"] = Path(base)
    else:
        revision = commit_of(base, revision)  # recorded, so that nobody merges into what the branch became later
    arguments = {
        "base": base,
        "revision": revision,
        "settings": settings.model_dump(mode="json"),
        "max_length": max_length,
        "seed": seed,
        "code": source_sha256(qa.prompts, jobs.training_rows),
    }
    return run_step(
        "train",
        out,
        arguments=arguments,
        inputs=inputs,
        work=lambda folder: _work(folder, dataset, base, revision, settings, max_length, seed),
    )


def _work(
    folder: Path, dataset: Path, base: str, revision: str, settings: Train, max_length: int, seed: int
) -> dict[str, Any]:
    from jobs.quiet import quieten

    quieten()  # before the imports that speak

    import torch
    from transformers import set_seed

    from jobs.checkpoints import BEST, newest_checkpoint, plot_curves

    set_seed(seed)
    os.environ["TRACKIO_DIR"] = str((folder / "trackio").resolve())  # read when trackio is first imported
    tokenizer, model = load_base(base, revision, settings)
    encoder = PromptEncoder.from_transformers(tokenizer)
    rows, too_long = load_split(dataset, "train", encoder, max_length)
    validation, _ = load_split(dataset, "validation", encoder, max_length)
    checkpoints = folder / CHECKPOINTS
    resume = newest_checkpoint(checkpoints) if checkpoints.is_dir() else None
    trainer = _trainer(model, tokenizer, rows, validation, settings, checkpoints, max_length, seed, resume)
    with (folder / "trackio.log").open("a") as said, contextlib.redirect_stdout(said):  # trackio greets at length
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    best = json.loads((checkpoints / "best.json").read_text())
    _keep(checkpoints / BEST, folder, tokenizer)
    history = trainer.state.log_history
    (folder / "log_history.json").write_text(json.dumps(history, indent=1), encoding="utf-8")
    plot_curves(history, folder / "loss.png")
    return {
        "rows": len(rows),
        "validation_rows": len(validation),
        "rows_too_long": too_long,
        "steps": trainer.state.global_step,
        "answer_tokens": sum(sum(label >= 0 for label in labels) for labels in rows["labels"]),
        "trainable_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        "best": best,
        "validation_loss": [entry["eval_loss"] for entry in history if "eval_loss" in entry],
        "peak_gpu_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        "resumed_from": resume.name if resume else None,
    }


def load_base(base: str, revision: str, settings: Train) -> tuple[Any, Any]:
    """Tokenizer and model of the base; anything but a Qwen2-like architecture is refused by name."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    check_base(base, revision)
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
        return tokenizer, AutoModelForCausalLM.from_pretrained(base, revision=revision, **options)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{base}: cannot be loaded ({first_line(error)}); check its files") from None


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


def _trainer(
    model: Any,
    tokenizer: Any,
    rows: Any,
    validation: Any,
    settings: Train,
    checkpoints: Path,
    max_length: int,
    seed: int,
    resume: Path | None,
) -> Any:
    from peft import LoraConfig
    from peft.utils.error import NoMatchingPeftModuleError
    from transformers.trainer_callback import PrinterCallback
    from trl import SFTTrainer

    from jobs.checkpoints import CheckResumed, KeepBestEpoch, MarkWhole, ShowProgress

    lora = settings.lora
    shape = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules),
        task_type="CAUSAL_LM",
    )
    callbacks: list[Any] = [KeepBestEpoch(checkpoints), MarkWhole(), ShowProgress()]
    try:
        trainer = SFTTrainer(
            model=model,
            args=_arguments(settings, checkpoints, max_length, seed, len(rows)),
            train_dataset=rows,
            eval_dataset=validation,
            processing_class=tokenizer,
            peft_config=shape,
            callbacks=callbacks + ([CheckResumed(resume)] if resume else []),
        )
    except NoMatchingPeftModuleError:
        modules = ", ".join(lora.target_modules)
        raise UserError(f"train.lora.target_modules: the base has no module named {modules}") from None
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(settings: Train, checkpoints: Path, max_length: int, seed: int, rows: int) -> Any:
    import torch
    from trl import SFTConfig

    steps_per_epoch = -(-rows // (settings.batch_size * settings.gradient_accumulation))
    return SFTConfig(
        output_dir=str(checkpoints),
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps,
        weight_decay=settings.weight_decay,
        warmup_steps=settings.warmup_ratio,
        lr_scheduler_type=settings.scheduler,
        eval_strategy="epoch",
        save_strategy="steps",
        save_steps=max(1, steps_per_epoch // settings.checkpoints_per_epoch),
        save_total_limit=2,
        logging_steps=max(1, steps_per_epoch // 20),
        bf16=settings.dtype == "bfloat16" and torch.cuda.is_available(),
        activation_checkpointing=settings.gradient_checkpointing,
        max_length=max_length,
        dataset_kwargs={"skip_prepare_dataset": True},
        seed=seed,
        data_seed=seed,
        report_to=settings.report_to,
        project="footnote",
        trackio_static_space_id=False,  # the default creates a public Space at the first push
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )


def _keep(best: Path, folder: Path, tokenizer: Any) -> None:
    """Move the best adapter into the step's folder, with the tokenizer it was trained with."""
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(best / name, folder / name)
    tokenizer.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m jobs.train", description=__doc__.split("\n\n")[0])
    parser.add_argument("dataset", type=path_argument, help="folder that build_dataset made")
    parser.add_argument("--base", required=True, help="base model: Hub id or folder")
    parser.add_argument(
        "--config", type=path_argument, required=True, help="run configuration (its train section is used)"
    )
    parser.add_argument("--quantize", choices=["none", "4bit"], help="4bit: QLoRA")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="set any value of it")
    parser.add_argument("--out", type=path_argument, required=True)
    options = parser.parse_args()
    quantize = [f"train.quantize={options.quantize}"] if options.quantize else []
    config = load_config(options.config, [*options.set, *quantize])
    record, new = train(
        options.dataset,
        options.out,
        base=options.base,
        revision=config.base.revision,
        settings=config.train,
        max_length=config.dataset.max_length,
        seed=config.seed,
    )
    best = record.figures["best"]
    words = f"validation loss {best['loss']:.3f} after epoch {best['epoch']:.0f}"
    print(f"{options.out}: {words}", "" if new else "(was done)")


if __name__ == "__main__":
    run_main(main)
