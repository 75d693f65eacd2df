"""Steps that are killed at random moments end with the same files; `make kills` does it to all of them, 20 times."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from local_hub.testing import running_hub
from tests.kills import FOLDERS, World, differences, main, published
from tests.publishing import api

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


def test_other_contents_of_the_same_size_on_the_hub_are_seen(tmp_path: Path) -> None:
    with running_hub(tmp_path / "hub") as hub:
        env, client = hub.environment(tmp_path / "home"), api(hub)
        client.create_repo("demo/x")
        seen = []
        for letter, commit in (("a", "0" * 40), ("a", "1" * 40), ("b", "1" * 40)):
            for name, text in (("config.json", f"{letter} {commit}"), ("model.gguf", letter * 20)):
                client.upload_file(path_or_fileobj=text.encode(), path_in_repo=name, repo_id="demo/x")
            seen.append(published(env)["demo/x"]["files"])
    assert {*seen[0]} >= {"config.json", "model.gguf"}
    assert seen[0] == seen[1]  # another commit is named
    assert [name for name in seen[0] if seen[1][name] != seen[2][name]] == ["config.json", "model.gguf"]


@pytest.mark.kills
@pytest.mark.timeout(7200)
def test_every_step_is_killed_twenty_times() -> None:
    with pytest.raises(SystemExit) as end:
        main([])
    assert not end.value.code
