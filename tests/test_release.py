"""Release tags on a Hub on loopback: the same on every repository, none where nothing changed, whole after a kill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants

from jobs import publish
from jobs.errors import UserError
from jobs.release import name_of, release
from jobs.sending import PUBLISHED_FILE
from jobs.step import run_step, write_json
from local_hub.faults import fail, lose_answer
from local_hub.names import RepoId
from local_hub.store import TAGS
from local_hub.testing import RunningHub, running_hub
from scripts.job_headers import _files, imported
from tests.publishing import api

BESIDE = {  # modules that what decides reaches, and that decide nothing of it; what they lead to is not looked at
    "errors, bars and the Hub": {"jobs.errors", "jobs.hub", "jobs.hub_errors", "jobs.progress"},
    "the page, compared each time with what is there": {"jobs.space_deploy"},
    "record and read what was made": {"jobs.documents", "jobs.index_of", "jobs.step", "qa.gguf_file"},
    "constants that a figure of the run has too": {
        *("jobs.arc", "jobs.data_config", "jobs.decontamination.evidence", "jobs.decontamination.items"),
        *("jobs.evaluation.built_tasks", "jobs.writers.offline"),
    },
}
KINDS = {"dataset": "dataset", "adapter": "model", "gguf": "model"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture
def world(hub: RunningHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Three repositories of this test's own, as they were published."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", hub.write_token)
    name, published = tmp_path.name.strip("_"), {}
    for kind, repo_type in KINDS.items():
        repository = f"demo/{name}-{kind}"
        api(hub).create_repo(repository, repo_type=repo_type)
        revision = api(hub).repo_info(repository, repo_type=repo_type).sha
        published[kind] = {"repository": repository, "kind": repo_type, "revision": revision}
    yield SimpleNamespace(hub=hub, published=published)
    hub.faults.clear()


def change(world: Any, kind: str) -> None:
    """Another commit of one repository, as if its files had changed."""
    entry, content = world.published[kind], world.published[kind]["revision"].encode()
    done = api(world.hub).upload_file(
        path_or_fileobj=content, path_in_repo="file", repo_id=entry["repository"], repo_type=entry["kind"]
    )
    entry["revision"] = done.oid


def tags(world: Any) -> dict[str, dict[str, str]]:
    found = {}
    for kind, entry in world.published.items():
        refs = api(world.hub).list_repo_refs(entry["repository"], repo_type=entry["kind"])
        found[kind] = {tag.name: tag.target_commit for tag in refs.tags}
    return found


def revisions(world: Any) -> dict[str, str]:
    return {kind: entry["revision"] for kind, entry in world.published.items()}


def put(world: Any, **changes: Any) -> str:
    return release(world.published, earlier={}, **changes)


def at(world: Any, tag: str) -> dict[str, str]:
    """Kind → the commit that a tag stands for there."""
    return {kind: found[tag] for kind, found in tags(world).items()}


def test_one_tag_stands_for_all_and_a_repeat_makes_none(world: Any) -> None:
    assert put(world) == put(world) == "v1"
    assert tags(world) == {kind: {"v1": revision} for kind, revision in revisions(world).items()}


def test_what_changed_in_one_is_the_next_minor_of_all(world: Any) -> None:
    put(world)
    first = revisions(world)
    change(world, "adapter")
    assert put(world) == put(world) == "v1.1"
    assert at(world, "v1") == first
    assert at(world, "v1.1") == revisions(world) != first
    for minor in range(2, 12):  # v1.10 comes after v1.9
        change(world, "gguf")
        assert put(world) == f"v1.{minor}"


def test_a_major_release_is_made_once(world: Any) -> None:
    put(world)
    assert put(world, major=True) == "v1"  # nothing has changed since v1
    change(world, "dataset")
    assert put(world) == "v1.1"
    assert put(world, major=True) == put(world, major=True) == put(world) == "v2"
    assert at(world, "v2") == at(world, "v1.1") == revisions(world)
    change(world, "dataset")
    assert put(world, major=True) == "v3"


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_release_that_was_cut_short_is_completed(world: Any, after: int) -> None:
    put(world)
    change(world, "gguf")
    world.hub.faults[:] = [fail("POST", r"/tag/", nth=1 + after)]
    with pytest.raises(UserError, match=r"the tag of demo/.*500.*the same command completes the tags"):
        put(world)
    assert sum("v1.1" in found for found in tags(world).values()) == after
    assert put(world) == "v1.1"
    assert at(world, "v1.1") == revisions(world)
    assert all(list(found) == ["v1", "v1.1"] for found in tags(world).values())


def test_a_tag_whose_answer_was_lost_is_there(world: Any) -> None:
    world.hub.faults[:] = [lose_answer("POST", r"/tag/", nth=2)]
    assert put(world) == "v1"
    assert at(world, "v1") == revisions(world)


def test_a_tag_that_somebody_moved_is_an_error(world: Any) -> None:
    put(world)
    change(world, "gguf")
    tag = put(world)
    earlier = {kind: entry | {"tag": tag} for kind, entry in world.published.items()}
    entry = world.published["gguf"]
    api(world.hub).delete_tag(entry["repository"], tag=tag)
    old = tags(world)["gguf"]["v1"]
    api(world.hub).create_tag(entry["repository"], tag=tag, revision=old)
    with pytest.raises(UserError, match=rf"-gguf: its tag v1.1 was put on .* and stands at {old[:12]} now; delete"):
        release(world.published, earlier=earlier)
    api(world.hub).delete_tag(entry["repository"], tag=tag)
    assert release(world.published, earlier=earlier) == "v1.1"
    assert at(world, "v1.1") == revisions(world)


def test_a_finished_publishing_stands_while_its_tags_do(world: Any, tmp_path: Path) -> None:
    first = world.published["gguf"]["revision"]
    change(world, "gguf")
    tag, entry, out = put(world), world.published["gguf"], tmp_path / "cards"
    entries = {kind: each | {"tag": tag} for kind, each in world.published.items()}
    work = lambda folder: write_json(folder / PUBLISHED_FILE, entries) or {}  # noqa: E731
    run_step("publish", out, arguments={}, inputs={}, work=work)
    assert publish._still_there(out)
    api(world.hub).delete_tag(entry["repository"], tag=tag)
    assert not publish._still_there(out)
    assert release(world.published, earlier=entries) == tag  # which the step then does
    assert publish._still_there(out)
    api(world.hub).delete_tag(entry["repository"], tag=tag)
    api(world.hub).create_tag(entry["repository"], tag=tag, revision=first)
    with pytest.raises(UserError, match=rf"-gguf: its tag v1 was put on .* and stands at {first[:12]} now; delete"):
        publish._still_there(out)


def test_a_tag_that_somebody_puts_meanwhile_is_an_error(world: Any) -> None:
    put(world)
    change(world, "gguf")
    entry, old = world.published["gguf"], tags(world)["gguf"]["v1"]

    def fault(method: str, path: str) -> None:
        if method == "POST" and "/tag/" in path and entry["repository"] in path:
            world.hub.faults.clear()
            world.hub.store.add_ref(RepoId.parse("model", entry["repository"]), TAGS, "v1.1", old)

    world.hub.faults[:] = [fault]
    with pytest.raises(UserError, match=rf"somebody has just put the tag v1.1 on {old[:12]}, which is not what was"):
        put(world)


def test_other_tags_are_left_alone(world: Any) -> None:
    for tag in ("v01", "v1.0", "version-3", "v2.0.1", "v9x"):
        api(world.hub).create_tag(world.published["gguf"]["repository"], tag=tag)
    assert put(world) == "v1"
    assert (name_of((1, 0)), name_of((3, 10))) == ("v1", "v3.10")


def test_the_code_that_decides_what_is_published_is_among_the_arguments() -> None:
    waiting, reached = ["jobs.cards", "jobs.staging", "jobs.sending", "jobs.release"], set[str]()
    beside = set().union(*BESIDE.values())
    while waiting:
        name = waiting.pop()
        if name in reached or name.partition(".")[0] not in ("jobs", "qa") or not _files(name):
            continue
        reached.add(name)
        if name not in beside:
            waiting += [each for path in _files(name) for each in imported(path)]
    modules = {module.__name__ for module in publish._code()}
    assert reached - beside - {"jobs", "qa"} == modules
    assert beside <= reached
