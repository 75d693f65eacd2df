"""A step that failed leaves its last lines and the command to go on, without secrets, until it succeeds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.errors import UserError
from jobs.step import run_step

ROOT = Path(__file__).parents[1]
TOKEN, KEY = "hf_" + "Planted0" * 4, "sk-planted/0123+4567"
STEP = """
import os, signal, sys
from pathlib import Path
from jobs.errors import UserError, run_main
from jobs.progress import bar
from jobs.step import run_step

def work(folder):
    if sys.argv[2] not in ("refused", "stopped early"):
        (folder / "checkpoints").mkdir(exist_ok=True)
    print("\\n".join(f"line {n}" for n in range(100)))
    print("10 %\\r20 %\\r30 %", os.environ["HF_TOKEN"], os.environ["OPENAI_API_KEY"], file=sys.stderr)
    if sys.argv[2] == "bug":
        {}["missing " + os.environ["HF_TOKEN"]]
    if sys.argv[2] in ("stopped", "stopped early"):
        os.kill(os.getpid(), signal.SIGTERM)
    if sys.argv[2] in ("mistake", "refused"):
        raise UserError("train.batch_size: too large")
    return {}

run_main(lambda: run_step("fail", Path(sys.argv[1]), arguments={}, inputs={}, work=work))
"""


def run(out: Path, how: str) -> subprocess.CompletedProcess[str]:
    script = out.parent / "fail.py"
    script.write_text(STEP)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_TOKEN": TOKEN, "OPENAI_API_KEY": KEY}
    return subprocess.run([sys.executable, script, out, how], env=env, capture_output=True, text=True, check=False)


def test_a_bug_leaves_its_traceback_until_the_step_succeeds(tmp_path: Path) -> None:
    out, note = tmp_path / "out", tmp_path / "out.failed.txt"
    done = run(out, "bug")
    command = f"python {tmp_path / 'fail.py'} {out} bug"
    assert done.returncode == 1
    assert f"{note}: what happened; to go on where it was: {command}\n" in done.stderr
    assert "KeyError: 'missing" in done.stderr.splitlines()[-1]  # a bug stays visible
    kept = note.read_text()
    assert f"to go on: {command}\n" in kept
    assert "Traceback (most recent call last):" in kept
    assert TOKEN not in kept
    assert KEY not in kept
    assert kept.endswith("line 98\nline 99\n30 % [hidden] [hidden]\n")
    assert "line 50\n" not in kept
    assert run(out, "well").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fail.py", "out"]


def test_a_mistake_is_noted_only_where_something_was_kept(tmp_path: Path) -> None:
    refused = run(tmp_path / "out", "refused")
    assert (refused.returncode, sorted(path.name for path in tmp_path.iterdir())) == (2, ["fail.py"])
    assert refused.stderr.splitlines()[3:] == ["error: train.batch_size: too large"]
    kept = run(tmp_path / "out", "mistake")
    assert kept.returncode == 2
    assert kept.stderr.splitlines()[-1] == "error: train.batch_size: too large"
    assert kept.stderr.splitlines()[-2].startswith(f"{tmp_path / 'out.failed.txt'}: what happened; to go on")
    text = (tmp_path / "out.failed.txt").read_text()
    assert "UserError: train.batch_size: too large\n" in text
    assert "Traceback" not in text


def test_a_signal_is_noted_and_told_in_one_line(tmp_path: Path) -> None:
    stopped = run(tmp_path / "out", "stopped")
    assert stopped.returncode == 75
    assert stopped.stderr.splitlines()[3:] == ["stopped by SIGTERM; the same command goes on where it was"]
    assert "Interrupted: SIGTERM" in (tmp_path / "out.failed.txt").read_text()
    (tmp_path / "out.failed.txt").unlink()
    run(tmp_path / "out2", "stopped early")
    assert not (tmp_path / "out2.failed.txt").exists()  # nothing to go on from


TEAM = """
import os, signal, sys, time
from pathlib import Path
from jobs.errors import run_main
from jobs.team import Team, one_voice, run_shared

def work(folder):
    (folder / "checkpoints").mkdir(exist_ok=True)
    time.sleep(60)

def share(folder):
    while not (folder / "checkpoints").exists():
        time.sleep(0.01)
    raise MemoryError("on the second GPU")

def main():
    run_shared(Team.current(), "train", Path(sys.argv[1]), arguments={}, inputs={}, work=work, share=share)

run_main(one_voice(main))
"""


def test_of_several_processes_the_first_that_fails_writes_the_note(tmp_path: Path) -> None:
    out, script, launch = tmp_path / "out", tmp_path / "team.py", ["-m", "torch.distributed.run", "--nproc_per_node=2"]
    script.write_text(TEAM)
    (tmp_path / "out.failed.txt").write_text("of another start")
    os.utime(tmp_path / "out.failed.txt", (0, 0))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, *launch, "--rdzv-endpoint=127.0.0.1:0", "--rdzv-backend=c10d", script, out]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=120)
    text = (tmp_path / "out.failed.txt").read_text()
    assert done.returncode == 1  # the launcher's own, whatever its processes ended with
    assert "MemoryError: on the second GPU" in text, done.stderr
    assert "Interrupted" not in text
    again = f"accelerate launch --num_processes 2 {script} {out} (and what else the launcher was given)\n"
    assert f"to go on: {again}" in text
    assert done.stderr.count(again) == 1


def test_a_call_without_a_command_leaves_nothing(tmp_path: Path) -> None:
    def work(folder: Path) -> dict[str, object]:
        (folder / "checkpoints").mkdir()
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        run_step("fail", tmp_path / "out", arguments={}, inputs={}, work=work)
    assert [path.name for path in tmp_path.iterdir()] == ["out.partial"]
