"""Deploy the page: all files in one commit, then the variables, then wait until it runs. `jobs.publish --space`."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from huggingface_hub import HfApi, SpaceStage
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from jobs.card_facts import Run
from jobs.card_render import TAG
from jobs.cards import space_variables
from jobs.errors import UserError
from jobs.hub import Published, check_ours, commit_files
from jobs.hub_errors import HUB_ERRORS, explain, may_pass, seconds_asked
from jobs.hub_files import Local, size_and_identity
from jobs.progress import bar
from jobs.space_files import sources, space_files, wheel_of
from jobs.staging import DATA_KINDS, WHEEL, WHEELS
from qa.artifacts import BASE_VARIABLE, DATA_VARIABLE, INDEX_VARIABLE, MODEL_VARIABLE
from qa.redaction import redact

POLL, TIMEOUT = 2.0, 2700.0  # seconds; the Hub itself gives an app 30 minutes to start, and its build comes first
SLEEPS = "SLEEPING"  # nobody came for two days; a visitor wakes it
BROKEN = {SpaceStage.BUILD_ERROR, SpaceStage.RUNTIME_ERROR, SpaceStage.CONFIG_ERROR, SpaceStage.NO_APP_FILE}
LOG_LINES = 20
SERVED = ("gguf", "base_gguf", "dataset", "index")
NEEDED = ("gguf", "dataset")
_NAMES = (MODEL_VARIABLE, BASE_VARIABLE, DATA_VARIABLE, INDEX_VARIABLE)
OURS = {f"{name}{suffix}" for name in _NAMES for suffix in ("", "_REVISION")}  # others are the owner's


def check(
    run: Run, page: str, kinds: Collection[str], earlier: Mapping[str, Any], *, private: bool, replace: bool
) -> None:
    """Raise `UserError` where the page could not be deployed after these kinds, before anything is sent.

    `earlier` is what was published before and stands.
    """
    if private:
        raise UserError("--space with --private: a Space's build reads no private repository; leave one of them out")
    sources()
    name, _ = wheel_of(run.folder)
    there = {*kinds, *earlier}
    if absent := [kind for kind in NEEDED if kind not in there]:
        raise UserError(f"--space: nothing was published as {absent[0]} yet; publish without --only first")
    for kind in SERVED:
        if kind in there:
            _check_public(run, kind)
    if "gguf" not in kinds:
        _check_wheel(run, earlier["gguf"]["revision"], name)
    if not replace:
        check_ours(page, "space", TAG)


def _check_public(run: Run, kind: str) -> None:
    """Raise `UserError` for a repository that a Space could not read; one that is not there yet becomes public."""
    repository = getattr(run.names, kind)
    try:
        info = HfApi().repo_info(repository, repo_type="dataset" if kind in DATA_KINDS else "model")
    except RepositoryNotFoundError:
        return
    except HUB_ERRORS as error:
        raise explain(error, repository) from None
    if info.private:
        raise UserError(
            f"{repository}: is private, and a Space's build reads no private repository; make it public there"
        )


def _check_wheel(run: Run, revision: str, name: str) -> None:
    """Raise `UserError` where the GGUF files that were published before lack this wheel."""
    path, wheel = f"{WHEELS}/{name}", Local(run.folder / WHEEL / name)
    try:
        found = HfApi().get_paths_info(run.names.gguf, [path], revision=revision)
    except HUB_ERRORS as error:
        raise explain(error, run.names.gguf) from None
    if not any(isinstance(entry, RepoFile) and wheel.is_same(*size_and_identity(entry)) for entry in found):
        raise UserError(f"{run.names.gguf}@{revision[:12]}: has no {path} of this run; publish again without --only")


def deploy(run: Run, page: str, published: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Make the Space `page` (OWNER/NAME) serve what was published, at its revisions; says where it stands then.

    `published` is what `publish` knows by kind; it has passed `check`. A repeat commits nothing, and restarts only a
    Space that is broken. Raises `UserError` where the Hub refuses, and where the Space does not come up, with the last
    lines of its log printed before.
    """
    revisions = {kind: published[kind]["revision"] for kind in SERVED if kind in published}
    files, variables = space_files(run, revisions), space_variables(run, revisions)
    title = f"Publish {page.partition('/')[2]}"
    done = commit_files(page, "space", files, private=False, title=title, variables=variables)
    _settle(done, variables)
    return asdict(done) | {"stage": _await(done)}


def _settle(space: Published, variables: Mapping[str, str]) -> None:
    """Set the variables that differ, and delete ours that are no longer wanted: each of them restarts the Space."""
    api = HfApi()
    try:
        there = {key: variable.value for key, variable in api.get_space_variables(space.repository).items()}
        for key, value in variables.items():
            if there.get(key) != value:
                api.add_space_variable(space.repository, key, value)
        for key in sorted(OURS & there.keys() - variables.keys()):
            api.delete_space_variable(space.repository, key)
    except HUB_ERRORS as error:
        said = explain(error, space.address, "space")
        raise UserError(f"{said}; its files are published, and the same command sets its variables") from None


def _await(space: Published) -> str:
    """Wait until the Space runs, or sleeps. Raises `UserError` where it does not.

    What is broken although nothing was committed is built anew, once: why it broke may lie outside of the files.
    """
    ends, may_restart, stage = time.monotonic() + TIMEOUT, not space.committed, "not heard of"
    with bar(None, "the Space", unit="look") as shown:
        while time.monotonic() < ends:
            found, pause = _look(space)
            stage = found or stage
            shown.set_postfix_str(stage, refresh=False)
            shown.update()
            if found in (SpaceStage.RUNNING, SLEEPS):
                return found
            if found in BROKEN:
                if not may_restart:
                    raise _broken(space, found)
                may_restart = _restart(space)
            time.sleep(pause)
    raise UserError(f"{space.address}: published, and still {stage} after {TIMEOUT / 60:.0f} minutes")


def _look(space: Published) -> tuple[str, float]:
    """The stage, empty where the Hub does not tell for now, and the seconds until the next look.

    For a moment the Hub may still tell of the last commit. Raises `UserError` where it will not tell.
    """
    try:
        runtime = HfApi().get_space_runtime(space.repository)
    except HUB_ERRORS as error:
        if not may_pass(error):
            raise UserError(f"{explain(error, space.address, 'space')}; it is published all the same") from None
        return "", min(max(POLL, seconds_asked(error)), TIMEOUT / 10)
    stage = str(runtime.stage)
    if stage in (SpaceStage.PAUSED, SpaceStage.STOPPED, SpaceStage.DELETING):
        raise UserError(f"{space.address}: published, but {stage}; restart it in its settings there")
    return stage if runtime.raw.get("sha", space.revision) == space.revision else "", POLL


def _restart(space: Published) -> bool:
    """Build the Space anew; False: it is not done twice."""
    try:
        HfApi().restart_space(space.repository, factory_reboot=True)
    except HUB_ERRORS as error:
        raise UserError(f"{explain(error, space.address, 'space')}; its files are published") from None
    return False


def _broken(space: Published, stage: str) -> UserError:
    """What to say of a Space that came to nothing; the last lines of its log are printed."""
    lines: list[str] = []
    with suppress(*HUB_ERRORS):  # its stage is the thing to tell of
        built = stage != SpaceStage.RUNTIME_ERROR
        lines = list(HfApi().fetch_space_logs(space.repository, build=built))[-LOG_LINES:]
    print(redact("".join(lines)), end="")
    return UserError(f"{space.address}: published, but {stage}; its log says why, then run the same command again")
