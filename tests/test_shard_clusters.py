"""Shards on Slurm, whose commands are stand-ins here, and on Ray, where it is installed."""

from __future__ import annotations

import json
import os
import signal
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from jobs import stopping
from jobs.data_config import Scale, Slurm
from jobs.errors import UserError
from jobs.shards import run_shards
from tests import fake_slurm, shard_work

ITEMS = [{"n": n} for n in range(8)]
WANTED = [{"n": n, "square": n * n, "text": ""} for n in range(8)]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the one Slurm job."""
    monkeypatch.setattr("jobs.shard_executors.POLL", 0.05)
    folder = tmp_path / "slurm"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{fake_slurm.install(folder)}:{os.environ['PATH']}")
    return folder


def run(folder: Path, executor: str = "slurm", how: str = "", **settings: Any) -> list[dict[str, Any]]:
    work = partial(shard_work.fail, how=how) if how else shard_work.trace
    scale = Scale(executor=executor, workers=2, slurm=Slurm(**settings))
    return list(run_shards("squares", ITEMS, partial(work, folder=str(folder)), folder, scale=scale, size=2))


def test_slurm_gives_what_this_machine_gives(tmp_path: Path, slurm: Path, capfd: Any) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    assert run(there, partition="night", memory_gb=3, environment="export OWN=1") == run(here, "local") == WANTED
    script = (slurm / "script").read_text()
    lines = [line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH")]
    assert {"array=0-3%2", "partition=night", "mem-per-cpu=3G", "time=04:00:00", "cpus-per-task=1"} <= set(lines)
    assert "job-name=footnote-squares" in lines
    assert "export OWN=1; export PATH=" in script
    results = [path / "squares" / "results" / "00001.jsonl" for path in (there, here)]
    assert results[0].read_bytes() == results[1].read_bytes()
    assert str(os.getpid()) not in (there / "traces").read_text()
    assert not (slurm / "cancelled").exists()
    assert capfd.readouterr() == ("", "")
    (slurm / "script").unlink()
    assert run(there) == WANTED
    assert not (slurm / "script").exists()
    assert shard_work.traces(there) == [0, 2, 4, 6]


def test_the_clusters_own_partition_is_taken_where_none_is_named(tmp_path: Path, slurm: Path) -> None:
    run(tmp_path)
    assert "partition" not in (slurm / "script").read_text()
    assert "qos" not in (slurm / "script").read_text()


def test_what_a_job_raises_ends_the_run_and_the_job(tmp_path: Path, slurm: Path) -> None:
    with pytest.raises(UserError, match=r"^paper\.pdf: cannot be used; remove it$"):
        run(tmp_path, how="user")
    assert (slurm / "cancelled").read_text() == "42\n"
    (tmp_path / "traces").unlink()
    (tmp_path / "mended").touch()
    assert run(tmp_path, how="user") == WANTED
    assert shard_work.traces(tmp_path) == [6]
    assert json.loads((tmp_path / "squares" / "datatrove" / "ranks_to_run.json").read_text()) == [3]


def test_a_signal_takes_the_job_back_however_long_that_takes(
    tmp_path: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.stopping.GRACE", 60)
    scancel = slurm / "bin" / "scancel"
    scancel.write_text(scancel.read_text().replace("echo", "sleep 1.5; echo"))

    def ask() -> None:
        while not (slurm / "script").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    with stopping.listen():
        Thread(target=ask, daemon=True).start()
        with pytest.raises(stopping.Interrupted, match="SIGTERM"):
            run(tmp_path)
    assert (slurm / "cancelled").read_text() == "42\n"


def test_a_job_that_ends_without_results_is_an_error(tmp_path: Path, slurm: Path) -> None:
    with pytest.raises(UserError, match=r"^shard 00003 ended without a result; see .*datatrove, then start again"):
        run(tmp_path, how="killed")
    with pytest.raises(RuntimeError, match=r"^ValueError: six \(shard 00003, log in .*/datatrove\)$"):
        run(tmp_path, how="value")
    said = (tmp_path / "squares" / "datatrove" / "logs" / "task_00003.log").read_text()
    assert "ValueError: six" in said


def test_what_slurm_cannot_do_is_said_in_one_line(tmp_path: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (slurm / "refuse").touch()
    with pytest.raises(UserError, match=r"^scale\.slurm: sbatch refused the job \(exit code 1\)"):
        run(tmp_path)
    with pytest.raises(UserError, match="use a folder without spaces"):
        run(tmp_path / "my papers")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match=r"^scale\.executor: slurm needs sbatch on this machine; "):
        run(tmp_path)


def test_ray_is_asked_for_where_it_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.shard_executors.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^scale\.executor: ray is not installed; pip install ray, or use local$"):
        run(tmp_path, "ray")


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_ray_gives_the_same_and_says_what_failed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^paper\.pdf: cannot be used; remove it$"):
        run(tmp_path, "ray", how="user")
    (tmp_path / "mended").touch()
    assert run(tmp_path, "ray", how="user") == WANTED
