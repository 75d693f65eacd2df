"""Mistakes of the command line that cost nothing to find."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobs import pipeline
from jobs.config import RunConfig
from jobs.config_file import CONFIGS, load_config
from jobs.errors import UserError
from jobs.pipeline import run_pipeline

ROOT = Path(__file__).parents[1]


def test_documents_that_cannot_make_a_data_set_are_refused_before_any_work(tmp_path: Path) -> None:
    text = "LoRA was introduced by Edward Hu and colleagues in 2021. It is about matrices, and about their low rank. "
    (tmp_path / "one.md").write_text(f"---\ntitle: LoRA\n---\n{text * 2}\n")
    config = load_config(CONFIGS / "tiny.yaml", values={"documents.paths": [str(tmp_path / "one.md")]})
    with pytest.raises(UserError, match=r"give more documents"):
        next(run_pipeline(config, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_run_keeps_the_commit_of_its_base_and_asks_for_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, seen, run = [], [], tmp_path / "run"

    def commit_of(model: str, revision: str) -> str:
        asked.append(f"{model}@{revision}")
        return f"{len(asked):040}"

    def steps(config: RunConfig, run: Path) -> list[object]:
        return [("collect", "passages", lambda out: (seen.append(config.base.revision), True))]

    def start(model: str = "a/b", revision: str = "main") -> str:
        list(pipeline.run_pipeline(RunConfig(name="r", base={"model": model, "revision": revision}), run))
        return seen[-1]

    def refuse(*_: object) -> None:
        raise UserError("no rights")

    monkeypatch.setattr("jobs.hub.commit_of", commit_of)
    monkeypatch.setattr(pipeline, "steps", steps)
    monkeypatch.setattr("jobs.preflight.refuse_early", refuse)
    with pytest.raises(UserError, match="no rights"):
        start()
    assert not run.exists()
    monkeypatch.setattr("jobs.preflight.refuse_early", lambda *_: None)
    assert [start(), start()] == [f"{2:040}"] * 2
    assert asked == ["a/b@main"] * 2  # once by the start that was refused
    assert [start(revision="v2"), start("c/d", "v2"), start("c/d", "v2")] == [f"{n:040}" for n in (3, 4, 4)]
    assert start("c/d", "e" * 40) == "e" * 40
    assert len(asked) == 4
    (run / "base.json").write_text("{torn")
    with pytest.raises(UserError, match=r"base\.json: cannot be read .*; delete it"):
        start()


@pytest.mark.parametrize(
    ("step", "words", "said"),
    [
        ("collect", ["", "--out", "x"], "an empty path was given"),
        (
            "write_questions",
            ["p", "--out", "x", "--max-passages", "0"],
            "--max-passages: Input should be greater than or equal to 1, not 0",
        ),
        ("evaluate", ["a=x", "a=y", "--out", "x"], "a is named twice"),
        ("evaluate", ["a=x", "--out", "x", "--shots", "26"], "--shots"),
        ("publish", ["runs/tiny", "--namespace", "me", "--name", "a/b"], "--name 'a/b'"),
        ("publish", ["no/run", "--namespace", "me"], "no/run: no such folder"),
    ],
)
def test_a_mistake_is_told_with_exit_code_2(step: str, words: list[str], said: str) -> None:
    command = [sys.executable, "-m", f"jobs.{step}", *words]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert shown.returncode == 2
    assert said in shown.stderr
    assert "Traceback" not in shown.stderr
