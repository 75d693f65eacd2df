# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#   "packaging==26.3", "py3langid==0.4.0", "pydantic==2.14.3", "pydantic-core==2.50.4", "PyYAML==6.0.3",
#   "torch==2.13.0", "tqdm==4.70.1", "transformers==5.23.0",
# ]
# [tool.uv]
# exclude-newer = "2026-11-23T00:00:00Z"
# [tool.hf-jobs]  # written by scripts/job_headers.py
# flavor = "cpu-upgrade"
# timeout = "2h"
# secrets = []
# volumes = ["./qa:/app/qa", "./jobs:/app/jobs", "./data_cards:/app/data_cards"]
# env.PYTHONPATH = "/app"
# env.PYTHONSAFEPATH = "1"
# env.UV_WORKING_DIR = "/app"
# ///

"""Train a tiny base model from nothing on the documents: `python -m jobs.pretrain PASSAGES --config FILE --out DIR`.

For the offline loop, where no model can be downloaded: same architecture, template and tokenizer class as Qwen2.5, so
that every later step is the one the 3B takes. Matrices learn by Muon (Jordan et al. 2024), the rest by AdamW; Muon was
measured far quicker here than AdamW alone.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

import jobs.tiny_base
import jobs.wordings
import qa.prompts
from jobs.arguments import path_argument
from jobs.config import Pretrain
from jobs.config_file import load_config
from jobs.errors import UserError, run_main
from jobs.progress import bar
from jobs.step import CHECKPOINTS, StepRecord, run_step, source_sha256
from jobs.tiny_base import model_config, rows, train_tokenizer
from jobs.wordings import paragraphs, read_facts, read_wordings
from qa.prompts import END_OF_TEXT, PromptEncoder
from qa.records import Passage, read_records

CHECKPOINT_EVERY = 100  # steps


def pretrain(passages: Path, out: Path, *, shape: Pretrain, seed: int) -> tuple[StepRecord, bool]:
    """Train the base model into `out`: weights in bf16, tokenizer with its chat template, configuration."""
    inputs = {"passages": passages}
    if shape.facts:
        inputs |= {"facts": Path(shape.facts), "wordings": Path(shape.wordings)}
    return run_step(
        "pretrain",
        out,
        arguments={
            "shape": shape.model_dump(mode="json"),
            "seed": seed,
            "code": source_sha256(qa.prompts, jobs.tiny_base, jobs.wordings),
        },
        inputs=inputs,
        work=lambda folder: _work(passages, folder, shape, seed),
    )


def _work(passages: Path, folder: Path, shape: Pretrain, seed: int) -> dict[str, Any]:
    import random

    import torch
    from transformers import Qwen2ForCausalLM

    from jobs.quiet import quieten

    quieten()
    texts = list(read_records(passages / "passages.jsonl", Passage))
    if not texts:
        raise UserError(f"{passages}: no passages to read; run collect on more documents")
    facts = read_facts(Path(shape.facts)) if shape.facts else []
    wordings = read_wordings(Path(shape.wordings)) if shape.facts else {}
    rng = random.Random(seed)
    worded = [text for _ in range(8) for _, text in paragraphs(facts, wordings, rng)]
    tokenizer = train_tokenizer([passage.text for passage in texts] + worded, shape.vocabulary)
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM(model_config(shape, tokenizer))
    encoder = PromptEncoder.from_transformers(tokenizer)
    end = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    stream = rows(texts, facts, wordings, encoder, end, shape.length, seed)
    losses = _train(model, stream, shape, folder / CHECKPOINTS)
    _save(model, tokenizer, folder)
    return {
        "parameters": model.num_parameters(),
        "vocabulary": len(tokenizer),
        "steps": shape.steps,
        "tokens": shape.steps * shape.batch * shape.length,
        "facts": len(facts),
        "loss_first": losses[0],
        "loss_last": sum(losses[-20:]) / len(losses[-20:]),
    }


def _train(model: Any, stream: Any, shape: Pretrain, checkpoints: Path) -> list[float]:
    """Cross-entropy over every token; returns the loss of each step (nats a token). Resumes from its checkpoint."""
    import torch

    optimizers = _optimizers(model, shape)
    first, losses = _resume(checkpoints, model, optimizers)
    stream = itertools.islice(stream, first * shape.batch, None)
    model.train()
    with bar(shape.steps, "pretrain", unit="step") as shown:
        shown.update(first)
        for step in range(first, shape.steps):
            ids = torch.tensor(list(itertools.islice(stream, shape.batch)))
            loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group["peak"] * _schedule(step, shape.steps)
                optimizer.step()
                optimizer.zero_grad()
            losses.append(loss.item())
            shown.update()
            shown.set_postfix(loss=f"{losses[-1]:.2f}", refresh=False)
            if (step + 1) % CHECKPOINT_EVERY == 0 and step + 1 < shape.steps:
                _checkpoint(checkpoints, model, optimizers, step + 1, losses)
    return losses


def _schedule(step: int, steps: int) -> float:
    """Share of the peak learning rate: 5 % warm-up, then linear to a twentieth."""
    warmup = max(1, steps // 20)
    return min((step + 1) / warmup, max(0.05, (steps - step) / (steps - warmup)))


def _optimizers(model: Any, shape: Pretrain) -> list[Any]:
    import torch

    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    muon = {"params": matrices, "peak": shape.muon_learning_rate}
    adam = {"params": others, "peak": shape.adam_learning_rate}
    return [
        torch.optim.Muon([muon], lr=shape.muon_learning_rate, weight_decay=0.0),
        torch.optim.AdamW([adam], lr=shape.adam_learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def _checkpoint(folder: Path, model: Any, optimizers: list[Any], step: int, losses: list[float]) -> None:
    import torch

    folder.mkdir(exist_ok=True)
    state = {
        "step": step,
        "losses": losses,
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
    }
    torch.save(state, folder / "state.partial")
    (folder / "state.partial").replace(folder / "state.pt")


def _resume(folder: Path, model: Any, optimizers: list[Any]) -> tuple[int, list[float]]:
    import torch

    if not (folder / "state.pt").is_file():
        return 0, []
    state = torch.load(folder / "state.pt", weights_only=True)
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return state["step"], state["losses"]


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    import torch

    model.generation_config.update(
        do_sample=False, eos_token_id=model.config.eos_token_id, pad_token_id=model.config.pad_token_id
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m jobs.pretrain", description=__doc__.split("\n\n")[0])
    parser.add_argument("passages", type=path_argument, help="folder that collect made")
    parser.add_argument(
        "--config", type=path_argument, required=True, help="run configuration with a base.pretrain section"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="set any value of it")
    parser.add_argument("--out", type=path_argument, required=True)
    options = parser.parse_args()
    config = load_config(options.config, options.set)
    if config.base.pretrain is None:
        raise UserError(f"{options.config}: no base.pretrain section, so this run fine-tunes {config.base.model}")
    record, new = pretrain(options.passages, options.out, shape=config.base.pretrain, seed=config.seed)
    print(f"{options.out}: {record.figures['parameters']:,} parameters" + ("" if new else " (was done already)"))


if __name__ == "__main__":
    run_main(main)
