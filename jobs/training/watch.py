"""What a training run says while it goes on: its speed and memory, its curves in Trackio, and why it ended early."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback

from jobs.config import Train
from jobs.errors import UserError
from jobs.placing import beside, final
from jobs.step import write_json
from jobs.training.accuracy import ValidationAccuracy
from jobs.training.curves import ShowProgress
from jobs.training.curves_space import CurvesSpace
from jobs.training.whole import newest_marked
from qa.records import Question

PROJECT = "footnote"
LOG, LAST = "trackio.log", "last.json"
LAST_LOSSES = 5
# The trainer's own: they start anew at a resume, and count evaluations as training.
REPLACED = ("num_input_tokens_seen", "num_tokens", "train_runtime", "train_tokens_per_second")
GIB = 2**30
RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes of what getrusage counts in


class Measure(TrainerCallback):
    """Adds speed and memory to each entry of the history, and ends a run whose loss or gradient is no number.

    `tokens` are those of prompts and answers, without padding, so far, `seconds` those of its optimiser steps so far;
    what a kill lost counts in neither.
    """

    def __init__(self) -> None:
        self.tokens, self.seconds, self.since, self.resumed = 0, 0.0, 0.0, None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if known := [entry for entry in state.log_history if "seconds" in entry]:
            self.tokens, self.seconds = known[-1]["tokens"], known[-1]["seconds"]
        self.busy, self.resumed = self.seconds, state.global_step or None

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self.since = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        now = time.monotonic()
        self.busy, self.since = self.busy + now - self.since, now
        control.should_log |= control.should_save  # no checkpoint of weights that are no numbers, and none cuts a mean

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        entry = state.log_history[-1]
        for name in REPLACED if "loss" in entry or "eval_loss" in entry else ():
            entry.pop(name, None)
        if "loss" in entry:
            self._measure(entry, state.num_input_tokens_seen)
            checkpoints = Path(args.output_dir)
            _write_last(state, checkpoints)
            _refuse_nan(entry, state, checkpoints)
        self.since = time.monotonic()

    def on_evaluate(self, *_: Any, **__: Any) -> None:
        self.since = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        _write_last(state, Path(args.output_dir))
        self.since = time.monotonic()

    def _measure(self, entry: dict[str, Any], tokens: int) -> None:
        passed = max(self.busy - self.seconds, 1e-9)
        entry |= {"tokens": tokens, "seconds": round(self.busy, 3), **memory()}
        entry["tokens_per_second"] = round((tokens - self.tokens) / passed, 1)
        if self.resumed is not None:
            entry["resumed_after_step"], self.resumed = self.resumed, None
        self.tokens, self.seconds = tokens, self.busy


def memory() -> dict[str, float]:
    """The process's peak so far in GiB: of the GPU's memory what was allocated and reserved, without one its own."""
    import torch

    if torch.cuda.is_available():
        allocated, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
        return {"peak_gpu_gib": round(allocated / GIB, 3), "peak_gpu_reserved_gib": round(reserved / GIB, 3)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT
    return {"peak_memory_gib": round(peak / GIB, 3)}


def _write_last(state: Any, checkpoints: Path) -> None:
    """What is left to look at when the process is gone."""
    if state.is_world_process_zero:
        last = [entry for entry in state.log_history if "loss" in entry][-LAST_LOSSES:]
        now, newest = datetime.now(UTC).isoformat(timespec="seconds"), newest_marked(checkpoints)
        words = {"time": now, "steps": state.max_steps, "checkpoint": newest and newest.name, "last": last}
        write_json(checkpoints / LAST, words)


def _refuse_nan(entry: dict[str, Any], state: Any, checkpoints: Path) -> None:
    if all(math.isfinite(entry.get(name, 0.0)) for name in ("loss", "grad_norm")):
        return
    norm = f", its gradient's norm {entry['grad_norm']}" if "grad_norm" in entry else ""
    losses = [f"{earlier['loss']:.3g}" for earlier in state.log_history[:-1] if "loss" in earlier][-LAST_LOSSES:]
    before = f", after {', '.join(losses)}" if losses else ""
    raise UserError(
        f"train.learning_rate: the loss is {entry['loss']} at step {entry['step']}{norm}{before}; lower it, or set "
        f"train.warmup_ratio; {_kept(checkpoints)}"
    )


def _kept(checkpoints: Path) -> str:
    newest = newest_marked(checkpoints)
    return f"{newest} remains" if newest else "no checkpoint was written yet"


class Curves(TrainerCallback):
    """Trackio's curves of a run, in a folder beside the step's, and in a Space if one is named.

    Beside it, so that they can be shown before and after the step's folder has its name, and change no result. Begun
    anew at each start with what the history holds, so that a resumed run has one curve, and each step once.
    """

    def __init__(self, folder: Path, settings: Train) -> None:
        self.step, self.folder = folder, curves_of(folder).resolve()
        self.settings, self.run = settings, None
        self.folder.mkdir(parents=True, exist_ok=True)
        self.space = CurvesSpace(settings.trackio_space, self.folder) if settings.trackio_space else None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        trackio = _trackio_in(self.folder)
        name = f"{self.folder.parent.name}-{self.folder.stem}"
        sys.modules["trackio.sqlite_storage"].SQLiteStorage.delete_run(PROJECT, name)
        config = self.settings.model_dump(mode="json", exclude={"checkpoints_to", "trackio_space"})
        self.run = trackio.init(project=PROJECT, name=name, config=config, embed=False)
        for entry in state.log_history:
            self._send(entry)
        tqdm.write(f"curves while it runs: {show_command(self.step)}", sys.stderr)
        if self.space:
            self.space.start()

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if "loss" in state.log_history[-1]:
            self._send(state.log_history[-1])

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._send(state.log_history[-1])

    def close(self) -> None:
        """Write what is left; a Space that does not answer is waited for no longer than its own bound."""
        if not self.run:
            return
        import trackio

        self.run = None
        trackio.finish()
        if self.space:
            self.space.close()

    def _send(self, entry: dict[str, Any]) -> None:
        if self.run and ("loss" in entry or "eval_loss" in entry):
            part = "validation" if "eval_loss" in entry else "train"
            values = {f"{part}/{name.removeprefix('eval_')}": value for name, value in entry.items() if name != "step"}
            self.run.log(values, step=entry["step"])


def _trackio_in(folder: Path) -> Any:
    """Trackio with this folder. Its modules read TRACKIO_DIR once, when they are imported."""
    os.environ["TRACKIO_DIR"] = str(folder)
    import trackio

    places = {"TRACKIO_DIR": folder, "MEDIA_DIR": folder / "media", "ARTIFACTS_DIR": folder / "artifacts"}
    for name, module in list(sys.modules.items()):
        for place in places if name.partition(".")[0] == "trackio" else ():
            if hasattr(module, place):
                setattr(module, place, places[place])
    return trackio


def watchers(questions: Sequence[Question], tokenizer: Any, curves: Curves | None) -> list[TrainerCallback]:
    """What watches a run, in the order in which it adds to an entry of the history and then shows it."""
    asked = [ValidationAccuracy(questions, tokenizer)] if questions else []
    return [Measure(), *asked, *([curves] if curves else []), ShowProgress()]


def curves_of(folder: Path) -> Path:
    """Where the curves lie of a step that works in this folder."""
    return beside(final(folder), "trackio")


def show_command(folder: Path) -> str:
    """The command that shows a run's curves in a browser, while it runs and after."""
    return f"TRACKIO_DIR={shlex.quote(str(curves_of(folder)))} trackio show --project {PROJECT}"


@contextlib.contextmanager
def watched(trainer: Any, curves: Curves | None) -> Iterator[None]:
    """Around the training: Trackio's greeting goes to a file, and a GPU that is too small is the user's matter."""
    import torch

    with contextlib.ExitStack() as stack:
        if curves:
            said = stack.enter_context((curves.folder / LOG).open("a", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(said))
            stack.callback(curves.close)
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise UserError(_too_large(str(error), trainer)) from None


def _too_large(error: str, trainer: Any) -> str:
    """What to set where the GPU's memory did not suffice; only one of it leaves the checkpoint of use."""
    state, args = trainer.state, trainer.args
    asked = error.partition("Tried to allocate ")[2].split(". ")[0]
    wanted = f", asking for {asked} more" if asked else ""
    peak = ", ".join(f"{value} GiB" for value in memory().values())
    more = (
        "" if trainer.model.is_gradient_checkpointing else "set train.gradient_checkpointing: true to go on from it; "
    )
    return (
        f"the GPU's memory did not suffice at step {state.global_step + 1} (peak {peak}{wanted}); "
        f"{_kept(Path(args.output_dir))}; {more}or, from the beginning in another --out, a smaller train.batch_size "
        f"(and as much more train.gradient_accumulation), train.quantize: 4bit, or a smaller dataset.max_length"
    )
