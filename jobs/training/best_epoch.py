"""The best epoch of a training run: its adapter is what the run ends with."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from jobs.errors import UserError
from jobs.step import write_json
from jobs.team import Team
from jobs.training.whole import saved_at

BEST, RECORD = "best", "best.json"
FILES = ("adapter_config.json", "adapter_model.safetensors")


class KeepBestEpoch(TrainerCallback):
    """Puts the adapter of the evaluation with the lowest validation loss into each checkpoint, as `best/`.

    It is part of the checkpoint, so that no kill parts the two: a run taken up at a step knows the best up to there.
    """

    def __init__(self, team: Team, resume: Path | None) -> None:
        self.team = team
        self.record = json.loads((resume / RECORD).read_text()) if resume and (resume / RECORD).is_file() else None
        self.kept = resume / BEST if resume else None  # where the best adapter lies

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        loss = metrics["eval_loss"]
        if not math.isfinite(loss):
            raise UserError(f"validation loss is {loss} at step {state.global_step}: lower train.learning_rate")
        if state.global_step and (self.record is None or loss < self.record["loss"]):
            self.record = {"loss": loss, "epoch": state.epoch, "step": state.global_step}
            self.kept = saved_at(args, state)  # it is saved next, or was before it could be evaluated

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.record is None or not self.team.leads:
            return
        checkpoint = saved_at(args, state)
        best = checkpoint / BEST
        best.mkdir(exist_ok=True)
        for name in FILES if self.kept != best else ():
            shutil.copyfile(self.kept / name, best / name)
        self.kept = best
        write_json(checkpoint / RECORD, self.record)
