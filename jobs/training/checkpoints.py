"""When a training run saves, what it adds to a checkpoint, and what must be true of one that it goes on from."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import TrainerCallback, TrainerState

from jobs import stopping
from jobs.step import CHECKPOINTS, CLAIM_FILE
from jobs.team import Team
from jobs.training.best_epoch import KeepBestEpoch
from jobs.training.heard import EvaluationEndedError, end_if_asked
from jobs.training.hub_checkpoints import HubCheckpoints, resume_from
from jobs.training.whole import NOT_KEPT, Claim, claim_of, mark_whole, remove_older, saved_at, step_of

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
        saved = TrainerState.load_from_json(str(self.resume / STATE)) if self.resume else None
        with stopping.deferred(), self.hub or nullcontext():
            try:
                if saved and _ended(saved):
                    self._end(trainer, saved)  # the trainer would do a step more
                else:
                    trainer.args.eval_on_start = saved is None or _lacks_evaluation(saved)
                    trainer.train(resume_from_checkpoint=str(self.resume) if self.resume else None)
            except EvaluationEndedError:
                self._save_without_evaluation(trainer)
        if not _ended(trainer.state) or _lacks_evaluation(trainer.state):
            raise stopping.Interrupted("a signal to another process")

    def _end(self, trainer: Any, saved: TrainerState) -> None:
        """Take up a training that had done its last step, and evaluate it if the evaluation was broken off."""
        trainer.state = saved
        saved.is_world_process_zero = self.team.leads
        if _lacks_evaluation(saved):
            told = trainer.args, saved, trainer.control
            trainer.remove_callback(CheckResumed)  # there is no optimiser to look at
            set_peft_model_state_dict(trainer.model, load_file(self.resume / ADAPTER))
            trainer.callback_handler.on_train_begin(*told)
            trainer.evaluate()
            if self.team.leads:
                saved.save_to_json(str(self.resume / STATE))
            trainer.callback_handler.on_save(*told)
            trainer.callback_handler.on_train_end(*told)

    def _save_without_evaluation(self, trainer: Any) -> None:
        """Save the step whose evaluation was broken off, unless it is what the training went on from."""
        state = trainer.state
        if state.global_step == (step_of(self.resume) if self.resume else 0):
            return
        state.log_history = [entry for entry in state.log_history if not _of_evaluation(entry, state.global_step)]
        trainer._save_checkpoint(trainer.model, None)
        trainer.callback_handler.on_save(trainer.args, state, trainer.control)


def _ended(state: TrainerState) -> bool:
    return state.global_step >= state.max_steps


def _at_an_end(state: TrainerState) -> bool:
    """Whether an epoch or the whole training ends with this step."""
    return state.epoch.is_integer() or _ended(state)


def _lacks_evaluation(state: TrainerState) -> bool:
    """Whether an epoch has ended whose evaluation was broken off."""
    return _at_an_end(state) and not any(_of_evaluation(entry, state.global_step) for entry in state.log_history)


def _of_evaluation(entry: dict[str, Any], step: int) -> bool:
    return "eval_loss" in entry and entry["step"] == step


class SaveAtEnds(TrainerCallback):
    """Evaluates and saves after the last step of each epoch, and saves and ends where the process is asked to.

    The trainer would evaluate after it has saved: gone on from that checkpoint, an epoch would have no evaluation. Only
    a process that is asked to end leaves it to the next start, which begins with it.
    """

    def __init__(self, team: Team) -> None:
        self.team = team

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        asked = self.team.any(stopping.asked())
        control.should_evaluate |= _at_an_end(state) and not asked
        control.should_save |= _at_an_end(state) or asked
        control.should_training_stop |= asked

    def on_prediction_step(self, *_: Any, **__: Any) -> None:
        end_if_asked()


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
        saved, held = load_file(self.checkpoint / ADAPTER), get_peft_model_state_dict(model)
        same = {name for name in saved if name in held and torch.equal(saved[name], held[name].cpu())}
        return sorted({*saved, *held} - same)


def _counters(step: int, optimizer: Any, lr_scheduler: Any, **_: Any) -> list[str]:
    """What of optimiser and scheduler has not been through so many steps; fresh ones have been through none."""
    steps = {int(state["step"]) for state in optimizer.state.values()}
    found = {"optimizer.pt": steps == {step}, "scheduler.pt": lr_scheduler.last_epoch == step}
    return [name for name, right in found.items() if not right]
