"""What a person sees of a training run on the terminal while it runs."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from jobs.progress import bar

LOSSES = {"loss": "loss", "eval_loss": "validation"}


class ShowProgress(TrainerCallback):
    """The project's bar instead of the trainer's, with the last losses and the speed; a second one for evaluations."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.shown: dict[str, str] = {}
        self.asked = None
        self.bar = bar(state.max_steps, "train", unit="step", disable=not state.is_world_process_zero)
        self.bar.update(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        entry = state.log_history[-1]
        shown = {label: f"{entry[name]:.3f}" for name, label in LOSSES.items() if name in entry}
        if "tokens_per_second" in entry:
            shown["tokens/s"] = f"{entry['tokens_per_second']:,.0f}"
        self.shown |= shown
        self.bar.set_postfix(self.shown, refresh=False)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.asked is None:
            hidden = not state.is_world_process_zero
            self.asked = bar(len(kwargs["eval_dataloader"]), "validation loss", unit="batch", disable=hidden)
        self.asked.update()

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.asked is not None:
            self.asked.close()
        self.asked = None

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.close()
