"""What a person sees of a training run: a bar while it runs, its curves when it has ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from jobs.progress import bar


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
