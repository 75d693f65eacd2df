"""A run that lost its machine goes on from the Hub; what is there is private, whole and its own, or it is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.utils import _http

from jobs import hub_commit
from jobs.errors import UserError
from jobs.step import CHECKPOINTS, file_sha256
from jobs.training.hub_checkpoints import FOLDER, SQUASHED_EVERY, HubCheckpoints, resume_from
from jobs.training.whole import WHOLE, claim_of, newest_checkpoint, read_mark
from local_hub.faults import fail
from local_hub.testing import RunningHub, running_hub
from tests.training_runs import KilledError, Seen, fake_checkpoint, kill_at, start, undisturbed_run, watch_rows

CLAIM = {"configuration": "c", "data set": "d", "base": "b", "code": "e"}
ADAPTER = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture
def hub(server: RunningHub, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningHub]:
    """The Hub that this process now talks to, with its token, and without waiting before it asks again."""
    for module in (_http, hub_commit):
        monkeypatch.setattr(module, "time", SimpleNamespace(sleep=lambda _: None))
    reach(monkeypatch, server.endpoint)
    monkeypatch.setenv("HF_TOKEN", server.write_token)
    yield server
    server.faults.clear()


def reach(patch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Have the Hub's client talk to another address than the one it read when it was imported."""
    patch.setattr(constants, "ENDPOINT", endpoint)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")


def fake(folder: Path, step: int, claim: Mapping[str, str] = CLAIM) -> Path:
    return fake_checkpoint(folder, step, claim)


def send(repository: str, *checkpoints: Path) -> None:
    for checkpoint in checkpoints:
        with HubCheckpoints(repository, CLAIM) as there:
            there.put(checkpoint)


def step_there(repository: str) -> int:
    path = HfApi().hf_hub_download(repository, f"{FOLDER}/{WHOLE}")
    return json.loads(Path(path).read_text())["step"]


def test_a_run_whose_machine_is_gone_goes_on_from_the_hub(
    hub: RunningHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    undisturbed, expected = undisturbed_run()
    repository, seen = "demo/long-run", Seen()
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, "on_step_begin", 14)
        with pytest.raises(KilledError):
            start(tmp_path / "first", checkpoints_to=repository)
    assert step_there(repository) == 12
    assert HfApi().model_info(repository).private
    shutil.rmtree(tmp_path / "first.partial")
    with pytest.MonkeyPatch.context() as patch:
        watch_rows(patch, seen)
        record, _ = start(tmp_path / "second", checkpoints_to=repository)
    assert record.figures["resumed_from"] == "checkpoint-12"
    assert seen.steps == {step: rows for step, rows in expected.steps.items() if step > 12}
    assert file_sha256(tmp_path / "second" / ADAPTER) == file_sha256(undisturbed / ADAPTER)
    assert step_there(repository) == 18
    names = set(HfApi().list_repo_files(repository))
    assert {f"{FOLDER}/{name}" for name in (ADAPTER, "optimizer.pt", f"best/{ADAPTER}", "best.json")} <= names
    assert not [name for name in names if name.endswith("training_args.bin")]
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:  # ended, and its folder lost before anybody used it
        watch_rows(patch, seen)
        record, _ = start(tmp_path / "third", checkpoints_to=repository)
    assert record.figures["resumed_from"] == "checkpoint-18"
    assert min(seen.steps) == 13
    assert file_sha256(tmp_path / "third" / ADAPTER) == file_sha256(undisturbed / ADAPTER)
    assert "not sent" not in capsys.readouterr().err


def test_the_newer_of_here_and_there_is_taken(hub: RunningHub, tmp_path: Path) -> None:
    repository, here = "demo/newer", tmp_path / CHECKPOINTS
    assert resume_from(here, CLAIM, HubCheckpoints(repository, CLAIM)) is None  # nor a repository
    send(repository, fake(tmp_path / "elsewhere", 6))
    (here / "from-hub-killed").mkdir(parents=True)
    fetched = resume_from(here, CLAIM, HubCheckpoints(repository, CLAIM))
    assert fetched == here / "checkpoint-6"
    assert newest_checkpoint(here, CLAIM) == fetched
    assert (fetched / "best" / "weights").read_bytes() == b"\0best/weights 6"
    assert [path.name for path in here.iterdir()] == ["checkpoint-6"]
    newer = fake(here, 9)
    with HubCheckpoints(repository, CLAIM) as there:
        assert resume_from(here, CLAIM, there) == newer
    assert step_there(repository) == 9  # it had not been sent
    (newer / "weights").unlink()
    shutil.rmtree(fetched)
    assert resume_from(here, CLAIM, HubCheckpoints(repository, CLAIM)) == newer
    assert (newer / "weights").read_bytes() == b"\0weights 9"


def test_one_commit_holds_one_checkpoint_and_the_history_is_squashed(hub: RunningHub, tmp_path: Path) -> None:
    repository, counts = "demo/squashed", []
    with HubCheckpoints(repository, CLAIM) as there:
        for step in range(1, SQUASHED_EVERY + 2):
            there.put(fake(tmp_path, step))
            assert there.thread
            there.thread.join()
            counts.append(len(HfApi().list_repo_commits(repository)))
    assert counts == [2, 3, 4, 1, 2]  # the Hub's own first commit, then one each
    held = sorted(HfApi().list_repo_files(repository))
    files = [f"{FOLDER}/{name}" for name in ("best/weights", "weights", WHOLE)]
    assert held == sorted([".gitattributes", "README.md", *files])


def test_a_hub_that_fails_costs_a_line_and_the_last_is_sent_in_the_end(
    hub: RunningHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = "demo/failing"
    hub.faults.append(fail("POST", r"/preupload/", 403, message="no room"))
    with HubCheckpoints(repository, CLAIM) as there:
        there.put(fake(tmp_path, 3))
        assert there.thread
        there.thread.join()
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1
        assert said[0].startswith(f"{repository}: checkpoint-3 was not sent ({repository}: ")
        assert "answered 403 (no room)" in said[0]
        assert hub.write_token not in said[0]
    assert step_there(repository) == 3


def test_one_is_left_out_while_the_last_is_under_way_and_its_files_stay(
    hub: RunningHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    from jobs.training import hub_checkpoints

    sent, go_on = [], threading.Event()

    def slow(*_: object, title: str, **__: object) -> None:
        sent.append(title)
        assert go_on.wait(30)

    monkeypatch.setattr(hub_checkpoints, "commit_files", slow)
    first, second, third = (fake(tmp_path, step) for step in (1, 2, 3))
    with HubCheckpoints("demo/slow", CLAIM) as there:
        there.put(first)
        assert there.uploading == first
        there.put(second)
        there.put(third)
        assert there.uploading == first
        go_on.set()
    assert sent == ["checkpoint-1", "checkpoint-3"]
    assert there.uploading is None


def refused(repository: str, tmp_path: Path) -> str:
    """What is said where a training is to begin; nothing is fetched."""
    with pytest.raises(UserError) as fault:
        resume_from(tmp_path / CHECKPOINTS, CLAIM, HubCheckpoints(repository, CLAIM))
    assert not list((tmp_path / CHECKPOINTS).glob("checkpoint-*"))
    assert "\n" not in str(fault.value)
    return str(fault.value)


@pytest.mark.parametrize("part", list(CLAIM))
def test_another_trainings_checkpoint_is_neither_used_nor_replaced(part: str, hub: RunningHub, tmp_path: Path) -> None:
    repository = f"demo/other-{part.replace(' ', '-')}"
    other = {**CLAIM, part: "other"}
    with HubCheckpoints(repository, other) as there:
        there.put(fake(tmp_path, 7, other))
    assert f"{repository} holds step 7 of a training with another {part}; delete it" in refused(repository, tmp_path)
    send(repository, fake(tmp_path, 8))
    assert step_there(repository) == 7


def test_what_is_public_or_holds_something_else_is_refused(hub: RunningHub, tmp_path: Path) -> None:
    HfApi().create_repo("demo/public")
    assert "demo/public is public" in refused("demo/public", tmp_path)
    HfApi().create_repo("demo/mine", private=True)
    HfApi().upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id="demo/mine")
    assert "demo/mine holds config.json, which is of no checkpoint" in refused("demo/mine", tmp_path)
    send("demo/mine", fake(tmp_path, 8))
    send("demo/public", fake(tmp_path, 9))
    assert "config.json" in HfApi().list_repo_files("demo/mine")
    assert HfApi().list_repo_files("demo/public") == [".gitattributes"]


def test_a_damaged_checkpoint_there_is_refused_by_its_file(hub: RunningHub, tmp_path: Path) -> None:
    repository, place = "demo/damaged", f"{FOLDER}/weights"
    send(repository, fake(tmp_path, 8))
    HfApi().upload_file(path_or_fileobj=b"\0weights 9", path_in_repo=place, repo_id=repository)
    assert "weights is not what was saved; delete it to train from the beginning" in refused(repository, tmp_path)
    HfApi().delete_file(place, repository)
    assert "names other files than it holds" in refused(repository, tmp_path)


def test_a_token_that_may_not_write_is_refused_before_anything_is_trained(
    hub: RunningHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.read_token)
    assert "set HF_TOKEN to a write token" in refused("demo/read-only", tmp_path)
    monkeypatch.delenv("HF_TOKEN")
    assert "no token" in refused("demo/read-only", tmp_path)


def test_without_the_hub_only_a_local_checkpoint_is_gone_on_from(
    hub: RunningHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.faults.append(fail("GET", r"/api/models/", 503, times=99))
    assert "answered 503" in refused("demo/down", tmp_path)
    reach(monkeypatch, "http://127.0.0.1:9")
    said = refused("demo/down", tmp_path)
    assert "http://127.0.0.1:9 cannot be reached" in said
    assert "leave out train.checkpoints_to to train without what may be there" in said
    local = fake(tmp_path / CHECKPOINTS, 3)
    assert resume_from(local.parent, CLAIM, HubCheckpoints("demo/down", CLAIM)) == local
    assert f"going on from {local}" in capsys.readouterr().err


def test_a_claim_names_what_a_training_depends_on_without_its_paths() -> None:
    step = {
        "arguments": {
            "settings": {"epochs": 1},
            "max_length": 8,
            "seed": 1,
            "base": "/a",
            "revision": "r",
            "code": "k",
        },
        "inputs": {"dataset": "d", "base": "f"},
    }
    elsewhere = {**step, "arguments": {**step["arguments"], "base": "/b"}}
    assert claim_of(step) == claim_of(elsewhere)
    of_the_hub = {**step, "inputs": {"dataset": "d"}}
    assert claim_of(of_the_hub)["base"] == "/a@r"
    assert (
        claim_of({**step, "arguments": {**step["arguments"], "seed": 2}})["configuration"]
        != claim_of(step)["configuration"]
    )
    assert read_mark(Path(__file__)) is None
