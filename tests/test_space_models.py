"""Settings, the loading of models behind the page, and how the page is put together; no browser, no network."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from qa.artifacts import ArtifactError, Reference
from qa.engine import ModelFileError
from space import models as models_module
from space import views
from space.models import Models, NotReadyError, Part
from space.settings import DEFAULT_MODEL, Settings, SettingsError
from space.stopping import Stops
from tests.space_fakes import FakeEngine
from tests.space_world import metrics, questions

ROOT = Path(__file__).parents[1]


def test_settings_have_defaults_and_take_what_is_set() -> None:
    settings = Settings.read({"FOOTNOTE_BASE": "a/b:c-q8_0.gguf", "FOOTNOTE_BASE_REVISION": "v2", "FOOTNOTE_DATA": " "})
    assert settings.model == Reference(DEFAULT_MODEL, "main", None)
    assert settings.base == Reference("a/b", "v2", "c-q8_0.gguf")
    assert (settings.data.repository, settings.port) == ("footnote-ai/footnote-qwen2.5-3b-qa", 7860)
    assert settings.host == "127.0.0.1"
    assert Settings.read({"SPACE_ID": "somebody/space"}).host == "0.0.0.0"  # noqa: S104
    assert Settings.read({"SPACE_ID": "somebody/space", "FOOTNOTE_HOST": "::1"}).host == "::1"


@pytest.mark.parametrize(
    ("name", "value"),
    [("FOOTNOTE_MODEL", "no-owner"), ("FOOTNOTE_DATA", "../../etc/passwd"), ("FOOTNOTE_PORT", "70000")],
)
def test_a_wrong_setting_is_one_line_that_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as caught:
        Settings.read({name: value})
    assert "\n" not in str(caught.value)


def test_the_app_ends_with_code_2_and_that_line() -> None:
    environment = {**os.environ, "FOOTNOTE_PORT": "seven"}
    ended = subprocess.run([sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr == "error: FOOTNOTE_PORT='seven' is not a port; set it to a number from 1 to 65535\n"


def test_the_app_imports_nothing_of_the_jobs() -> None:
    """Neither torch nor its friends, nor the jobs: a Space would pay for them in minutes and gigabytes."""
    unwanted = ("torch", "transformers", "datasets", "peft", "trl", "jobs", "local_hub")
    check = f"import app, sys; print([name for name in {unwanted} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_the_loading_panel_tells_bytes_and_share() -> None:
    part = Part("Fine-tuned model", Reference("a/b"), "FOOTNOTE_MODEL", "downloading", 482_500_000, 1_930_000_000)
    assert "482.5 of 1,930.0 MB · 25 %" in views.loading([part])
    broken = Part("Base model", Reference("a/b"), "FOOTNOTE_BASE", "failed", problem="<script>no</script>")
    assert "&lt;script&gt;no" in views.loading([part, broken])
    assert "<script>" not in views.loading([part, broken])
    assert views.loading([Part("x", Reference("a/b"), "X", "ready")]) == ""


def wait_until(models: Models, condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < limit, models.parts()
        time.sleep(0.005)


def test_models_load_behind_the_page_and_failures_can_be_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    broken, gate = {"base"}, threading.Event()

    def pull(repository: str, *, progress: Callable, variable: str, **_: object) -> Path:
        progress(3, 10)
        if variable == "FOOTNOTE_MODEL":
            gate.wait(5)
        if variable == "FOOTNOTE_BASE" and broken:
            raise ArtifactError(f"{repository}@main: no such repository; set {variable}")
        return Path(f"{repository}.gguf")

    monkeypatch.setattr(models_module, "pull_gguf", pull)
    monkeypatch.setattr(models_module, "pull_rows", lambda *_, **__: questions())
    monkeypatch.setattr(models_module, "pull_metrics", lambda *_, **__: metrics())
    monkeypatch.setattr(models_module, "credit_of", lambda *_: None)
    monkeypatch.setattr(models_module, "Engine", SimpleNamespace(load=lambda path, n_ctx: FakeEngine(name=str(path))))
    models = Models(Settings.read({}))
    models.start()
    models.start()  # a second visitor's click changes nothing
    wait_until(models, lambda: models.parts()[0].done == 3)
    assert (models.parts()[0].phase, models.parts()[0].total, models.settled) == ("downloading", 10, False)
    with pytest.raises(NotReadyError, match="still downloading"):
        models.engine("tuned")
    gate.set()
    wait_until(models, lambda: models.settled)
    assert models.engine("tuned").name == f"{DEFAULT_MODEL}.gguf"
    assert len(models.questions()) == 10
    with pytest.raises(NotReadyError, match="set FOOTNOTE_BASE"):
        models.engine("base")
    broken.clear()
    models._thread.join(5)
    models.start()
    wait_until(models, lambda: models.settled)
    assert [part.phase for part in models.parts()] == ["ready"] * 3


def test_a_damaged_model_is_refused_with_reason_and_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(path: Path, n_ctx: int) -> None:
        if "BASE" in str(path):
            raise ModelFileError(f"{path}: its vocabulary has no <|im_start|>")
        raise ValueError("a fault of ours")

    monkeypatch.setattr(models_module, "pull_gguf", lambda _, *, variable, **__: Path(f"/cache/{variable}.gguf"))
    monkeypatch.setattr(models_module, "pull_rows", lambda *_, **__: questions()[:0])
    monkeypatch.setattr(models_module, "Engine", SimpleNamespace(load=load))
    models = Models(Settings.read({}))
    models.start()
    wait_until(models, lambda: models.settled)
    tuned, data, base = models.parts()
    assert base.problem.endswith("its vocabulary has no <|im_start|>; set FOOTNOTE_BASE to another one")
    assert "/cache" not in base.problem
    assert tuned.problem == "It failed to load (ValueError); see the server's log."
    assert "no multiple-choice questions" in data.problem


def test_a_stop_reaches_the_visitors_own_job_alone() -> None:
    stops = Stops()
    with stops.job("ann", "ask") as hers, stops.job("bob", "ask") as his:
        assert stops.stop("ann", "ask")
        assert not stops.stop("ann", "evaluate")
        assert (hers.is_set(), his.is_set()) == (True, False)
    assert not stops.stop("bob", "ask")


def test_the_page_names_three_endpoints_and_starts_nothing() -> None:
    from space.page import AppState, build

    models = Models(Settings.read({}))
    page = build(AppState(models))
    public = [event.api_name for event in page.fns.values() if event.api_visibility == "public"]
    assert public == ["ask", "compare", "evaluate"]
    assert {event.concurrency_id for event in page.fns.values() if event.queue} == {"ask", "evaluate"}
    assert page._queue.max_size == 16
    assert models._thread is None
