"""Trying again: how often strangers may, what is downloaded anew, and that what serves goes on serving."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qa import llama_model, pull
from qa.artifacts import ArtifactError
from qa.engine import Aborted
from qa.gguf_file import GgufError
from qa.retrieval import RetrievalError
from qa.scheduler import Refused
from space import attempts, last_good, library, loading, serving
from space import models as models_module
from space.attempts import Attempts
from space.library import Library
from space.page import build
from space.settings import Settings
from tests.space_fakes import FakeGeneration, unloaded
from tests.test_space_models import NEXT, settled, world  # noqa: F401 - a fixture


def test_the_pause_between_tries_doubles_up_to_half_an_hour() -> None:
    now = [0.0]
    tries = Attempts(lambda: now[0])
    assert tries.not_yet() == ""
    tries.ended()
    now[0] = 12.0
    assert tries.not_yet() == "Tried 12 s ago; it can be tried again in 48 s."
    now[0] = 60.0
    assert tries.not_yet() == ""
    tries.ended()
    now[0] = 121.0
    assert tries.not_yet() == "Tried 61 s ago; it can be tried again in 59 s."
    for _ in range(2000):
        tries.ended()
    assert tries.not_yet() == "Tried 0 s ago; it can be tried again in 30 min."
    now[0] += 1800.0
    assert tries.not_yet() == ""


def test_a_stranger_cannot_have_it_tried_all_the_time(
    world: SimpleNamespace,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world.refused["FOOTNOTE_BASE"] = "no such repository"
    models = settled(world)
    monkeypatch.setattr(attempts, "FIRST", 60.0)
    asked = len(world.asked)
    assert models.start() == "Tried 0 s ago; it can be tried again in 60 s."
    assert models.parts()[2].phase == "failed"
    assert len(world.asked) == asked
    world.refused.clear()
    monkeypatch.setattr(attempts, "FIRST", 0.0)
    settled(world, models)
    assert not models.refused
    asked = len(world.asked)
    assert models.start() == ""  # all is there: nothing is begun
    assert len(world.asked) == asked


def test_the_page_offers_it_while_an_earlier_copy_serves_and_says_when(monkeypatch: pytest.MonkeyPatch) -> None:
    state = unloaded()
    page = build(state)
    named = {block.fn.__name__: block.fn for block in page.fns.values() if block.fn is not None}
    for part in state.models._parts:
        state.models._set(part, phase="ready")
    assert named["look"]()[1]["visible"] is False
    state.models._set("tuned", notice="Serves revision aaaaaaa.")
    assert named["look"]()[1]["visible"] is True
    line = "Tried 12 s ago; it can be tried again in 48 s."
    monkeypatch.setattr(state.models, "start", lambda: line)
    monkeypatch.setattr(state.library, "start", lambda: line)
    for event in ("again", "load_again"):
        shown = list(named[event]())
        assert [line in value for value in shown if isinstance(value, str)] == [True]
        assert [value["visible"] for value in shown if isinstance(value, dict) and "visible" in value] == [True]


def test_a_commit_that_was_damaged_twice_is_not_downloaded_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fetched: list[bool] = []

    def fetch(*_: Any, again: bool = False) -> Path:
        fetched.append(again)
        return tmp_path / "snapshots" / NEXT / "x.gguf"

    def check(path: Path) -> None:
        raise GgufError(f"{path}: cut short")

    monkeypatch.setattr(pull, "fetch", fetch)
    monkeypatch.setattr(pull, "check_gguf", check)
    for _ in range(3):
        with pytest.raises(ArtifactError, match=r"a/b@main:x\.gguf: cut short; publish it again"):
            pull.pull_gguf("a/b", filename="x.gguf")
    assert fetched == [False, True, False, False]


def test_nor_is_an_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fetched: list[bool] = []

    def refuse(_: Path) -> None:
        raise RetrievalError("cut short")

    monkeypatch.setattr(library, "pull_index", lambda *_, again, **__: fetched.append(again) or tmp_path)
    monkeypatch.setattr(library.Index, "load", refuse)
    monkeypatch.setattr(attempts, "FIRST", 0.0)
    papers = Library(Settings.read({}))
    for _ in range(2):
        papers.start()
        papers._thread.join(5)
        assert papers.phase == "failed"
    assert fetched == [False, True, False]


def test_a_full_disk_takes_no_model_out_of_service(
    world: SimpleNamespace,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    models = settled(world)
    assert [part.phase for part in models.parts()] == ["ready"] * 3
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [line.endswith("No space left on device") for line in said] == [True, True]
    assert list(last_good._path().parent.iterdir()) == []


@pytest.mark.parametrize("error", [Refused("too many wait"), Aborted()])
def test_a_turn_that_is_refused_fails_no_part_and_keeps_no_engine(
    error: Exception,
    world: SimpleNamespace,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settled(world)
    world.commit, world.refused[NEXT] = NEXT, "cut short"
    models = settled(world)
    old, evaluate, turns = models.engine("tuned"), models.scheduler.evaluate, []

    def refusing(*given: Any) -> Any:
        turns.append(1)
        if len(turns) == 1:
            raise error
        return evaluate(*given)

    monkeypatch.setattr(models.scheduler, "evaluate", refusing)
    world.refused.clear()
    settled(world, models)
    assert [part.phase for part in models.parts()] == ["ready"] * 3
    assert (len(turns) >= 2, old.open, models.engine("tuned").open) == (True, False, True)


def test_an_engine_that_is_never_idle_is_freed_all_the_same(world: SimpleNamespace) -> None:  # noqa: F811
    models = settled(world)
    old = models.engine("tuned")
    old._active.append(FakeGeneration([], {}))
    object.__setattr__(models.scheduler.limits, "deadline", 0.3)
    models._retire(old)
    assert not old.open


def test_whatever_a_template_does_its_engine_is_freed(
    world: SimpleNamespace,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fault(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(loading, "check_template", fault)
    models = settled(world)
    assert "MemoryError" in models.parts()[0].problem
    assert [engine.open for engine in world.made] == [False, False]


def test_the_threads_that_are_told_are_those_that_compute(
    world: SimpleNamespace,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(llama_model, "cores", lambda: 3)
    models = settled(world, FOOTNOTE_REPACK="off")
    assert dict(models.facts())["Threads"] == "1"  # of tiny files
    monkeypatch.setattr(llama_model, "SMALL_FILE", 1)
    assert dict(models.facts())["Threads"] == "3"


def test_closing_does_not_wait_for_a_turn_that_never_comes(world: SimpleNamespace) -> None:  # noqa: F811
    models = settled(world)
    old = models.engine("tuned")
    models_module.Models.close(models)
    retiring = threading.Thread(target=models._retire, args=(old,), daemon=True)
    begun = time.monotonic()
    retiring.start()
    retiring.join(60)
    assert not retiring.is_alive()
    assert time.monotonic() - begun < models.scheduler.limits.deadline


def test_the_end_frees_the_engines_and_waits_for_none_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    held = threading.Event()

    def close() -> None:
        ended.append("models")
        held.wait(20)
        ended.append("too late")

    parts = {"models": SimpleNamespace(close=close), "feedback": SimpleNamespace(close=lambda: ended.append("votes"))}
    monkeypatch.setattr(serving, "ENDING", 0.01)
    page = serving.Serving.__new__(serving.Serving)
    page._state = SimpleNamespace(**parts)
    page._close()
    assert sorted(ended) == ["models", "votes"]
    held.set()
