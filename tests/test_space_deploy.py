"""Deploying the Space: what is committed is all that the page needs, pinned; said is how far it came."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from huggingface_hub import HfApi, snapshot_download

from jobs import space_deploy
from jobs.card_facts import Run
from jobs.config import RunConfig
from jobs.errors import UserError
from jobs.hub import Published
from jobs.pipeline_steps import steps
from jobs.publish import read_published
from jobs.space_deploy import SERVED
from local_hub.faults import fail
from local_hub.names import RepoId
from local_hub.testing import RunningHub, running_hub
from qa.artifacts import Repositories
from space.settings import VARIABLES
from tests.api_client import ready, state_of
from tests.publishing import REPOSITORIES, api, publish, refused
from tests.runs import NAME, NAMESPACE, rewrite
from tests.spaces import SPACE, WHEEL, alone, deploy, publish_page, published_run, variables_of

ROOT = Path(__file__).parents[1]
SPACE_ID = RepoId.parse("space", SPACE)


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
    variables = variables_of(hub)
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
    options = ["--no-index", "--no-deps", "--no-cache-dir", "--target", str(tmp_path)]
    pip = [sys.executable, "-m", "pip", "install", *options]
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


def test_a_space_that_does_not_build_is_built_anew_once_and_shows_its_log(hub: RunningHub, world: Any) -> None:
    hub.store.update(SPACE_ID, ends="BUILD_ERROR", log=["ERROR: no wheel for this platform"])
    done = deploy(hub, world)
    refused(done, "BUILD_ERROR", f"{hub.endpoint}/spaces/{SPACE}")
    assert "ERROR: no wheel for this platform" in done.stdout
    assert hub.store.meta(SPACE_ID)["rebuilds"] == 1
    hub.store.update(SPACE_ID, heals=True, log=None)
    done = deploy(hub, world)
    again = json.loads(done.stdout.splitlines()[-1])
    assert (again["committed"], again["revision"], again["stage"]) == (False, world.told["revision"], "RUNNING")
    assert hub.store.meta(SPACE_ID)["rebuilds"] == 2


def test_a_paused_space_is_not_waited_for(hub: RunningHub, world: Any) -> None:
    api(hub).pause_space(SPACE)
    done = deploy(hub, world)
    api(hub).restart_space(SPACE)
    refused(done, "PAUSED", "restart it")


def test_a_look_that_fails_is_repeated_unless_it_cannot_pass(hub: RunningHub, world: Any) -> None:
    hub.faults.append(fail("GET", f"/{SPACE}/runtime", 503, times=3))
    done = deploy(hub, world)
    hub.faults[:] = [fail("GET", f"/{SPACE}/runtime", 403, message="not yours")]
    refusal = deploy(hub, world)
    hub.faults.clear()
    assert json.loads(done.stdout.splitlines()[-1])["stage"] == "RUNNING"
    refused(refusal, f"{hub.endpoint}/spaces/{SPACE}: ", "403 (not yours)", "it is published all the same")


def test_a_wait_ends_and_says_that_the_page_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(_: HfApi, repository: str) -> None:
        raise httpx2.ConnectError("refused")

    monkeypatch.setattr(HfApi, "get_space_runtime", ask)
    monkeypatch.setattr(space_deploy, "TIMEOUT", 0.05)
    page = Published(SPACE, "space", "0" * 40, f"https://hub/spaces/{SPACE}", 1, 1, True)
    with pytest.raises(UserError, match=rf"^https://hub/spaces/{SPACE}: published, and still not heard of after"):
        space_deploy._await(page)


def test_a_page_that_is_not_paid_for_leaves_all_else_published_and_the_repeat_heals(
    hub: RunningHub, world: Any, tmp_path: Path
) -> None:
    run = shutil.copytree(world.run, tmp_path / "tiny", ignore=shutil.ignore_patterns("cards"))
    hub.faults.append(fail("POST", "/api/repos/create", 402, nth=len(SERVED) + 1, message="Payment required"))
    done = publish_page(hub, run, world.home, "another")
    hub.faults.clear()
    refused(done, "demo/another: ", "402", "Payment required", "paid plan", "all else is published, as v1")
    assert not api(hub).repo_exists("demo/another", repo_type="space")
    kept = read_published(run / "cards")
    assert {kind: (each["revision"], each["tag"]) for kind, each in kept.items()} == {
        kind: (world.published[kind]["revision"], "v1") for kind in SERVED
    }
    done = publish_page(hub, run, world.home, "another")
    assert done.returncode == 0, done.stderr
    healed = read_published(run / "cards")
    page = healed.pop("space")
    assert healed == kept
    assert (page["repository"], page["stage"], page["tag"]) == ("demo/another", "RUNNING", "v1")
    assert [tag.name for tag in api(hub).list_repo_refs("demo/another", repo_type="space").tags] == ["v1"]
    without = publish(hub, run, tmp_path / "home", "--only", ",".join(SERVED))
    assert without.returncode == 0, without.stderr
    assert read_published(run / "cards") == healed | {"space": page}


def refusal(run: Path, kinds: Sequence[str] = SERVED, *, private: bool = False) -> str:
    """What is said before anything is asked of the Hub; nothing listens at this process's."""
    named = Run(run, Repositories(NAMESPACE, NAME), {})
    with pytest.raises(UserError) as error:
        space_deploy.check(named, SPACE, kinds, {}, private=private, replace=False)
    return str(error.value)


def test_what_could_not_be_deployed_is_refused_before_the_hub_is_asked(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "--private" in refusal(world.run, private=True)
    assert "nothing was published as gguf yet" in refusal(world.run, ["dataset"])
    assert f"python -m jobs.build_wheel --out {tmp_path / 'wheel'}" in refusal(tmp_path)
    shutil.copytree(world.run / "wheel", tmp_path / "wheel")
    for other in (WHEEL.replace("0.3.36", "0.3.35"), WHEEL.replace("x86_64", "aarch64")):
        rewrite(tmp_path / "wheel" / "step.json", figures={"file": other})
        assert (
            refusal(tmp_path) == f"{tmp_path / 'wheel'}: {other} is not {WHEEL}; run python -m jobs.build_wheel again"
        )
    monkeypatch.setattr("jobs.space_files.ROOT", tmp_path)
    assert refusal(tmp_path).startswith(f"{tmp_path / 'app.py'}: not there")


def test_what_the_build_of_a_space_could_not_read_is_refused_before_the_first_byte(
    hub: RunningHub, world: Any, tmp_path: Path
) -> None:
    sent: list[str] = []
    hub.faults.append(lambda method, path: sent.append(path) if "/commit/" in path else None)
    api(hub).update_repo_settings(REPOSITORIES["index"], repo_type="dataset", private=True)
    hidden = publish_page(hub, world.run, world.home)
    api(hub).update_repo_settings(REPOSITORIES["index"], repo_type="dataset", private=False)
    run = shutil.copytree(world.run, tmp_path / "tiny")
    first = api(hub).list_repo_commits(REPOSITORIES["gguf"])[-1].commit_id
    gguf = world.published["gguf"] | {"revision": first}
    rewrite(run / "cards" / "published.json", gguf=gguf)
    without = publish_page(hub, run, world.home, kinds=["dataset"])
    hub.faults.clear()
    refused(hidden, f"{REPOSITORIES['index']}: is private")
    refused(without, f"{REPOSITORIES['gguf']}@{first[:12]}: has no wheels/{WHEEL}", "publish again without --only")
    assert not sent


def test_variables_follow_the_commit_and_ours_that_are_not_wanted_go(hub: RunningHub, world: Any) -> None:
    api(hub).add_space_variable(SPACE, "FOOTNOTE_FEEDBACK", "demo/votes")
    before = variables_of(hub)
    hub.faults.append(fail("POST", f"/{SPACE}/commit/", 403, message="not yours"))
    refused(deploy(hub, world, index=None), "403 (not yours)", "nothing was changed there")
    assert variables_of(hub) == before
    hub.faults[:] = [fail("DELETE", f"/{SPACE}/variables", 403)]
    refused(deploy(hub, world, index=None), "its files are published, and the same command sets its variables")
    hub.faults.clear()
    done = deploy(hub, world, index=None)
    assert json.loads(done.stdout.splitlines()[-1])["committed"] is False
    gone = {"FOOTNOTE_INDEX", "FOOTNOTE_INDEX_REVISION"}
    assert variables_of(hub) == {key: value for key, value in before.items() if key not in gone}


def test_the_pipeline_builds_the_wheel_for_a_space_alone(tmp_path: Path) -> None:
    publish = {"namespace": "demo", "name": "x"}
    for space in (False, True):
        config = RunConfig(name="x", publish=publish | {"space": space})
        assert ("wheel" in [folder for _, folder, _ in steps(config, tmp_path)]) is space
    with pytest.raises(ValueError, match="no private repository"):
        RunConfig(name="x", publish=publish | {"space": True, "private": True})
