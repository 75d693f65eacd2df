"""The best epoch of a training run: its adapter is what the run ends with."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from jobs.errors import UserError
from jobs.step import write_json

BEST = "best"


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
