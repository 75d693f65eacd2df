"""Vary one thing of the recipe on the tiny model: `python scripts/sweep.py [--run runs/tiny] [--keep runs/sweep]`.

Trains the offline loop's base on its data set, each setting with each seed, and says of each claim of
jobs/configs/qwen2.5-3b-tuned.yaml whether it can be seen there. It says nothing of a 3B model. Killed, it goes on where
it was: what is trained stays under --keep.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.arguments import path_argument
from jobs.config import Train
from jobs.errors import UserError, run_main
from jobs.progress import progress
from jobs.step import STEP_FILE, write_json

RATE = 2e-3  # of jobs/configs/tiny.yaml: there what 5e-5 is to the 3B
RECIPE = {  # the first configuration's, at the tiny model's learning rate
    "learning_rate": RATE,
    "batch_size": 4,
    "weight_decay": 0.01,
    "scheduler": "linear",
    "dtype": "float32",
    "gradient_checkpointing": False,
    "report_to": "none",
    "accuracy_questions": 0,
    "lora": {"r": 16, "alpha": 32, "dropout": 0.05},
}
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
TUNED = {"learning_rate": 4 * RATE, "warmup_ratio": 0.06}  # jobs/configs/qwen2.5-3b-tuned.yaml but for packing
VARIED: dict[str, dict[str, Any]] = {
    "the recipe": {},
    "attention alone, rank 16": {"lora": {"target_modules": ATTENTION}},
    "attention alone, rank 36": {"lora": {"target_modules": ATTENTION, "r": 36}},  # as many weights as all at rank 16
    "learning rate × 0.3": {"learning_rate": 0.3 * RATE},
    "learning rate × 3": {"learning_rate": 3 * RATE},
    "learning rate × 10": {"learning_rate": 10 * RATE},
    "rank 4": {"lora": {"r": 4}},
    "rank 64": {"lora": {"r": 64}},
    "warm-up": {"warmup_ratio": 0.06},
    "dropout 0": {"lora": {"dropout": 0.0}},
    "packing": {"packing": True},
    "the tuned values": TUNED,
    "the tuned values, packing": TUNED | {"packing": True},
}
CLAIMS = (  # (what is claimed, the setting that should have the lower loss, the setting it is compared with)
    ("all linear layers learn better than attention alone", "the recipe", "attention alone, rank 16"),
    ("they do at an equal number of trained weights too", "the recipe", "attention alone, rank 36"),
    ("a higher learning rate than the recipe's is better", "learning rate × 3", "the recipe"),
    ("and ten times it is too high", "learning rate × 3", "learning rate × 10"),
    ("a lower learning rate is worse", "the recipe", "learning rate × 0.3"),
    ("rank 64 learns more than rank 16", "rank 64", "the recipe"),
    ("rank 4 learns less than rank 16", "the recipe", "rank 4"),
    ("warm-up helps", "warm-up", "the recipe"),
    ("no dropout is better in a short training", "dropout 0", "the recipe"),
    ("larger steps by packing cost loss, all else equal", "the recipe", "packing"),
    ("the tuned values together are better", "the tuned values", "the recipe"),
    ("and with packing too", "the tuned values, packing", "the recipe"),
)
Scores = dict[str, float]


@dataclass(frozen=True)
class Trial:
    """One training: which setting with which seed, from which run, for how many epochs, kept where."""

    setting: str
    seed: int
    run: Path
    epochs: float
    keep: Path

    @property
    def folder(self) -> Path:
        words = "".join(letter if letter.isalnum() else "-" for letter in self.setting)
        return self.keep / f"{words}-{self.seed}"

    @property
    def settings(self) -> Train:
        varied = VARIED[self.setting]
        lora = RECIPE["lora"] | varied.get("lora", {})
        return Train.model_validate(RECIPE | varied | {"lora": lora, "epochs": self.epochs})


def tried(trial: Trial) -> Scores:
    """Train, unless it is done, and score the adapter on every validation row."""
    import torch

    from jobs.train import train

    torch.set_num_threads(1)
    begun, base, dataset = time.process_time(), str(trial.run / "base"), trial.run / "dataset"
    how = {"base": base, "revision": "main", "settings": trial.settings, "max_length": 512, "seed": trial.seed}
    record, new = train(dataset, trial.folder, **how)
    scores = trial.keep / f"{trial.folder.name}.json"
    if new or not scores.is_file():
        found = _scores(base, trial.folder, dataset) | {"steps": record.figures["steps"]}
        write_json(scores, found | {"cpu_seconds": time.process_time() - begun})
    return json.loads(scores.read_text(encoding="utf-8"))


def _scores(base: str, adapter: Path, dataset: Path) -> Scores:
    """Mean loss in nats of an answer's token over the validation split, and the share of them that are likeliest."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from jobs.training_rows import load_split
    from qa.prompts import PromptEncoder

    encoder = PromptEncoder.from_transformers(AutoTokenizer.from_pretrained(adapter))
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).eval()
    rows, _ = load_split(dataset, "validation", encoder, 512)
    loss, right, count = 0.0, 0, 0
    for row in rows:
        labels = torch.tensor(row["labels"][1:])
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1][labels >= 0]
        answer = labels[labels >= 0]
        loss += torch.nn.functional.cross_entropy(logits, answer, reduction="sum").item()
        right += int((logits.argmax(-1) == answer).sum())
        count += len(answer)
    return {"loss": loss / count, "accuracy": right / count}


def table(scores: Mapping[str, Sequence[Scores]]) -> Iterator[str]:
    """Markdown: each setting's mean over the seeds, with the standard deviation."""
    yield "| setting | steps | validation loss, nats a token | answer tokens predicted |"
    yield "|---|---|---|---|"
    for setting, found in scores.items():
        loss, accuracy = (_spread([seed[key] for seed in found], shown) for key, shown in SHOWN.items())
        yield f"| {setting} | {found[0]['steps']:.0f} | {loss} | {accuracy} |"


SHOWN = {"loss": "{:.3f}", "accuracy": "{:.1%}"}


def _spread(values: Sequence[float], shown: str) -> str:
    return f"{shown.format(mean(values))} ± {shown.format(stdev(values))}"


def verdicts(scores: Mapping[str, Sequence[Scores]]) -> Iterator[str]:
    """Markdown: each claim with the difference of losses, its standard error over seeds, and whether it is seen."""
    yield "| claim | compared | loss, difference | |"
    yield "|---|---|---|---|"
    for claim, better, worse in CLAIMS:
        if better in scores and worse in scores:
            pairs = zip(scores[better], scores[worse], strict=True)
            gains = [second["loss"] - first["loss"] for first, second in pairs]
            error = stdev(gains) / math.sqrt(len(gains))
            yield f"| {claim} | {better}; {worse} | {-mean(gains):+.3f} ± {error:.3f} | {verdict(gains)} |"


def verdict(gains: Sequence[float]) -> str:
    """Seen where every seed agrees and their mean is two standard errors from none; opposite where both are so."""
    error = stdev(gains) / math.sqrt(len(gains))
    clear = abs(mean(gains)) > 2 * error
    if clear and min(gains) > 0:
        return "seen"
    return "opposite here" if clear and max(gains) < 0 else "not seen"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--run", type=path_argument, default=Path("runs/tiny"), help="finished run of `make loop`")
    parser.add_argument("--keep", type=path_argument, default=Path("runs/sweep"), help="where adapters and scores stay")
    parser.add_argument("--seeds", type=int, default=3, help="from 2 (default: %(default)s)")
    parser.add_argument("--epochs", type=float, default=0.25, help="of each training (default: %(default)s)")
    which = f"which of: {'; '.join(VARIED)} (default: all)"
    parser.add_argument("--settings", nargs="+", choices=VARIED, default=list(VARIED), metavar="SETTING", help=which)
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="(default: all cores, one each)")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("a spread needs at least two seeds")
    if options.processes < 1:
        parser.error("it takes at least one process")
    if missing := [name for name in ("base", "dataset") if not (options.run / name / STEP_FILE).is_file()]:
        raise UserError(f"{options.run / missing[0]}: not there; run `make loop` first, or name a run with --run")
    seeds = range(options.seeds)
    trials = [
        Trial(name, seed, options.run, options.epochs, options.keep) for name in options.settings for seed in seeds
    ]
    os.environ["TQDM_DISABLE"] = "1"  # in the processes, whose bars would stand on top of each other
    with ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn")) as pool:
        found = list(progress(pool.map(tried, trials), "sweep", total=len(trials), unit="run"))
    scores = {name: found[at * len(seeds) : (at + 1) * len(seeds)] for at, name in enumerate(options.settings)}
    print("\n".join([*table(scores), "", *verdicts(scores)]))
    spent = sum(each["cpu_seconds"] for each in found)
    print(
        f"\n{options.seeds} seeds, {options.epochs:g} epochs each, {spent:.0f} s of processor time; ± over the seeds."
    )


if __name__ == "__main__":
    run_main(main)
