# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#   "accelerate==1.15.0", "bitsandbytes==0.50.2", "datasets==5.2.0", "httpx2==2.16.2", "huggingface-hub==2.4.0",
#   "Jinja2==3.1.6", "matplotlib==3.11.2", "numpy==2.4.6", "packaging==26.3", "peft==0.21.2", "py3langid==0.4.0",
#   "pyarrow==26.0.1", "pydantic==2.14.3", "pydantic-core==2.50.4", "PyYAML==6.0.3", "safetensors==0.8.0",
#   "torch==2.13.0", "tqdm==4.70.1", "trackio==0.43.0", "transformers==5.23.0", "trl==1.16.0",
# ]
# [tool.uv]
# exclude-newer = "2026-11-23T00:00:00Z"
# [tool.hf-jobs]  # written by scripts/job_headers.py
# flavor = "l40sx1"
# timeout = "12h"
# secrets = ["HF_TOKEN"]
# volumes = ["./qa:/app/qa", "./jobs:/app/jobs", "./data_cards:/app/data_cards"]
# env.PYTHONPATH = "/app"
# env.PYTHONSAFEPATH = "1"
# env.UV_WORKING_DIR = "/app"
# ///

"""Fine-tune a base model with LoRA: `python -m jobs.train DATASET --base MODEL --config FILE --out DIR`.

TRL's SFTTrainer with peft; `--quantize 4bit` is QLoRA (Dettmers et al. 2023) with bitsandbytes. Killed, it goes on from
its newest whole checkpoint; the epoch with the lowest validation loss is kept.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jobs.training_rows
import qa.prompts
from jobs.arguments import path_argument
from jobs.config import Train
from jobs.config_file import load_config
from jobs.errors import run_main
from jobs.step import CHECKPOINTS, StepRecord
from jobs.team import Team, one_voice, run_shared
from jobs.training.distributed import rows_of_one
from jobs.training.whole import PREFIX, code_sha256, goes_on
from jobs.training_rows import load_split
from qa.prompts import PromptEncoder

if TYPE_CHECKING:
    from jobs.training.checkpoints import Saving
    from jobs.training.watch import Curves

# Settings that change how a run saves and shows itself and not what it ends with: they may differ when it goes on.
NO_RESULT = frozenset(
    {"accuracy_questions", "checkpoints_per_epoch", "checkpoints_to", "gradient_checkpointing", "report_to"}
    | {"trackio_space"}
)


def train(
    dataset: Path, out: Path, *, base: str, revision: str, settings: Train, max_length: int, seed: int
) -> tuple[StepRecord, bool]:
    """Train an adapter of `base` (Hub id or folder) on a data set's training rows into `out`."""
    from jobs.quiet import quieten
    from jobs.training.base_model import commit_for

    quieten()  # before the imports that speak
    inputs, team, asked = {"dataset": dataset}, Team.current(), revision
    rows_of_one(settings, team.world)
    if Path(base).is_dir():
        inputs["base"] = Path(base)
    else:
        revision = team.tell(commit_for(base, asked, out) if team.leads else "")
    arguments = {
        "base": base,
        "revision": revision,
        "revision_asked": asked,
        "settings": settings.model_dump(mode="json", exclude=NO_RESULT),
        "max_length": max_length,
        "seed": seed,
        "code": _code(),
    }
    work = partial(_work, _Job(dataset, base, revision, settings, max_length, seed, team))
    return run_shared(team, "train", out, arguments=arguments, inputs=inputs, work=work, share=work, goes_on=goes_on)


@dataclass(frozen=True)
class _Job:
    """What is trained on what, how, and by which of how many processes."""

    dataset: Path
    base: str
    revision: str
    settings: Train
    max_length: int
    seed: int
    team: Team


def _code() -> str:
    """SHA-256 of the code that decides the numbers."""
    from jobs.training import answer_loss, attention, base_model, batches, best_epoch, row_trainer, trainer

    parts = answer_loss, attention, base_model, batches, best_epoch, row_trainer, trainer
    return code_sha256(qa.prompts, jobs.training_rows, *parts)


def _work(job: _Job, folder: Path) -> dict[str, Any]:
    from jobs.training.checkpoints import Saving
    from jobs.training.watch import Curves, watched
    from jobs.transformers_model import few_threads

    saving = Saving(folder, job.settings.checkpoints_to, job.team)
    curves = Curves(folder, job.settings) if job.settings.report_to == "trackio" else None
    trainer, figures = _prepared(job, folder, saving, curves)
    with watched(trainer, curves), few_threads(trainer.model):
        saving.run(trainer)
    if not job.team.leads:
        return {}
    figures |= {
        "best": _keep(folder, trainer.state.global_step, trainer.processing_class),
        "resumed_from": saving.resume.name if saving.resume else None,
        **_figures(trainer),
    }
    _tell_of_it(folder, trainer.state.log_history, figures, job)
    return figures


def _prepared(job: _Job, folder: Path, saving: Saving, curves: Curves | None) -> tuple[Any, dict[str, Any]]:
    """The trainer, and what is known of the data."""
    from transformers import set_seed

    from jobs.training.accuracy import validation_questions
    from jobs.training.base_model import load_base
    from jobs.training.trainer import build_trainer
    from jobs.training.watch import watchers

    set_seed(job.seed)
    tokenizer, model = load_base(job.base, job.revision, job.settings)
    encoder, length = PromptEncoder.from_transformers(tokenizer), job.max_length
    rows, too_long = load_split(job.dataset, "train", encoder, length)
    validation, _ = load_split(job.dataset, "validation", encoder, length)
    questions = validation_questions(job.dataset, job.settings.accuracy_questions, job.seed)
    callbacks = [*saving.callbacks, *watchers(questions, tokenizer, curves)]
    place = folder / CHECKPOINTS
    trainer = build_trainer(model, tokenizer, rows, validation, job.settings, place, length, job.seed, callbacks)
    return trainer, {
        "rows": len(rows),
        "validation_rows": len(validation),
        "rows_too_long": too_long,
        "answer_tokens": sum(sum(label >= 0 for label in labels) for labels in rows["labels"]),
    }


def _keep(folder: Path, step: int, tokenizer: Any) -> dict[str, Any]:
    """Put the best adapter into the step's folder, with the tokenizer it was trained with; returns which it is."""
    from jobs.training.best_epoch import BEST, FILES, RECORD

    last = folder / CHECKPOINTS / f"{PREFIX}{step}"
    for name in FILES:
        shutil.copyfile(last / BEST / name, folder / name)
    _sort_modules(folder / "adapter_config.json")
    tokenizer.save_pretrained(folder)
    return json.loads((last / RECORD).read_text(encoding="utf-8"))


def _sort_modules(config: Path) -> None:
    """Peft holds the modules' names in a set and writes them in another order in each process."""
    values = json.loads(config.read_text(encoding="utf-8"))
    values["target_modules"].sort()
    config.write_text(json.dumps(values, indent=2, sort_keys=True), encoding="utf-8")


def _figures(trainer: Any) -> dict[str, Any]:
    import torch

    losses = [entry for entry in trainer.state.log_history if "eval_loss" in entry and entry["step"]]
    return {
        "steps": trainer.state.global_step,
        "trainable_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        "validation_loss": [entry["eval_loss"] for entry in losses],
        "peak_gpu_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
    }


def _tell_of_it(folder: Path, history: list[dict[str, Any]], figures: dict[str, Any], job: _Job) -> None:
    from jobs.training.report import learnt, verdict, write_report
    from jobs.training.watch import show_command

    history = [entry for entry in history if "train_runtime" not in entry]  # the trainer's sum of this start alone
    (folder / "log_history.json").write_text(json.dumps(history, indent=1), encoding="utf-8")
    write_report(folder, history, figures, base=job.base, settings=job.settings)
    if not learnt(history, figures["best"]):
        print(verdict(history, figures["best"]))
    if job.settings.report_to == "trackio":
        print(f"curves: {show_command(folder)}")


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
    if not Team.current().leads:
        return
    best = record.figures["best"]
    words = f"validation loss {best['loss']:.3f} after epoch {best['epoch']:.3g}"
    print(f"{options.out}: {words}", "" if new else "(was done)")


if __name__ == "__main__":
    run_main(one_voice(main))
