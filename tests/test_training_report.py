"""A training run's report: what it says of success and failure, its tables, its pictures, and what stays out of it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs import stopping
from jobs.config import Train
from jobs.rows import row_of, write_rows
from jobs.step import file_sha256, read_step
from jobs.train import train
from jobs.training.heard import EvaluationEndedError
from jobs.training.report import learnt, plot_losses, render, verdict, write_report
from qa.statistics import wilson
from tests.runs import question
from tests.tiny import tiny_model

BEST = {"loss": 1.25, "epoch": 2.0, "step": 8}
FIGURES = {
    "rows": 1200,
    "validation_rows": 90,
    "rows_too_long": 7,
    "answer_tokens": 3456,
    "trainable_parameters": 262144,
    "steps": 8,
    "best": BEST,
}
SETTINGS = Train(checkpoints_to="me/private-checkpoints", trackio_space="me/private-curves")


def history(*, asked: bool = True, before: float = 2.5) -> list[dict[str, Any]]:
    """Two epochs of four steps, gone on from step 4."""
    entries: list[dict[str, Any]] = [_evaluation(0, before, 10, asked)]
    for step in range(1, 9):
        log = {"loss": 2.5 - 0.1 * step, "grad_norm": 1.0, "learning_rate": 1e-3, "epoch": step / 4, "step": step}
        entries.append(log | {"tokens": 500 * step, "seconds": 40.0 * step, "tokens_per_second": 12.5})
        entries[-1]["peak_memory_gib"] = 1.5
        if step % 4 == 0:
            entries.append(_evaluation(step, {4: 1.5, 8: 1.25}[step], 5 + 3 * step, asked))
    entries[6]["resumed_after_step"] = 4
    return entries


def _evaluation(step: int, loss: float, right: int, asked: bool) -> dict[str, Any]:
    entry = {"eval_loss": loss, "eval_runtime": 2.0, "epoch": step / 4, "step": step}
    low, high = wilson(right, 40)
    named = {"": right / 40, "_low": low, "_high": high, "_questions": 40, "_chance": 0.25}
    return entry | ({f"eval_accuracy{name}": value for name, value in named.items()} if asked else {})


def test_what_was_learnt_is_said_first_with_its_accuracy() -> None:
    text = render(history(), FIGURES, base="Qwen/Qwen2.5-3B-Instruct", settings=SETTINGS)
    assert text.startswith(
        "# Training run\n\n**The validation loss fell from 2.500 before training to 1.250 after epoch 2, kept.**"
    )
    low, high = (f"{100 * bound:.1f} %" for bound in wilson(29, 40))
    assert "Of 40 validation questions" in text
    assert f"25.0 % were right before training and 72.5 % (95 % interval {low} to {high})" in text
    assert "| 1 | 4 | 2.250 | 1.500 | 42.5 % |" in text  # the mean of 2.4, 2.3, 2.2 and 2.1
    assert "| 2, kept | 8 | 1.850 | 1.250 | 72.5 % |" in text


def test_a_mean_counts_steps_and_not_points() -> None:
    entries = [entry for entry in history() if entry.get("step") not in (2, 3) or "eval_loss" in entry]
    text = render(entries, FIGURES, base="x/y", settings=SETTINGS)
    assert "| 1 | 4 | 2.175 | 1.500 | 42.5 % |" in text  # 2.4 of one step, 2.1 of three


def test_what_was_not_learnt_is_told_as_such() -> None:
    entries = history(before=1.2)
    assert not learnt(entries, BEST)
    said = "It did not learn: the validation loss was 1.200 before training and is 1.250 at best."
    assert verdict(entries, BEST) == said
    text = render(entries, FIGURES, base="x/y", settings=SETTINGS)
    assert f"**{said}**" in text
    assert "Try another `train.learning_rate`" in text


def test_its_command_says_nothing_of_where_the_run_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = ["--set", "train.checkpoints_to=demo/kept", "--set", "train.trackio_space=demo/curves"]
    monkeypatch.setattr(sys, "argv", ["train.py", "data", *kept, "--set", "train.epochs=2", "--out", "adapter"])
    text = render(history(), FIGURES, base="x/y", settings=SETTINGS)
    assert "data --set train.epochs=2 --out adapter" in text
    assert "demo/" not in text


def test_its_tables_hold_data_course_settings_and_machine() -> None:
    text = render(history(), FIGURES, base="Qwen/Qwen2.5-3B-Instruct", settings=SETTINGS)
    for line in (
        "| training rows | 1,200 |",
        "| rows left out, longer than `dataset.max_length` | 7 |",
        "| tokens seen, prompts and answers | 4,000 |",
        "| tokens a second, median of the steps between two logs | 12 |",
        "| time in optimiser steps | 5 min 20 s |",
        "| gone on from a checkpoint | after step 4 |",
        "| `learning_rate` | 5e-05 |",
        "| `lora.r` | 16 |",
        "| base | Qwen/Qwen2.5-3B-Instruct |",
    ):
        assert line in text
    assert "torch " in text
    assert "private" not in text  # where its checkpoints and curves went is nobody's business


def test_without_questions_it_says_so_and_no_cell_is_empty() -> None:
    text = render(history(asked=False), FIGURES, base="x/y", settings=SETTINGS)
    assert "no question of multiple choice that was asked" in text
    assert "| 2, kept | 8 | 1.850 | 1.250 |\n" in text
    assert "| epoch | step | training loss | validation loss |\n|--:|--:|--:|--:|\n" in text


def test_a_number_of_questions_that_changed_on_the_way_is_told_of_the_evaluations_that_had_some(tmp_path: Path) -> None:
    def told(*unasked: int, counts: dict[int, int] | None = None) -> str:
        entries = history()
        for entry in (entry for entry in entries if "eval_loss" in entry):
            for name in [name for name in entry if name.startswith("eval_accuracy") and entry["step"] in unasked]:
                del entry[name]
            if counts and entry["step"] not in unasked:
                entry["eval_accuracy_questions"] = counts[entry["step"]]
        if counts:
            plot_losses(entries, BEST, tmp_path / "loss.png")
        return render(entries, FIGURES, base="x/y", settings=SETTINGS)

    assert "label, 25.0 % were right before training." in told(8)
    assert "| 2, kept | 8 | 1.850 | 1.250 | – |" in told(8)
    kept = f"72.5 % (95 % interval {' to '.join(f'{100 * bound:.1f} %' for bound in wilson(29, 40))})"
    assert f"label, {kept} were right at the kept epoch." in told(0, 4)
    assert "label, none was asked before training or at the kept epoch." in told(0, 8)
    text = told(4, counts={0: 40, 4: 9, 8: 9})
    assert "Of 9 to 40 validation questions" in text
    assert "validation loss | right of 9 to 40 |" in text


def test_tables_are_whole(tmp_path: Path) -> None:
    write_report(tmp_path, history(), FIGURES, base=str(tmp_path), settings=SETTINGS)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table
    assert str(tmp_path) not in text
    for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real training of two steps with questions of multiple choice."""
    folder = tmp_path_factory.mktemp("run")
    tiny_model(folder / "base")
    rows = [row_of(question(number, task="research")) for number in range(8)]
    for split, count in (("train", 8), ("validation", 4)):
        write_rows(folder / "dataset" / "research_qa" / f"{split}.parquet", rows[:count])
    start(folder)
    return folder / "adapter"


def start(folder: Path, out: str = "adapter", **changed: Any) -> None:
    named = {"dtype": "float32", "gradient_checkpointing": False, "report_to": "none"}
    settings = Train(epochs=1, learning_rate=1e-2, **named, **changed)
    arguments = {"base": str(folder / "base"), "revision": "main", "max_length": 256, "seed": 1}
    train(folder / "dataset", folder / out, settings=settings, **arguments)


def test_stopped_among_its_questions_it_goes_on_with_none(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(9))

    def heard() -> None:
        if next(calls) == 1:  # the second evaluation's
            raise EvaluationEndedError

    with monkeypatch.context() as patch:
        patch.setattr("jobs.training.accuracy.end_if_asked", heard)
        with pytest.raises(stopping.Interrupted):
            start(run.parent, "again")
    start(run.parent, "again", accuracy_questions=0)
    again = run.parent / "again"
    assert read_step(again).figures["best"] == read_step(run).figures["best"]
    assert file_sha256(again / "adapter_model.safetensors") == file_sha256(run / "adapter_model.safetensors")
    evaluations = [entry for entry in json.loads((again / "log_history.json").read_text()) if "eval_loss" in entry]
    assert [("eval_accuracy" in entry, entry["step"]) for entry in evaluations] == [(True, 0), (False, 2)]


def test_a_real_run_measures_before_and_after_each_epoch(run: Path) -> None:
    entries = json.loads((run / "log_history.json").read_text())
    evaluations = [entry for entry in entries if "eval_loss" in entry]
    assert [entry["step"] for entry in evaluations] == [0, 2]
    assert all(entry["eval_accuracy_questions"] == 4 for entry in evaluations)
    logs = [entry for entry in entries if "loss" in entry]
    assert logs[-1]["tokens"] > 400
    assert all(entry["tokens_per_second"] > 0 for entry in logs)
    assert logs[-1]["seconds"] >= logs[0]["seconds"] > 0


def test_its_report_is_part_of_what_the_step_made(run: Path) -> None:
    assert {"report.md", "loss.png", "course.png"} <= set(read_step(run).outputs)
    text = (run / "report.md").read_text(encoding="utf-8")
    assert "Of 4 validation questions of multiple choice" in text
    assert "| base | base |" in text
    assert "| training rows | 8 |" in text
