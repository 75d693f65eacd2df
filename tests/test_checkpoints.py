"""A training that is killed again and again ends as if undisturbed; torn, foreign and forged checkpoints do no harm."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainerCallback

from jobs import stopping
from jobs.errors import UserError
from jobs.step import CHECKPOINTS, CLAIM_FILE, file_sha256
from jobs.train import NO_RESULT
from jobs.training import best_epoch, checkpoints
from jobs.training.heard import end_if_asked
from jobs.training.whole import (
    WHOLE,
    claim_of,
    files_of,
    mark_whole,
    newest_checkpoint,
    read_mark,
    step_of,
)
from tests import training_runs
from tests.training_runs import (
    EPOCH,
    STEPS,
    KilledError,
    Seen,
    add_callback,
    kill_at,
    kill_in,
    start,
    tiny_base,
    undisturbed_run,
    watch_rows,
)

ADAPTER = "adapter_model.safetensors"
TIMED = ("seconds", "tokens_per_second", "peak_memory_gib", "peak_gpu_gib", "peak_gpu_reserved_gib")


def curve(folder: Path, state: str = "log_history.json") -> list[dict[str, float]]:
    """The history of a run without what depends on the machine and on its kills."""
    entries = json.loads((folder / state).read_text())
    left_out = (*TIMED, "resumed_after_step")
    timed = ("_runtime", "_per_second")
    return [
        {name: value for name, value in entry.items() if name not in left_out and not name.endswith(timed)}
        for entry in entries
    ]


def saved_steps(folder: Path) -> list[int]:
    return sorted(step_of(path.parent) for path in folder.glob(f"checkpoint-*/{WHOLE}"))


def test_killed_at_every_kind_of_moment_it_ends_as_if_undisturbed(tmp_path: Path) -> None:
    undisturbed, expected = undisturbed_run()
    out, seen = tmp_path / "adapter", Seen()
    kept = tmp_path / "adapter.partial" / CHECKPOINTS

    def killed(*where: Any) -> list[int]:
        with pytest.MonkeyPatch.context() as patch:
            watch_rows(patch, seen)
            kill_in(patch, *where) if callable(where[-1]) else kill_at(patch, *where)
            with pytest.raises(KilledError):
                start(out)
        return saved_steps(kept)

    def at(step: int) -> Any:
        return lambda args, state, *rest, **options: state.global_step == step

    assert killed("on_step_begin", 1) == []  # before anything is saved
    assert killed("on_step_end", 5) == [3]  # in the first epoch, between two checkpoints
    assert killed("on_evaluate", EPOCH) == [3, 6]  # at its edge: evaluated, not saved
    assert killed("on_save", EPOCH) == [6, 9]  # and saved
    assert killed(Trainer, "_save_rng_state", lambda self, _: self.state.global_step == 12) == [6, 9]
    assert killed(best_epoch, "write_json", lambda path, _: path.parent.name == "checkpoint-12") == [6, 9]
    assert killed(checkpoints, "mark_whole", lambda folder, step, _: step == 12) == [6, 9]
    assert killed(checkpoints, "remove_older", lambda folder, _: (folder / "checkpoint-12").is_dir()) == [6, 9, 12]
    assert killed("on_step_begin", 14) == [6, 9, 12]  # in the second epoch
    assert killed("on_evaluate", STEPS) == [12, 15]
    assert killed("on_train_end", STEPS) == [15, 18]
    record, new = start(out)
    assert new
    assert record.figures["resumed_from"] == "checkpoint-18"
    assert seen.steps == expected.steps
    assert set(seen.steps) == set(range(1, STEPS + 1))
    assert file_sha256(out / ADAPTER) == file_sha256(undisturbed / ADAPTER)
    assert curve(out) == curve(undisturbed)
    assert [entry["step"] for entry in curve(out) if "eval_loss" in entry] == [0, EPOCH, STEPS]
    assert not (out / CHECKPOINTS).exists()


@pytest.mark.parametrize(
    ("settings", "steps"),
    [({"packing": True, "max_length": 512}, 4), ({"gradient_accumulation": 2, "epochs": 1.5}, 8)],
)
def test_packs_and_parts_of_steps_and_epochs_go_on_alike(settings: Any, steps: int, tmp_path: Path) -> None:
    seen, adapters = Seen(), []
    for out, moments in ((tmp_path / "whole", ()), (tmp_path / "killed", (steps - 1, steps))):
        for moment in moments:
            with pytest.MonkeyPatch.context() as patch:
                watch_rows(patch, seen)
                kill_at(patch, "on_save" if moment == steps else "on_step_end", moment)
                with pytest.raises(KilledError):
                    start(out, **settings)
        with pytest.MonkeyPatch.context() as patch:
            watch_rows(patch, seen)
            record, _ = start(out, **settings)
        assert (record.figures["steps"], max(seen.steps)) == (steps, steps)
        adapters.append(file_sha256(out / ADAPTER))
    assert record.figures["resumed_from"] == f"checkpoint-{steps}"  # and not a step more is done
    assert adapters[0] == adapters[1]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The partial folder of a run that was killed after its eleventh step: checkpoints of the sixth and the ninth."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, "on_step_end", 11)
        with pytest.raises(KilledError):
            start(folder / "adapter")
    return folder / "adapter.partial"


@pytest.fixture
def copy(killed: Path, tmp_path: Path) -> Path:
    """The checkpoints of a copy of it, in `tmp_path/adapter.partial`."""
    shutil.copytree(killed, tmp_path / "adapter.partial")
    return tmp_path / "adapter.partial" / CHECKPOINTS


def mark_again(checkpoint: Path) -> None:
    """Forge the mark of a checkpoint that was changed."""
    mark = read_mark(checkpoint / WHOLE)
    assert mark
    mark_whole(checkpoint, mark["step"], mark["claim"])


def test_a_checkpoint_holds_all_that_going_on_needs_and_nothing_private(killed: Path) -> None:
    folder = killed / CHECKPOINTS / "checkpoint-9"
    names = set(files_of(folder))
    assert {"adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"} <= names
    assert {"best/adapter_model.safetensors", "best/adapter_config.json", "best.json"} <= names
    assert not names & {"training_args.bin", "README.md"}
    mark = read_mark(folder / WHOLE)
    assert mark
    assert set(mark["files"]) == names
    assert mark["step"] == 9
    assert mark["claim"] == claim_of(json.loads((killed / CLAIM_FILE).read_text()))
    state = (folder / "trainer_state.json").read_text()
    assert str(killed) not in state
    assert killed.name not in state
    assert json.loads((folder / "best.json").read_text())["step"] == 9
    assert not (folder.parent / "checkpoint-6" / "best.json").exists()  # no epoch had ended


def test_it_goes_on_where_it_and_its_base_were_moved_past_a_torn_checkpoint(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = copy / "checkpoint-9" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    (copy / "checkpoint-12").mkdir()
    (copy.parent / CLAIM_FILE).write_text('{"arg')  # cut short by a kill
    shutil.copytree(tiny_base(), tmp_path / "base")
    monkeypatch.setattr(training_runs, "tiny_base", lambda: tmp_path / "base")
    record, _ = start(tmp_path / "adapter")
    assert record.figures["resumed_from"] == "checkpoint-6"
    said = capsys.readouterr().err
    assert f"{copy / 'checkpoint-9'}: torn (adapter_model.safetensors is not what was saved); passed over" in said
    assert f"{copy / 'checkpoint-12'}: torn (whole.json is missing)" in said
    undisturbed, _ = undisturbed_run()
    assert file_sha256(tmp_path / "adapter" / ADAPTER) == file_sha256(undisturbed / ADAPTER)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt"])
def test_a_checkpoint_without_optimiser_or_schedule_does_not_begin_afresh_in_silence(
    name: str, copy: Path, tmp_path: Path
) -> None:
    (copy / "checkpoint-9" / name).unlink()  # the trainer then leaves both as they are: new
    mark_again(copy / "checkpoint-9")
    with pytest.raises(RuntimeError, match=r"not what was saved: optimizer.pt, scheduler.pt"):
        start(tmp_path / "adapter")


class Trap:
    """What runs a command where it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.sprung),)


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth"])
def test_a_planted_pickle_is_not_run_even_with_a_forged_mark(name: str, copy: Path, tmp_path: Path) -> None:
    checkpoint, sprung = copy / "checkpoint-9", tmp_path / "sprung"
    torch.save(Trap(sprung), checkpoint / name)
    claim = claim_of(json.loads((copy.parent / CLAIM_FILE).read_text()))
    shutil.copytree(copy, tmp_path / "unforged")
    assert newest_checkpoint(tmp_path / "unforged", claim) == tmp_path / "unforged" / "checkpoint-6"
    mark_again(checkpoint)
    with pytest.raises(Exception, match="Weights only load failed"):
        start(tmp_path / "adapter")
    assert not sprung.exists()


def test_how_a_run_saves_and_shows_itself_may_change_on_the_way(copy: Path, tmp_path: Path) -> None:
    other = {
        "checkpoints_per_epoch": 1,
        "gradient_checkpointing": True,
        "report_to": "trackio",
        "accuracy_questions": 7,
    }
    names = {"checkpoints_to": "demo/x", "trackio_space": "demo/y"}
    assert {*other, *names} == NO_RESULT
    record, new = start(tmp_path / "adapter", **other)
    assert (record.figures["resumed_from"], new) == ("checkpoint-9", True)
    undisturbed, _ = undisturbed_run()
    assert file_sha256(tmp_path / "adapter" / ADAPTER) == file_sha256(undisturbed / ADAPTER)
    (tmp_path / "adapter.trackio" / "footnote.db").write_bytes(b"")  # as it is changed when it is shown
    _, new = start(tmp_path / "adapter", **names)
    assert not new


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"learning_rate": 0.02, "epochs": 3}, r"train\.learning_rate, train\.epochs"),
        ({"max_length": 127}, r"dataset\.max_length"),
        ({}, "code"),
    ],
)
def test_checkpoints_of_another_training_are_neither_used_nor_deleted(
    changed: dict[str, Any], words: str, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not changed:
        monkeypatch.setattr("jobs.train._code", lambda: "other")
    with pytest.raises(UserError, match=rf"adapter.partial: holds step 9 .* another {words}, which would be lost"):
        start(tmp_path / "adapter", **changed)
    assert saved_steps(copy) == [6, 9]
    monkeypatch.undo()
    record, _ = start(tmp_path / "adapter")
    assert record.figures["resumed_from"] == "checkpoint-9"


def stopped(out: Path, patch: pytest.MonkeyPatch, signalled: Any = None) -> list[int]:
    """Start, be asked to end by a true signal, and return which steps are saved then.

    By default it comes in an evaluation; `signalled` adds what sends it elsewhere.
    """

    def in_evaluation() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        end_if_asked()

    with patch.context() as inner:
        if signalled:
            add_callback(inner, signalled)
        else:
            inner.setattr(checkpoints, "end_if_asked", in_evaluation)
        with stopping.listen(), pytest.raises(stopping.Interrupted, match="SIGTERM"):
            start(out)
    return saved_steps(out.with_name("adapter.partial") / CHECKPOINTS)


class Signal(TrainerCallback):
    """Asks the process to end before so many steps are done."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step - 1:
            os.kill(os.getpid(), signal.SIGTERM)


def test_told_to_end_it_saves_after_the_step_and_leaves_an_evaluation_to_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, expected = undisturbed_run()
    out, seen = tmp_path / "adapter", Seen()
    watch_rows(monkeypatch, seen)
    monkeypatch.setattr(stopping, "_insist", lambda: None)  # its reminder would reach the next start in this process
    assert stopped(out, monkeypatch) == []  # before the first step
    assert stopped(out, monkeypatch, Signal(5)) == [3, 5]
    assert stopped(out, monkeypatch) == [6, 9]  # at the end of an epoch
    assert stopped(out, monkeypatch) == [6, 9]  # and at its evaluation again
    assert stopped(out, monkeypatch, Signal(STEPS)) == [15, 18]  # in the last step
    assert stopped(out, monkeypatch) == [15, 18]
    record, _ = start(out)
    assert record.figures["resumed_from"] == "checkpoint-18"
    assert record.figures["best"] == json.loads((undisturbed / "step.json").read_text())["figures"]["best"]
    assert seen.steps == expected.steps
    assert file_sha256(out / ADAPTER) == file_sha256(undisturbed / ADAPTER)
    assert curve(out) == curve(undisturbed)
