"""A training run of 18 steps that can be killed at any of them, and the same run undisturbed. Not a test.

A kill is an exception that nothing in the project catches, raised at a chosen moment: what lies on the disk is then
what a SIGKILL would leave. Other tests send true signals to a true process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.config import Train
from jobs.step import StepRecord
from jobs.train import train
from jobs.training.whole import mark_whole
from qa.prompts import ask_messages
from tests.tiny import tiny_model

STEPS, EPOCH = 18, 9
HOME = TemporaryDirectory(prefix="footnote-training-")  # shared by the modules of one session
SETTINGS = Train(
    learning_rate=1e-2,
    epochs=2,
    dtype="float32",
    gradient_checkpointing=False,
    checkpoints_per_epoch=3,
    report_to="none",
    lora={"r": 4, "alpha": 8, "dropout": 0.1, "target_modules": ("q_proj", "down_proj")},
)
Rows = tuple[tuple[int, ...], ...]


class KilledError(BaseException):
    """The process ends here."""


@dataclass
class Seen:
    """The token ids that each optimiser step has seen, in its parts; a step that is done twice sees the same."""

    steps: dict[int, list[Rows]] = field(default_factory=dict)
    part: tuple[int, int] = (0, 0)

    def note(self, step: int, rows: Rows) -> None:
        self.part = (step, self.part[1] + 1) if self.part[0] == step else (step, 1)
        known = self.steps.setdefault(step, [])
        if len(known) < self.part[1]:
            known.append(rows)
        assert known[self.part[1] - 1] == rows, f"step {step} has seen other rows than before"


def write_rows(folder: Path, split: str, count: int) -> None:
    rows = [
        {
            "prompt": ask_messages(f"Which number follows {number}?"),
            "completion": [{"role": "assistant", "content": f"It is {number + 1}."}],
        }
        for number in range(count)
    ]
    (folder / "research_qa").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "research_qa" / f"{split}.parquet")


@cache
def tiny_base() -> Path:
    folder = Path(HOME.name) / "base"
    tiny_model(folder)
    return folder


@cache
def tiny_dataset() -> Path:
    folder = Path(HOME.name) / "dataset"
    write_rows(folder, "train", 36)
    write_rows(folder, "validation", 4)
    return folder


def fake_checkpoint(folder: Path, step: int, claim: Mapping[str, str]) -> Path:
    """A whole checkpoint of two small files that no model is in."""
    checkpoint = folder / f"checkpoint-{step}"
    (checkpoint / "best").mkdir(parents=True)
    for name in ("weights", "best/weights"):
        (checkpoint / name).write_bytes(b"\0" + f"{name} {step}".encode())
    mark_whole(checkpoint, step, claim)
    return checkpoint


def start(out: Path, max_length: int = 128, **settings: Any) -> tuple[StepRecord, bool]:
    """Train into `out`, or go on."""
    changed = SETTINGS.model_copy(update=settings)
    base, dataset = tiny_base(), tiny_dataset()
    return train(dataset, out, base=str(base), revision="main", settings=changed, max_length=max_length, seed=3)


@cache
def undisturbed_run() -> tuple[Path, Seen]:
    """The folder of a run that nothing disturbed, and what it has seen."""
    out, seen = Path(HOME.name) / "undisturbed" / "adapter", Seen()
    with pytest.MonkeyPatch.context() as patch:
        watch_rows(patch, seen)
        start(out)
    return out, seen


def watch_rows(patch: pytest.MonkeyPatch, seen: Seen) -> None:
    from transformers import Trainer

    do_step, seen.part = Trainer.training_step, (0, 0)

    def noted(self: Any, model: Any, inputs: dict[str, Any], *rest: Any, **options: Any) -> Any:
        seen.note(self.state.global_step + 1, tuple(tuple(row) for row in inputs["input_ids"].tolist()))
        return do_step(self, model, inputs, *rest, **options)

    patch.setattr(Trainer, "training_step", noted)


def kill_at(patch: pytest.MonkeyPatch, event: str, step: int) -> None:
    """Kill at a callback's event after so many steps, when all other callbacks have been called."""
    from transformers import TrainerCallback

    def die(_: Any, args: Any, state: Any, control: Any, **__: Any) -> None:
        if state.global_step == step:
            raise KilledError(f"{event} {step}")

    add_callback(patch, type("Killer", (TrainerCallback,), {event: die})())


def add_callback(patch: pytest.MonkeyPatch, callback: Any) -> None:
    from jobs.training import watch

    others = watch.watchers
    patch.setattr(watch, "watchers", lambda *arguments: [*others(*arguments), callback])


def kill_in(patch: pytest.MonkeyPatch, owner: Any, name: str, when: Callable[..., bool]) -> None:
    """Kill in place of a call whose arguments are as `when` says."""
    called = getattr(owner, name)

    def die(*arguments: Any, **options: Any) -> Any:
        if when(*arguments, **options):
            raise KilledError(name)
        return called(*arguments, **options)

    patch.setattr(owner, name, die)
