"""The loading of models behind the page: what is told, what is refused, and what goes on serving meanwhile."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qa.artifacts import ArtifactError, Reference
from qa.chat_template import TemplateError
from qa.engine import ModelFileError
from qa.repack_probe import Choice, Speeds
from space import attempts, credits, last_good, loading
from space import models as models_module
from space.models import Models, NotReadyError, Part
from space.settings import DEFAULT_MODEL, Settings
from space.stopping import Stops
from tests.space_fakes import FakeEngine, FakeGeneration
from tests.space_world import metrics, questions

GOOD, NEXT = "a" * 40, "b" * 40  # commits


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """A Hub and a llama.cpp of dictionaries: `refused` holds what cannot be pulled or loaded, and why."""
    world = SimpleNamespace(commit=GOOD, refused={}, loaded=[], asked=[], made=[], choices=[])

    def pull(repository: str, *, filename: str | None, revision: str, progress: Callable, variable: str) -> Path:
        world.asked.append((variable, revision))
        progress(3, 10)
        if reason := world.refused.get(variable):
            raise ArtifactError(f"{repository}@{revision}: {reason}")
        commit = world.commit if revision == "main" else revision
        path = tmp_path / variable / "snapshots" / commit / (filename or "model-q4_k_m.gguf")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"GGUF")
        return path

    def load(path: Path, **options: Any) -> FakeEngine:
        if reason := world.refused.get(path.parent.name) or world.refused.get("load"):
            raise reason if isinstance(reason, Exception) else ModelFileError(f"{path}: {reason}")
        world.loaded.append(options)
        world.made.append(FakeEngine(name=str(path)))
        return world.made[-1]

    def check(path: Path, *_: object) -> None:
        if reason := world.refused.get("template"):
            raise TemplateError(reason)

    monkeypatch.setattr(loading, "pull_gguf", pull)
    monkeypatch.setattr(loading, "Engine", SimpleNamespace(load=load))
    monkeypatch.setattr(loading, "check_template", check)
    monkeypatch.setattr(loading, "pull_metrics", lambda **_: metrics())
    monkeypatch.setattr(loading, "pull_about", lambda **_: "# About")
    monkeypatch.setattr(loading, "pull_examples", lambda **_: None)
    monkeypatch.setattr(loading, "pull_items", lambda **_: [])
    monkeypatch.setattr(models_module, "pull_rows", lambda *_, **__: questions())
    monkeypatch.setattr(credits, "_licence", lambda *_: ("apache-2.0", ""))
    monkeypatch.setattr(last_good.constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(attempts, "FIRST", 0.0)  # nobody waits before trying again
    world.running = []
    yield world
    for models in world.running:
        models.close()


def started(world: SimpleNamespace, **environment: str) -> Models:
    models = Models(Settings.read(environment))
    world.running.append(models)
    models.start()
    return models


def settled(world: SimpleNamespace, models: Models | None = None, **environment: str) -> Models:
    """Models of which nothing more will come by itself; given ones are told to try again."""
    if models is None:
        models = started(world, **environment)
    else:
        models.start()
    models._thread.join(10)
    assert models.settled
    return models


def test_models_load_behind_the_page_and_failures_can_be_retried(world: SimpleNamespace) -> None:
    gate, pull = threading.Event(), loading.pull_gguf

    def slowly(*place: str, progress: Callable, **options: Any) -> Path:
        progress(3, 10)
        gate.wait(5)
        return pull(*place, progress=progress, **options)

    world.refused["FOOTNOTE_BASE"] = "no such repository; set FOOTNOTE_BASE"
    loading.pull_gguf = slowly  # the fixture's patch takes it back
    models = started(world)
    models.start()  # a second visitor's click changes nothing
    while models.parts()[0].done != 3:
        time.sleep(0.001)
    assert (models.parts()[0].phase, models.parts()[0].total, models.settled) == ("downloading", 10, False)
    with pytest.raises(NotReadyError, match="model is still downloading"):
        models.engine("tuned")
    with pytest.raises(NotReadyError, match="questions are still waiting"):
        models.questions()
    gate.set()
    models._thread.join(10)
    assert models.engine("tuned").name.endswith(f"{GOOD}/model-q4_k_m.gguf")
    assert (len(models.questions()), models.about, models.published) == (10, "# About", metrics())
    with pytest.raises(NotReadyError, match="set FOOTNOTE_BASE"):
        models.engine("base")
    world.refused.clear()
    settled(world, models)
    assert [part.phase for part in models.parts()] == ["ready"] * 3
    assert len(world.made) == 2  # what was there stayed


def test_a_damaged_model_is_refused_with_reason_and_variable(world: SimpleNamespace) -> None:
    world.refused[GOOD] = "its vocabulary has no <|im_start|>"
    models_module.pull_rows = lambda *_, **__: []  # the fixture's patch takes it back
    tuned, data, _ = settled(world).parts()
    assert (tuned.phase, tuned.notice) == ("failed", "")
    assert tuned.problem == (
        f"{DEFAULT_MODEL}@{GOOD}:model-q4_k_m.gguf: its vocabulary has no <|im_start|>; "
        "set FOOTNOTE_MODEL to another one"
    )
    assert "no multiple-choice questions; set FOOTNOTE_DATA" in data.problem
    world.refused[GOOD] = ValueError("a fault of ours")
    tuned, *_ = settled(world).parts()
    assert tuned.problem == "It failed to load (ValueError); see the server's log."


def test_a_foreign_chat_template_is_refused_and_its_engine_freed(world: SimpleNamespace) -> None:
    world.refused["template"] = "its chat template runs longer than 5 s"
    tuned, _, base = settled(world).parts()
    assert "its chat template runs longer than 5 s; set FOOTNOTE_MODEL" in tuned.problem
    assert base.phase == "failed"
    assert [engine.open for engine in world.made] == [False, False]


@pytest.mark.parametrize("reason", ["FOOTNOTE_MODEL", NEXT])
def test_after_a_restart_the_last_good_copy_serves_in_place_of_a_refused_one(
    reason: str, world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(world)
    world.commit, world.refused[reason] = NEXT, "cut short: 7 of 9 bytes"
    if reason == "FOOTNOTE_MODEL":  # it cannot be pulled at all; the earlier copy is in the cache
        pull = loading.pull_gguf
        monkeypatch.setattr(loading, "pull_gguf", lambda name, *, revision, variable, **rest: pull(
            name, revision=revision, variable=variable if revision == "main" else "cached", **rest))  # fmt: skip
    models = settled(world)
    tuned = models.parts()[0]
    assert (tuned.phase, tuned.problem) == ("ready", "")
    assert tuned.notice.startswith("Serves revision aaaaaaa, which loaded well before. Refused: ")
    assert "cut short: 7 of 9 bytes" in tuned.notice
    assert f"/{GOOD}/" in models.engine("tuned").name
    assert models.credits["tuned"].revision == GOOD
    world.refused.clear()
    settled(world, models)
    assert (models.parts()[0].notice, models.credits["tuned"].revision) == ("", NEXT)


def test_another_repositorys_copy_is_never_served_instead(world: SimpleNamespace) -> None:
    settled(world)
    world.refused[GOOD] = "foreign"
    models = settled(world, FOOTNOTE_MODEL="some/other")
    assert models.parts()[0].phase == "failed"
    assert "tuned" not in models.engines


def test_trying_again_serves_on_until_the_new_engine_is_loaded(world: SimpleNamespace) -> None:
    settled(world)
    world.commit, world.refused[NEXT] = NEXT, "cut short"
    models = settled(world)
    old = models.engine("tuned")
    settled(world, models)
    assert models.engine("tuned") is old  # still refused, and still served
    assert "cut short" in models.parts()[0].notice
    world.refused.clear()
    old._active.append(FakeGeneration([], {}))  # somebody is being answered
    models.start()
    while models.engine("tuned") is old:
        time.sleep(0.001)
    assert old.open
    old._active.clear()
    models._thread.join(10)
    assert (old.open, models.engine("tuned").open, models.parts()[0].notice) == (False, True, "")


def test_what_was_lost_of_the_memory_of_good_copies_is_written_anew(world: SimpleNamespace) -> None:
    path = last_good._path()
    path.parent.mkdir(parents=True)
    for lost in ("", "[]", '{"tuned a/b": 7}', '{"tuned a/b": {"revision": 1}}'):
        path.write_text(lost)
        assert last_good.last_good("tuned", "a/b") is None
    last_good.remember("tuned", Reference("a/b", GOOD, "x.gguf"))
    last_good.remember("base", Reference("a/b", NEXT, "y.gguf"))
    assert last_good.last_good("tuned", "a/b") == Reference("a/b", GOOD, "x.gguf")
    assert [entry.name for entry in path.parent.iterdir()] == ["last_good.json"]


@pytest.mark.parametrize("failing", ["credit_of", "pull_published"])
def test_trying_again_never_leaves_an_engine_behind(
    failing: str, world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(models_module, failing)
    monkeypatch.setattr(models_module, failing, lambda *_: (_ for _ in ()).throw(RuntimeError("a fault of ours")))
    models = settled(world)
    assert models.parts()[0].phase == "failed"
    monkeypatch.setattr(models_module, failing, real)
    settled(world, models)
    assert [part.phase for part in models.parts()] == ["ready"] * 3
    assert sorted(engine.name for engine in world.made) == sorted(engine.name for engine in models.engines.values())


def test_both_models_are_loaded_as_one_measurement_says(
    world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = Choice(True, Speeds(130.0, 15.0), Speeds(77.0, 20.5), 3.1)
    monkeypatch.setattr(loading, "choose", lambda path, n_threads: world.choices.append(n_threads) or choice)
    models = settled(world, FOOTNOTE_THREADS="3", FOOTNOTE_PARALLEL="2")
    assert world.choices == [3]
    assert world.loaded == [{"n_ctx": 1024, "n_threads": 3, "parallel": 2, "repack": True}] * 2
    facts = dict(models.facts())
    assert facts["Fine-tuned model"] == f"{DEFAULT_MODEL} · model-q4_k_m.gguf · revision aaaaaaa · 0 kB"
    assert (facts["Threads"], facts["Answers at once"]) == ("3", "2")
    assert facts["Weights"] == (
        "repacked; measured in 3.1 s: as stored 130 read and 15.0 written tokens per second, "
        "repacked 77 read and 20.5 written tokens per second"
    )


@pytest.mark.parametrize(("value", "repack"), [("on", True), ("off", False)])
def test_repacking_can_be_told(value: str, repack: bool, world: SimpleNamespace) -> None:
    models = settled(world, FOOTNOTE_REPACK=value)
    assert {options["repack"] for options in world.loaded} == {repack}
    assert dict(models.facts())["Weights"].endswith(f"as FOOTNOTE_REPACK={value} says")
    assert Models(Settings.read({})).facts() == []


def test_what_is_published_beside_a_model_may_be_missing_or_broken(
    world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**place: str) -> None:
        raise ArtifactError(f"{place['repository']}@{place['revision'][:7]}: not JSON")

    for name in ("pull_metrics", "pull_about", "pull_examples", "pull_items"):
        monkeypatch.setattr(loading, name, broken)
    models = settled(world)
    assert [part.phase for part in models.parts()] == ["ready"] * 3
    assert (models.published, models.unpublished) == (None, f"{DEFAULT_MODEL}@aaaaaaa: not JSON")
    assert (models.about, models.examples, models.items) == ("", None, [])
    assert models.unsaid == f"{DEFAULT_MODEL}@aaaaaaa: not JSON"
    assert caplog.text.count("@aaaaaaa: not JSON") == 4


def test_examples_of_another_file_are_not_shown(world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    for theirs in (True, False):
        examples = SimpleNamespace(match=lambda path, theirs=theirs: theirs)
        monkeypatch.setattr(loading, "pull_examples", lambda examples=examples, **_: examples)
        assert settled(world).examples is (examples if theirs else None)


def test_threads_do_not_undo_what_others_say_of_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(part: Part, **changes: object) -> Part:
        time.sleep(0.02)
        return dataclasses.replace(part, **changes)

    monkeypatch.setattr(models_module, "replace", slowly)
    models = Models(Settings.read({}))
    told = ({"phase": "loading"}, {"done": 7}, {"total": 9}, {"problem": "none"})
    threads = [threading.Thread(target=models._set, args=("base",), kwargs=changes) for changes in told]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    base = models.parts()[2]
    assert (base.phase, base.done, base.total, base.problem) == ("loading", 7, 9, "none")


def test_a_stop_reaches_the_visitors_own_job_alone() -> None:
    stops = Stops()
    with stops.job("ann", "ask") as hers, stops.job("bob", "ask") as his:
        assert stops.stop("ann", "ask")
        assert not stops.stop("ann", "evaluate")
        assert (hers.is_set(), his.is_set()) == (True, False)
    assert not stops.stop("bob", "ask")
