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
from jobs.errors import run_main
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

    from jobs.training.base_model import load_base
    from jobs.training.best_epoch import BEST, KeepBestEpoch
    from jobs.training.checkpoints import CheckResumed, MarkWhole, newest_checkpoint
    from jobs.training.curves import ShowProgress, plot_curves
    from jobs.training.trainer import build_trainer

    set_seed(seed)
    os.environ["TRACKIO_DIR"] = str((folder / "trackio").resolve())  # read when trackio is first imported
    tokenizer, model = load_base(base, revision, settings)
    encoder = PromptEncoder.from_transformers(tokenizer)
    rows, too_long = load_split(dataset, "train", encoder, max_length)
    validation, _ = load_split(dataset, "validation", encoder, max_length)
    checkpoints = folder / CHECKPOINTS
    resume = newest_checkpoint(checkpoints) if checkpoints.is_dir() else None
    callbacks = [KeepBestEpoch(checkpoints), MarkWhole(), ShowProgress()]
    callbacks += [CheckResumed(resume)] if resume else []
    trainer = build_trainer(model, tokenizer, rows, validation, settings, checkpoints, max_length, seed, callbacks)
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
