"""Steps that are killed at random moments end with the same files; `make kills` does it to all of them, 20 times."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.kills import FOLDERS, World, differences, main

STEPS = ["collect", "build index", "write questions"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The undisturbed results of three steps on a few documents."""
    world = World(tmp_path_factory.mktemp("kills") / "world", every=6)
    world.undisturbed(STEPS)
    return world


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_step_ends_with_the_same_files(world: World, step: str) -> None:
    trial = world.trial(step, kills=2, seed=17)
    assert (trial.kills, trial.differences) == (2, [])


def test_the_pipeline_stops_with_a_code_that_means_start_me_again(world: World) -> None:
    with world.hub() as env:
        (world.run / FOLDERS["build index"]).rename(world.folder / "index")
        process = world.start("build index", env)
        while "collect" not in (world.folder / "log.txt").read_text():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 75
        assert (world.folder / "log.txt").read_text().endswith("the same command goes on where it was\n")
        world.finish("build index", env)
    assert differences(world.folder / "index", world.run / FOLDERS["build index"]) == []


def test_a_difference_is_seen(world: World, tmp_path: Path) -> None:
    reference = world.reference / "passages"
    other = tmp_path / "passages"
    other.mkdir()
    for path in reference.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    record = (other / "step.json").read_text()
    (other / "step.json").write_text(record.replace('"step": "collect"', '"step": "gather"'))
    (other / "extra.txt").touch()
    (other / "passages.jsonl").write_bytes(b"torn")
    assert differences(reference, other) == [
        "hashes in step.json",
        "extra.txt",
        "passages.jsonl",
        "step.json step",
    ]


@pytest.mark.kills
@pytest.mark.timeout(7200)
def test_every_step_is_killed_twenty_times() -> None:
    with pytest.raises(SystemExit) as end:
        main([])
    assert not end.value.code
