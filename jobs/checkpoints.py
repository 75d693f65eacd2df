"""What a training run leaves behind while it runs: whole checkpoints, the best epoch, a bar and its curves."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from jobs.errors import UserError
from jobs.progress import bar
from jobs.step import write_json

WHOLE = "whole.json"  # written after everything else of a checkpoint: without it the checkpoint is torn
BEST = "best"
ADAPTER = "adapter_model.safetensors"


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in a folder; torn ones are removed."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        if (path / WHOLE).is_file():
            whole.append(path)
        else:
            shutil.rmtree(path)
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


class MarkWhole(TrainerCallback):
    """Marks each checkpoint once all of it is on disk."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        path = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        write_json(path / WHOLE, {"step": state.global_step})


class KeepBestEpoch(TrainerCallback):
    """Keeps the adapter of the evaluation with the lowest validation loss in `best/`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.record = folder / BEST, folder / "best.json"
        self.loss = json.loads(self.record.read_text())["loss"] if self.record.is_file() else math.inf

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        loss = metrics["eval_loss"]
        if not math.isfinite(loss):
            raise UserError(f"validation loss is {loss} at step {state.global_step}: lower train.learning_rate")
        if loss < self.loss:
            self.loss = loss
            kwargs["model"].save_pretrained(self.folder)
            write_json(self.record, {"loss": loss, "epoch": state.epoch, "step": state.global_step})


class CheckResumed(TrainerCallback):
    """Asserts that the adapter in memory is the saved one: elsewhere a resume silently began from a random one."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        import torch
        from peft import get_peft_model_state_dict
        from safetensors.torch import load_file

        saved = load_file(self.checkpoint / ADAPTER)
        held = get_peft_model_state_dict(kwargs["model"])
        differing = [name for name in saved if name not in held or not torch.equal(saved[name], held[name].cpu())]
        if differing or len(saved) != len(held):
            raise RuntimeError(f"{self.checkpoint}: resumed adapter differs from the saved one in {differing[:3]}")


class ShowProgress(TrainerCallback):
    """The project's bar instead of the trainer's, with the last loss."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar = bar(state.max_steps, "train", unit="step")
        self.bar.update(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        shown = {name: f"{logs[name]:.3f}" for name in ("loss", "eval_loss") if name in logs}
        self.bar.set_postfix(shown, refresh=False)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.close()


def plot_curves(history: list[dict[str, float]], path: Path) -> None:
    """Training and validation loss (nats a token) over steps, as PNG."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for name, label, style in (("loss", "training", "-"), ("eval_loss", "validation, each epoch", "o--")):
        points = [(entry["step"], entry[name]) for entry in history if name in entry]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label)
    axes.set(xlabel="optimiser step", ylabel="loss on answers, nats a token", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
