"""Mistakes of the command line that cost nothing to find."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
