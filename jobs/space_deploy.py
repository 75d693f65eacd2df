"""Deploy the page: variables first, then all files in one commit, then wait until it runs. `jobs.publish --space`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, SpaceCard, SpaceStage
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from jobs.card_facts import Run
from jobs.card_render import TAG
from jobs.cards import space_variables
from jobs.errors import UserError
from jobs.hub import Published, check_ours, commit_files, explain
from jobs.progress import bar
from jobs.space_files import space_files, wheel_of
from jobs.staging import WHEELS
from qa.artifacts import Repositories
from qa.redaction import redact

POLL, TIMEOUT = 2.0, 2700.0  # seconds; the Hub itself gives an app 30 minutes to start, and its build comes first
SLEEPS = "SLEEPING"  # nobody came for two days; a visitor wakes it
BROKEN = {SpaceStage.BUILD_ERROR, SpaceStage.RUNTIME_ERROR, SpaceStage.CONFIG_ERROR, SpaceStage.NO_APP_FILE}
LOG_LINES = 20
SERVED = ("gguf", "base_gguf", "dataset", "index")
HUB_ERRORS = (HfHubHTTPError, HFValidationError, httpx2.HTTPError)


def check(run: Path, namespace: str, name: str, *, private: bool, replace: bool = False) -> None:
    """Raise `UserError` where the Space could not be deployed: to be asked before anything is sent."""
    if private:
        raise UserError("--space with --private: a Space's build reads no private repository; leave one of them out")
    wheel_of(run)
    if not replace:
        check_ours(f"{namespace}/{name}", "space", TAG)


def deploy(
    run: Path, namespace: str, name: str, published: dict[str, dict[str, Any]], *, private: bool, wait: bool
) -> dict[str, Any]:
    """Make the Space NAMESPACE/NAME serve what was published, at its revisions; says where it stands then.

    `published` is what `publish` knows by kind. A repeat commits nothing and restarts nothing. Raises `UserError`
    where the Hub refuses, and where the Space does not come up, with the last lines of its log printed before.
    """
    check(run, namespace, name, private=private, replace=True)
    if absent := [kind for kind in ("gguf", "dataset") if kind not in published]:
        raise UserError(f"--space: nothing was published as {absent[0]} yet; publish without --only first")
    if hidden := [published[kind]["repository"] for kind in SERVED if published.get(kind, {}).get("private")]:
        raise UserError(
            f"{hidden[0]}: is private, and a Space's build reads no private repository; make it public there"
        )
    revisions = {kind: published[kind]["revision"] for kind in SERVED if kind in published}
    found = Run.read(run, _names(published["gguf"]["repository"]))
    _check_wheel(found, revisions["gguf"])
    files, repository = space_files(found, revisions), f"{namespace}/{name}"
    SpaceCard(bytes(files["README.md"]).decode()).validate()
    _settle(repository, space_variables(found, revisions))
    done = commit_files(repository, "space", files, private=False, title=f"Publish {name}")
    return asdict(done) | {"stage": _await(done) if wait else _stage(done)[0]}


def _names(gguf: str) -> Repositories:
    namespace, _, name = gguf.removesuffix("-GGUF").partition("/")
    return Repositories(namespace, name)


def _check_wheel(run: Run, revision: str) -> None:
    path = f"{WHEELS}/{wheel_of(run.folder)[0]}"
    try:
        there = HfApi().file_exists(run.names.gguf, path, revision=revision)
    except HUB_ERRORS as error:
        raise explain(error, run.names.gguf) from None
    if not there:
        raise UserError(f"{run.names.gguf}@{revision[:12]}: has no {path}; publish again without --only")


def _settle(repository: str, variables: Mapping[str, str]) -> None:
    """Create the Space unless it is there, and set the variables that differ: each of them restarts it."""
    api = HfApi()
    given = [{"key": key, "value": value} for key, value in variables.items()]
    try:
        api.create_repo(
            repository, repo_type="space", private=False, exist_ok=True, space_sdk="gradio", space_variables=given
        )
        there = {key: variable.value for key, variable in api.get_space_variables(repository).items()}
        for key, value in variables.items():
            if there.get(key) != value:
                api.add_space_variable(repository, key, value)
    except HUB_ERRORS as error:
        raise explain(error, repository, "space") from None


def _stage(space: Published) -> tuple[str, bool]:
    """The stage, and whether it is this commit's: for a moment the Hub may still tell of the last one."""
    try:
        runtime = HfApi().get_space_runtime(space.repository)
    except HUB_ERRORS as error:
        raise explain(error, space.repository, "space") from None
    return str(runtime.stage), runtime.raw.get("sha", space.revision) == space.revision


def _await(space: Published) -> str:
    """Wait until the Space runs, or sleeps. Raises `UserError` where it does not."""
    begun = time.monotonic()
    with bar(None, "the Space", unit="look") as shown:
        while True:
            stage, ours = _stage(space)
            shown.set_postfix_str(stage, refresh=False)
            shown.update()
            if ours and stage in (SpaceStage.RUNNING, SLEEPS):
                return stage
            if ours and stage in BROKEN:
                raise _broken(space, stage)
            if stage in (SpaceStage.PAUSED, SpaceStage.STOPPED, SpaceStage.DELETING):
                raise UserError(f"{space.address}: published, but {stage}; restart it in its settings there")
            if time.monotonic() - begun > TIMEOUT:
                raise UserError(f"{space.address}: published, and still {stage} after {TIMEOUT / 60:.0f} minutes")
            time.sleep(POLL)


def _broken(space: Published, stage: str) -> UserError:
    """What to say of a Space that came to nothing; the last lines of its log are printed."""
    lines: list[str] = []
    with suppress(*HUB_ERRORS):  # its stage is the thing to tell of
        built = stage != SpaceStage.RUNTIME_ERROR
        lines = list(HfApi().fetch_space_logs(space.repository, build=built))[-LOG_LINES:]
    print(redact("".join(lines)), end="")
    return UserError(f"{space.address}: published, but {stage}; its log says why, then run the same command again")
