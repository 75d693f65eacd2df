"""Settings, the loading of models behind the page, and how the page is put together; no browser, no network."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path
from types import SimpleNamespace

import pytest

from qa.artifacts import ArtifactError, Reference
from qa.engine import ModelFileError
from space import credits, views
from space import models as models_module
from space.models import Models, NotReadyError, Part
from space.settings import DEFAULT_MODEL, Settings, SettingsError, check_address
from space.stopping import Stops
from tests.space_fakes import FakeEngine
from tests.space_world import metrics, questions
from tests.test_structure import imported

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


def test_the_app_prints_its_address_and_no_advice_to_open_a_tunnel() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "FOOTNOTE_PORT": str(port), "PYTHONUNBUFFERED": "1"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, **options) as app:
        first = app.stdout.readline()
        time.sleep(0.5)
        running = app.poll() is None
        app.terminate()
        rest = app.stdout.read()
    assert (first, running, rest) == (f"The page is at http://127.0.0.1:{port}/\n", True, "")


def test_a_taken_port_is_one_line_before_anything_is_built() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        environment = {**os.environ, "FOOTNOTE_PORT": str(port)}
        ended = subprocess.run([sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        f"error: FOOTNOTE_PORT={port} cannot be had on 127.0.0.1 (Address already in use); set another\n"
    )
    check_address("127.0.0.1", port)
    with pytest.raises(SettingsError, match=r"FOOTNOTE_HOST='192.0.2.1' is no address of this machine"):
        check_address("192.0.2.1", port)


def test_whatever_the_page_imports_is_among_what_the_space_installs() -> None:
    files = [ROOT / "app.py", *(ROOT / "space").rglob("*.py"), *(ROOT / "qa").glob("*.py")]
    heads = {name.split(".")[0] for path in files for name in imported(path)}
    others = heads - set(sys.stdlib_module_names) - {"qa", "space"}
    names = packages_distributions()
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    wanted = {line.partition("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    assert {"httpx2", "tqdm", "starlette", "yaml"} <= others
    missing = {name for name in others if not {each.lower().replace("_", "-") for each in names[name]} & wanted}
    assert not missing


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
    monkeypatch.setattr(models_module, "pull_metrics", lambda *_, **__: metrics())
    monkeypatch.setattr(models_module, "credit_of", lambda *_: None)
    monkeypatch.setattr(models_module, "Engine", SimpleNamespace(load=load))
    models = Models(Settings.read({}))
    models.start()
    wait_until(models, lambda: models.settled)
    tuned, data, base = models.parts()
    assert base.problem.endswith("its vocabulary has no <|im_start|>; set FOOTNOTE_BASE to another one")
    assert "/cache" not in base.problem
    assert tuned.problem == "It failed to load (ValueError); see the server's log."
    assert "no multiple-choice questions" in data.problem


CARDS = {
    "---\nlicense: apache-2.0\n---\n# A model": ("apache-2.0", ""),
    "---\nlicense: other\nlicense_name: qwen-research\nlicense_link: https://a.b/c\n---\n": (
        "qwen-research",
        "https://a.b/c",
    ),
    "---\nlicense: [mit, apache-2.0]\nlicense_link: 'javascript:alert(1)'\n---\n": ("mit, apache-2.0", ""),
    "# No metadata": ("", ""),
    "---\nlicense: mit\nlicense_link: [https://a.b]\n---\n": ("mit", ""),
    "---\nlicense: 'mit\n---\n": ("not readable", ""),
    "---\n- license\n- mit\n---\n": ("not readable", ""),
    "---\nlicense: {name: mit}\n---\n": ("not readable", ""),
    "---\n\tlicense: mit\n---\n": ("not readable", ""),
    "---\nlicense: mit\nmodel-index: nonsense\n1: 2\n---\n": ("mit", ""),
    f"---\nlicense: {'[' * 5000}\n---\n": ("not readable", ""),
    "---\nlicense: m\xeft\n---\n".encode("latin-1"): ("not readable", ""),
}


@pytest.mark.parametrize(("card", "licence"), CARDS.items())
def test_whatever_a_card_says_the_model_is_credited(
    card: str | bytes, licence: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = tmp_path / "README.md"
    readme.write_bytes(card if isinstance(card, bytes) else card.encode())
    monkeypatch.setattr(credits, "hf_hub_download", lambda *_, **__: str(readme))
    credit = credits.credit_of("Base model", Reference("a/b"), Path("/cache/snapshots/c0ffee/x.gguf"))
    assert (credit.licence, credit.licence_link) == licence
    assert (credit.repository, credit.revision) == ("a/b", "c0ffee")
    assert views.escape(credit.licence or "see its card") in views.credits([credit])


@pytest.mark.parametrize("failing", ["credit_of", "pull_metrics"])
def test_trying_again_never_leaves_an_engine_behind(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    def fault(*_: object, **__: object) -> None:
        if "failed" not in seen:
            raise RuntimeError("a fault of ours")

    seen: list[str] = []
    monkeypatch.setattr(models_module, "pull_gguf", lambda _, *, variable, **__: Path(f"/cache/{variable}.gguf"))
    monkeypatch.setattr(models_module, "pull_rows", lambda *_, **__: questions())
    monkeypatch.setattr(models_module, "pull_metrics", lambda *_, **__: metrics())
    monkeypatch.setattr(models_module, "credit_of", lambda *_: None)
    monkeypatch.setattr(models_module, failing, fault)
    monkeypatch.setattr(models_module, "Engine", SimpleNamespace(load=lambda path, n_ctx: opened.append(path)))
    models = Models(Settings.read({}))
    models.start()
    wait_until(models, lambda: models.settled)
    assert models.parts()[0].phase == "failed"
    models._thread.join(5)
    seen.append("failed")
    models.start()
    wait_until(models, lambda: models.settled)
    assert [part.phase for part in models.parts()] == ["ready"] * 3
    assert sorted(opened) == [Path("/cache/FOOTNOTE_BASE.gguf"), Path("/cache/FOOTNOTE_MODEL.gguf")]


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


def test_the_page_names_three_endpoints_and_starts_nothing() -> None:
    from space.page import AppState, build

    models = Models(Settings.read({}))
    page = build(AppState(models))
    public = [event.api_name for event in page.fns.values() if event.api_visibility == "public"]
    assert public == ["ask", "compare", "evaluate"]
    assert {event.concurrency_id for event in page.fns.values() if event.queue} == {"ask", "evaluate"}
    assert page._queue.max_size == 16
    assert models._thread is None
