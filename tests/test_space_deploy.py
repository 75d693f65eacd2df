"""Deploying the Space: what is committed is all that the page needs, pinned; said is how far it came."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import snapshot_download

from jobs import space_deploy
from jobs.config import RunConfig
from jobs.errors import UserError
from jobs.pipeline_steps import steps
from jobs.space_deploy import SERVED
from local_hub.faults import fail
from local_hub.names import RepoId
from local_hub.testing import RunningHub, running_hub
from space.settings import VARIABLES
from tests.api_client import ready, state_of
from tests.publishing import REPOSITORIES, api, refused
from tests.spaces import SPACE, WHEEL, deploy, published_run
from tests.test_app_start import free_port

ROOT = Path(__file__).parents[1]
SPACE_ID = RepoId.parse("space", SPACE)
RUN_ALONE = """
import runpy, sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
assert not any(name in sys.modules for name in ("qa", "space", "jobs"))
runpy.run_path("app.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="module")
def world(hub: RunningHub, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run that has been published with its Space; `told` is what was said of it."""
    world = published_run(hub, tmp_path_factory.mktemp("world"))
    world.told = world.published["space"]
    return world


@pytest.fixture(scope="module")
def files(hub: RunningHub, world: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the Space holds, in a folder with nothing else."""
    folder = tmp_path_factory.mktemp("space")
    snapshot_download(
        SPACE, repo_type="space", revision=world.told["revision"], local_dir=folder, endpoint=hub.endpoint
    )
    return folder


def header(files: Path) -> dict[str, Any]:
    return yaml.safe_load((files / "README.md").read_text(encoding="utf-8").split("---\n")[1])


def test_the_space_holds_the_app_and_nothing_of_the_jobs(hub: RunningHub, world: Any, files: Path) -> None:
    names = set(api(hub).list_repo_files(SPACE, repo_type="space")) - {".gitattributes"}
    assert {"app.py", "requirements.txt", "packages.txt", "README.md", "LICENSE", "space/page.js"} <= names
    assert {name.split("/")[0] for name in names if "/" in name} == {"qa", "space"}
    assert {Path(name).suffix for name in names} == {"", ".py", ".txt", ".md", ".css", ".js", ".svg"}
    for name in names - {"README.md", "requirements.txt", "packages.txt"}:
        assert (files / name).read_bytes() == (ROOT / name).read_bytes()
    assert world.told["stage"] == "RUNNING"
    assert world.told["address"] == f"{hub.endpoint}/spaces/{SPACE}"
    assert world.told["address"] in world.said
    assert len(api(hub).list_repo_commits(SPACE, repo_type="space")) == 2  # the Hub's own and ours


def test_the_card_pins_what_is_served_and_preloads_the_models(world: Any, files: Path) -> None:
    data, revisions = header(files), {kind: world.published[kind]["revision"] for kind in SERVED}
    assert (data["sdk"], data["sdk_version"], data["app_file"]) == ("gradio", "6.31.0", "app.py")
    assert data["python_version"] == "3.12"
    assert 'python_version: "3.12"' in (files / "README.md").read_text().replace("'", '"')
    assert data["suggested_hardware"] == "cpu-basic"
    assert data["models"] == [REPOSITORIES["gguf"], REPOSITORIES["base_gguf"]]
    assert data["datasets"] == [REPOSITORIES["dataset"], REPOSITORIES["index"]]
    assert data["preload_from_hub"] == [
        f"{REPOSITORIES['gguf']} footnote-tiny-Q4_K_M.gguf {revisions['gguf']}",
        f"{REPOSITORIES['base_gguf']} footnote-tiny-base-Q4_K_M.gguf {revisions['base_gguf']}",
    ]


def test_the_variables_are_the_revisions_and_no_secret_is_set(hub: RunningHub, world: Any) -> None:
    variables = {key: variable.value for key, variable in api(hub).get_space_variables(SPACE).items()}
    kinds = {"MODEL": "gguf", "BASE": "base_gguf", "DATA": "dataset", "INDEX": "index"}
    assert variables == {f"FOOTNOTE_{key}": REPOSITORIES[kind] for key, kind in kinds.items()} | {
        f"FOOTNOTE_{key}_REVISION": world.published[kind]["revision"] for key, kind in kinds.items()
    }
    assert variables.keys() <= {variable.name for variable in VARIABLES}
    assert api(hub).get_space_secrets(SPACE) == {}


def test_the_requirements_are_the_projects_with_the_wheel_that_pip_takes(
    hub: RunningHub, world: Any, files: Path, tmp_path: Path
) -> None:
    ours = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line]
    there = (files / "requirements.txt").read_text().splitlines()
    (wheel,) = set(there) - set(ours)
    assert set(ours) - set(there) == {"gradio==6.31.0", "llama-cpp-python==0.3.36"}
    revision = world.published["gguf"]["revision"]
    address = f"{hub.endpoint}/{REPOSITORIES['gguf']}/resolve/{revision}/wheels/{WHEEL}"
    assert re.fullmatch(rf"llama-cpp-python @ {re.escape(address)}#sha256=[0-9a-f]{{64}}", wheel)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-index",
        "--no-deps",
        "--no-cache-dir",
        "--target",
        str(tmp_path),
    ]
    subprocess.run([*pip, wheel], check=True, capture_output=True)
    assert (tmp_path / "llama_cpp" / "__init__.py").read_text() == '__version__ = "0.3.36"\n'
    other = subprocess.run([*pip, f"{wheel[:-4]}0000"], capture_output=True, text=True, check=False)
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in other.stderr


def test_a_repeat_commits_nothing_and_restarts_nothing(hub: RunningHub, world: Any) -> None:
    before = hub.store.meta(SPACE_ID)
    done = deploy(hub, world)
    again = json.loads(done.stdout.splitlines()[-1])
    assert (again["committed"], again["revision"], again["stage"]) == (False, world.told["revision"], "RUNNING")
    assert len(api(hub).list_repo_commits(SPACE, repo_type="space")) == 2
    assert hub.store.meta(SPACE_ID) == before


@contextmanager
def alone(hub: RunningHub, files: Path, home: Path) -> Iterator[str]:
    """The committed files as an app, with the Space's variables and without token or project; its address."""
    variables = {key: variable.value for key, variable in api(hub).get_space_variables(SPACE).items()}
    port = free_port()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "PYTHON"))}
    environment |= hub.environment(home) | variables | {"FOOTNOTE_PORT": str(port), "HF_TOKEN": ""}
    log = home / "log.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN_ALONE], cwd=files, env=environment, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        for _ in range(600):
            assert process.poll() is None, log.read_text()
            try:
                state_of(f"http://127.0.0.1:{port}")
                break
            except (OSError, ValueError):
                subprocess.run(["sleep", "0.1"], check=True)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def test_the_committed_files_alone_are_the_page_and_preloaded_models_are_not_fetched_again(
    hub: RunningHub, world: Any, files: Path, tmp_path: Path
) -> None:
    for line in header(files)["preload_from_hub"]:  # what the build of a Space does
        repository, names, revision = line.split()
        snapshot_download(
            repository,
            revision=revision,
            allow_patterns=names.split(","),
            cache_dir=tmp_path / "hub",
            endpoint=hub.endpoint,
            token=False,
        )
    asked: list[str] = []
    hub.faults.append(lambda method, path: asked.append(path))  # type: ignore[func-returns-value]
    try:
        with alone(hub, files, tmp_path) as address:
            state = state_of(ready(address))
    finally:
        hub.faults.clear()
    served = {part["repository"]: part["revision"] for part in [*state["parts"], state["papers"]]}
    assert served == {world.published[kind]["repository"]: world.published[kind]["revision"] for kind in SERVED}
    assert not [path for path in asked if path.endswith(".gguf")]
    assert any(path.endswith("space/test_questions.jsonl") for path in asked)


def test_a_space_that_does_not_build_shows_its_log(hub: RunningHub, world: Any) -> None:
    hub.store.update(SPACE_ID, ends="BUILD_ERROR", log=["ERROR: no wheel for this platform"])
    done = deploy(hub, world)
    hub.store.update(SPACE_ID, ends=None, log=None)
    refused(done, "BUILD_ERROR", f"{hub.endpoint}/spaces/{SPACE}")
    assert "ERROR: no wheel for this platform" in done.stdout


def test_a_paused_space_is_not_waited_for(hub: RunningHub, world: Any) -> None:
    api(hub).pause_space(SPACE)
    done = deploy(hub, world)
    api(hub).restart_space(SPACE)
    refused(done, "PAUSED", "restart it")


def test_a_plan_that_is_not_paid_for_is_explained_and_nothing_is_made(hub: RunningHub, world: Any) -> None:
    hub.faults.append(fail("POST", "/api/repos/create", 402, message="Payment required"))
    done = deploy(hub, world, name="another")
    hub.faults.clear()
    refused(done, "402", "Payment required", "paid plan")
    assert not api(hub).repo_exists("demo/another", repo_type="space")


def refusal(world: Any, *, private: bool = False, **changes: Any) -> str:
    """What is said against deploying before anything is asked of the Hub; nothing listens at this process's."""
    with pytest.raises(UserError) as error:
        space_deploy.deploy(world.run, "demo", "x", world.published | changes, private=private, wait=True)
    return str(error.value)


def test_what_a_space_could_not_read_is_refused(world: Any) -> None:
    assert "--private" in refusal(world, private=True)
    assert refusal(world, gguf=world.published["gguf"] | {"private": True}).startswith(REPOSITORIES["gguf"])
    (world.run / "wheel").rename(world.run / "aside")
    said = refusal(world)
    (world.run / "aside").rename(world.run / "wheel")
    assert f"python -m jobs.build_wheel --out {world.run / 'wheel'}" in said


def test_a_revision_without_the_wheel_is_refused(hub: RunningHub, world: Any) -> None:
    first = api(hub).list_repo_commits(REPOSITORIES["gguf"])[-1].commit_id
    done = deploy(hub, world, gguf=world.published["gguf"] | {"revision": first})
    refused(done, WHEEL, "publish again")


def test_the_pipeline_builds_the_wheel_for_a_space_alone(tmp_path: Path) -> None:
    publish = {"namespace": "demo", "name": "x"}
    for space in (False, True):
        config = RunConfig(name="x", publish=publish | {"space": space})
        assert ("wheel" in [folder for _, folder, _ in steps(config, tmp_path)]) is space
    with pytest.raises(ValueError, match="no private repository"):
        RunConfig(name="x", publish=publish | {"space": True, "private": True})
