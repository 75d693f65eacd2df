"""When a training run saves, what it adds to a checkpoint, and what must be true of one that it goes on from."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerState

from jobs import stopping
from jobs.step import CHECKPOINTS, CLAIM_FILE
from jobs.team import Team
from jobs.training.best_epoch import KeepBestEpoch
from jobs.training.hub_checkpoints import HubCheckpoints, resume_from
from jobs.training.whole import NOT_KEPT, Claim, claim_of, mark_whole, remove_older, saved_at

ADAPTER, STATE = "adapter_model.safetensors", "trainer_state.json"


class Saving:
    """How a run saves and what it goes on from: `resume`, or None where it begins."""

    def __init__(self, folder: Path, repository: str, team: Team) -> None:
        """The folder of the step, the Hub's repository for checkpoints or "", the processes that train."""
        self.team, found = team, None
        self.claim = claim_of(json.loads((folder / CLAIM_FILE).read_text(encoding="utf-8")))
        self.hub = HubCheckpoints(repository, self.claim) if repository and team.leads else None
        if team.leads:
            found = resume_from(folder / CHECKPOINTS, self.claim, self.hub)
        told = team.tell(str(found or ""))
        self.resume = Path(told) if told else None

    @property
    def callbacks(self) -> list[TrainerCallback]:
        """Before all others: they say when there is something to save, and so to log."""
        keep, mark = KeepBestEpoch(self.team, self.resume), MarkWhole(self.team, self.claim, self.hub)
        return [SaveAtEnds(self.team), keep, mark, *([CheckResumed(self.resume)] if self.resume else [])]

    def run(self, trainer: Any) -> None:
        """Train to the end. Asked to stop, raises `Interrupted` with the last step saved."""
        trainer.args.eval_on_start = self.resume is None
        with stopping.deferred(), self.hub or nullcontext():
            if self.resume and (saved := _ended(self.resume)):
                trainer.state = saved  # the trainer would do a step more
            else:
                trainer.train(resume_from_checkpoint=str(self.resume) if self.resume else None)
        if trainer.state.global_step < trainer.state.max_steps:
            raise stopping.Interrupted("another process was asked to stop")


def _ended(checkpoint: Path) -> TrainerState | None:
    """The state of a training that had done its last step; None for another."""
    state = TrainerState.load_from_json(str(checkpoint / STATE))
    return state if state.global_step >= state.max_steps else None


class SaveAtEnds(TrainerCallback):
    """Evaluates and saves after the last step of each epoch, and saves and ends where the process is asked to.

    The trainer would evaluate after it has saved: gone on from that checkpoint, an epoch would have no evaluation.
    """

    def __init__(self, team: Team) -> None:
        self.team = team

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.epoch.is_integer() or state.global_step >= state.max_steps:
            control.should_evaluate = control.should_save = True
        if self.team.any(stopping.asked()):
            control.should_save = control.should_training_stop = True


class MarkWhole(TrainerCallback):
    """Marks each checkpoint once all of it is on disk; only then the older ones go, and the Hub gets it."""

    def __init__(self, team: Team, claim: Claim, hub: HubCheckpoints | None) -> None:
        self.team, self.claim, self.hub = team, claim, hub

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.team.wait()  # each process writes its random state
        if not self.team.leads:
            return
        folder = saved_at(args, state)
        for name in NOT_KEPT:
            (folder / name).unlink(missing_ok=True)
        mark_whole(folder, state.global_step, self.claim)
        remove_older(folder.parent, self.hub.uploading if self.hub else None)
        if self.hub:
            self.hub.put(folder)


class CheckResumed(TrainerCallback):
    """Asserts that what is in memory is what was saved: elsewhere a resume silently began from a random adapter."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        differing = [*self._adapter(kwargs["model"]), *_counters(state.global_step, **kwargs)]
        if differing:
            raise RuntimeError(f"{self.checkpoint}: what was resumed is not what was saved: {', '.join(differing[:3])}")

    def _adapter(self, model: Any) -> list[str]:
        from peft import get_peft_model_state_dict
        from safetensors.torch import load_file

        saved, held = load_file(self.checkpoint / ADAPTER), get_peft_model_state_dict(model)
        same = {name for name in saved if name in held and torch.equal(saved[name], held[name].cpu())}
        return sorted({*saved, *held} - same)


def _counters(step: int, optimizer: Any, lr_scheduler: Any, **_: Any) -> list[str]:
    """What of optimiser and scheduler has not been through so many steps; fresh ones have been through none."""
    steps = {int(state["step"]) for state in optimizer.state.values()}
    found = {"optimizer.pt": steps == {step}, "scheduler.pt": lr_scheduler.last_epoch == step}
    return [name for name, right in found.items() if not right]
