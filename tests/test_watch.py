"""What a training run says of itself: speed, memory, accuracy, curves without doubles, and why it ended."""

from __future__ import annotations

import json
import random
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from jobs.config import Train
from jobs.errors import UserError
from jobs.evaluation.likelihood import TransformersBackend
from jobs.rows import row_of, write_rows
from jobs.training.accuracy import ValidationAccuracy, validation_questions
from jobs.training.heard import EvaluationEndedError
from jobs.training.watch import LAST, Curves, Measure, show_command, watched
from qa.choices import ChoicePrompt
from qa.statistics import wilson
from tests.runs import question
from tests.tiny import random_model, tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


def state_of(*entries: dict[str, Any], tokens: int = 0, step: int = 0) -> SimpleNamespace:
    """A trainer's state, as far as the callbacks read it."""
    return SimpleNamespace(
        log_history=list(entries),
        num_input_tokens_seen=tokens,
        global_step=step,
        max_steps=9,
        is_world_process_zero=True,
    )


def control(*, save: bool = False) -> SimpleNamespace:
    return SimpleNamespace(should_save=save, should_log=False)


def args(folder: Path) -> SimpleNamespace:
    return SimpleNamespace(output_dir=str(folder), gradient_accumulation_steps=1)


def dataset(folder: Path) -> Path:
    """Six questions with options of one task, three of another, an open one."""
    own = [row_of(question(number, task="research")) for number in range(6)]
    write_rows(folder / "research_qa" / "validation.parquet", [*own, row_of(question(9, choices=False))])
    arc = [row_of(question(number, id=f"arc{number}", task="arc_easy")) for number in range(3)]
    write_rows(folder / "arc" / "validation.parquet", arc)
    return folder


def test_questions_are_of_each_task_alike_and_the_same_ones_each_time(tmp_path: Path) -> None:
    folder = dataset(tmp_path)
    drawn = validation_questions(folder, 6, seed=3)
    assert [row.task for row in drawn] == ["research", "arc_easy"] * 3
    assert drawn == validation_questions(folder, 6, seed=3)
    assert len(validation_questions(folder, 100, seed=3)) == 9
    assert all(row.choices for row in validation_questions(folder, 100, seed=3))
    assert validation_questions(folder, 0, seed=3) == []
    assert validation_questions(tmp_path / "nothing", 9, seed=3) == []


def test_accuracy_is_the_evaluations_and_leaves_no_trace(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(tokenizer).train()
    asked = validation_questions(dataset(tmp_path), 9, seed=1)
    watcher = ValidationAccuracy(asked, tokenizer)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    state = state_of({"eval_loss": 1.0, "step": 3})
    watcher.on_evaluate(None, state, None, model=model)
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before
    entry, scores = state.log_history[0], watcher.scores(model)
    backend = TransformersBackend(model, tokenizer)
    expected = backend.option_logprobs(ChoicePrompt("letter").items(backend.encoder, asked))
    backend.close()
    monkeypatch.setattr("jobs.stopping.asked", lambda: True)
    with pytest.raises(EvaluationEndedError):
        watcher.scores(model)
    assert torch.tensor(scores) == pytest.approx(torch.tensor(expected), abs=1e-4)
    right = sum(row.index(max(row)) == one.gold for row, one in zip(expected, asked, strict=True))
    assert entry["eval_accuracy"] == right / 9
    assert (entry["eval_accuracy_low"], entry["eval_accuracy_high"]) == wilson(right, 9)
    assert (entry["eval_accuracy_questions"], entry["eval_accuracy_chance"]) == (9, 0.25)


def test_speed_counts_steps_alone_and_goes_on_after_a_resume(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock = iter([100.0, 104.0, 104.0, 200.0, 202.0, 202.0])  # 96 s between two steps are an evaluation's
    monkeypatch.setattr("jobs.training.watch.time.monotonic", lambda: next(clock))
    watcher, state = Measure(), state_of()
    watcher.on_train_begin(None, state, None)
    watcher.on_epoch_begin()
    watcher.on_step_end(None, state, control())
    state.num_input_tokens_seen = 400
    state.log_history.append({"loss": 2.0, "step": 1, "num_input_tokens_seen": 400, "train_runtime": 7.0})
    watcher.on_log(args(tmp_path), state, None)
    first = state.log_history[0]
    assert (first["tokens"], first["seconds"], first["tokens_per_second"]) == (400, 4.0, 100.0)
    assert first["peak_memory_gib"] > 0.1
    assert "train_runtime" not in first
    watcher.on_evaluate()
    resumed = Measure()
    state.global_step = 1
    resumed.on_train_begin(None, state, None)
    resumed.since = 200.0
    resumed.on_step_end(None, state, control())
    state.num_input_tokens_seen = 1000
    state.log_history.append({"loss": 1.5, "step": 2})
    resumed.on_log(args(tmp_path), state, None)
    second = state.log_history[1]
    assert (second["tokens"], second["seconds"], second["tokens_per_second"]) == (1000, 6.0, 300.0)
    assert second["resumed_after_step"] == 1
    left = json.loads((tmp_path / LAST).read_text())
    assert ([entry["loss"] for entry in left["last"]], left["steps"]) == ([2.0, 1.5], 9)


def test_a_step_that_is_saved_is_logged_first() -> None:
    watcher = Measure()
    watcher.on_train_begin(None, state_of(), None)
    asked = control(save=True)
    watcher.on_step_end(None, state_of(), asked)
    assert asked.should_log


@pytest.mark.parametrize("entry", [{"loss": float("nan")}, {"loss": 3.0, "grad_norm": float("inf")}])
def test_a_loss_or_gradient_that_is_no_number_ends_the_run(entry: dict[str, float], tmp_path: Path) -> None:
    (tmp_path / "checkpoint-10").mkdir()
    (tmp_path / "checkpoint-9").mkdir()
    for name in ("checkpoint-9", "checkpoint-10"):
        (tmp_path / name / "whole.json").write_text("{}")
    (tmp_path / "checkpoint-11").mkdir()  # torn
    state = state_of({"loss": 2.5, "step": 10}, entry | {"step": 12})
    watcher = Measure()
    watcher.on_train_begin(None, state_of(), None)
    with pytest.raises(UserError, match=r"^train.learning_rate: .* at step 12.*after 2.5; lower it.*checkpoint-10 rem"):
        watcher.on_log(args(tmp_path), state, None)


def greet_and_raise(error: Exception) -> None:
    print("a greeting")
    raise error


def test_a_full_gpu_is_the_users_matter_and_says_what_to_set(tmp_path: Path) -> None:
    trainer = SimpleNamespace(
        state=state_of(step=4), args=args(tmp_path), model=SimpleNamespace(is_gradient_checkpointing=False)
    )
    said = "CUDA out of memory. Tried to allocate 2.32 GiB. GPU 0 has a total capacity of 23.6 GiB"
    with pytest.raises(UserError) as caught, watched(trainer, Curves(tmp_path / "run.partial", Train())):
        greet_and_raise(torch.OutOfMemoryError(said))
    words = str(caught.value)
    assert "at step 5 (peak " in words
    assert "asking for 2.32 GiB more" in words
    assert "no checkpoint was written yet; set train.gradient_checkpointing: true" in words
    assert "train.batch_size" in words
    assert "train.quantize: 4bit" in words
    assert (tmp_path / "run.trackio" / "trackio.log").read_text() == "a greeting\n"
    with pytest.raises(RuntimeError, match="shapes"), watched(trainer, None):
        raise RuntimeError("shapes differ")  # of another kind: left to rise


def logged(folder: Path) -> list[tuple[int, dict[str, float]]]:
    with sqlite3.connect(folder / "footnote.db") as base:
        rows = base.execute("SELECT step, metrics FROM metrics ORDER BY id").fetchall()
    return [(step, json.loads(metrics)) for step, metrics in rows]


def test_curves_of_a_resumed_run_hold_each_step_once_in_one_place(tmp_path: Path) -> None:
    first = {"eval_loss": 3.0, "eval_accuracy": 0.25, "step": 0}
    losses = [{"loss": 2.0 - step, "tokens_per_second": 50.0, "step": step} for step in range(1, 4)]
    for name, known in (("a.partial", 0), ("b.partial", 0), ("a.partial", 2)):  # the third goes on from step 2
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        curves = Curves(folder, Train())
        state = state_of(*([first, *losses[:known]] if known else []))
        curves.on_train_begin(None, state, None)
        for entry in losses[known:] if known else [first, *losses]:
            state.log_history.append(entry)
            (curves.on_evaluate if "eval_loss" in entry else curves.on_log)(None, state, None)
        curves.close()
        assert not list(folder.iterdir())
    for name in ("a.trackio", "b.trackio"):
        found = logged(tmp_path / name)
        assert [step for step, _ in found] == [0, 1, 2, 3]
        assert found[0][1] == {"validation/loss": 3.0, "validation/accuracy": 0.25}
        assert found[3][1] == {"train/loss": -1.0, "train/tokens_per_second": 50.0}
    words = "TRACKIO_DIR=runs/x/adapter.trackio trackio show --project footnote"
    assert show_command(Path("runs/x/adapter")) == show_command(Path("runs/x/adapter.partial")) == words
