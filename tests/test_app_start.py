"""`python app.py` from its first line on: who answers while the page is imported, and what is told to whom."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from space.starting import StartingPage
from tests.app_process import free_port
from tests.page_world import browser, in_browser  # noqa: F401
from tests.test_structure import imported

ROOT = Path(__file__).parents[1]


def asked(port: int, path: str = "/", method: str = "GET") -> tuple[int, dict[str, str], str]:
    """Status, headers and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read().decode()


@contextmanager
def started(port: int, **environment: str) -> Iterator[subprocess.Popen]:
    """The app in a process of its own, from the moment that it answers."""
    environment = {**os.environ, "FOOTNOTE_PORT": str(port), "PYTHONUNBUFFERED": "1", **environment}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT, "env": environment}
    with subprocess.Popen([sys.executable, "app.py"], **options) as app:
        try:
            for _ in range(2000):
                assert app.poll() is None, app.stderr.read()
                try:
                    asked(port)
                    break
                except OSError:
                    time.sleep(0.01)
            yield app
        finally:
            app.terminate()
            app.wait(20)


def test_the_starting_page_answers_and_leaves_the_port() -> None:
    port = free_port()
    with StartingPage("127.0.0.1", port, "<b>Margin</b> note"):
        status, headers, body = asked(port, "/?tab=ask&q=What")
        assert (status, headers["x-starting"], headers["cache-control"]) == (200, "1", "no-store")
        assert "<title>&lt;b&gt;Margin&lt;/b&gt; note</title>" in body
        assert 'role="status">The page is starting' in body
        assert not re.search(r"https?://|src=|@import", body)  # nothing is fetched from anywhere
        assert asked(port, "/", "HEAD")[::2] == (200, "")
        assert [asked(port, path)[0] for path in ("/gradio_api/call/ask", "/../app.py", "/config")] == [503] * 3
    with pytest.raises(ConnectionRefusedError):
        asked(port)
    with StartingPage("127.0.0.1", port, "again"):
        assert "again" in asked(port)[2]


def test_the_app_answers_at_once_and_then_becomes_the_page(tmp_path: Path) -> None:
    port = free_port()
    token = "hf_" + "pLanted000" * 3
    with started(port, HF_TOKEN=token, HF_HOME=str(tmp_path)) as app:
        first = asked(port)
        assert first[1].get("x-starting") == "1"
        assert app.stdout.readline() == f"The page is at http://127.0.0.1:{port}/\n"
        status, headers, body = asked(port)
        assert (status, "x-starting" in headers) == (200, False)
        assert "window.gradio_config" in body
        assert "img-src 'self' data: blob:" in headers["content-security-policy"]
        shown = body + asked(port, "/config")[2] + asked(port, "/gradio_api/info")[2]
        assert token not in shown
        assert asked(port, "/gradio_api/file=app.py")[0] in (403, 404)
        app.send_signal(signal.SIGTERM)
        out, errors = app.communicate(timeout=20)
    assert (app.returncode, out) == (0, "")
    assert "Traceback" not in errors
    assert token not in errors


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("FOOTNOTE_PORT", "seven", "FOOTNOTE_PORT='seven' is not a port; set it to a number from 1 to 65535"),
        ("FOOTNOTE_BASE", "hf_" + "x" * 30, "FOOTNOTE_BASE='[hidden]' is not NAMESPACE/NAME"),
    ],
)
def test_a_wrong_setting_ends_it_with_code_2_and_one_line(variable: str, value: str, line: str) -> None:
    environment = {**os.environ, variable: value}
    ended = subprocess.run([sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"error: {line}")
    assert ended.stderr.count("\n") == 1


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


@pytest.mark.parametrize("taker", ["gradio.Blocks.launch", "space.starting._Server.server_bind"])
def test_a_port_that_is_taken_while_it_changes_hands_is_one_line_too(taker: str, tmp_path: Path) -> None:
    code = (
        "import app, pkgutil, sys\n"
        f"owner, _, name = {taker!r}.rpartition('.')\n"
        "def taken(*_, **__): raise OSError('Cannot find empty port')\n"
        "setattr(pkgutil.resolve_name(owner), name, taken)\n"
        "app.main()\n"
    )
    port = free_port()
    environment = {**os.environ, "FOOTNOTE_PORT": str(port), "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (2, "")
    last = ended.stderr.splitlines()[-1]
    assert last == f"error: FOOTNOTE_PORT={port} cannot be had on 127.0.0.1 (taken just now); set another"
    assert "Traceback" not in ended.stderr  # not of the models either, which HF_HUB_OFFLINE keeps away


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this machine speaks no IPv6")
def test_an_address_of_the_sixth_version_will_do(tmp_path: Path) -> None:
    environment = {**os.environ, "FOOTNOTE_PORT": str(free_port()), "FOOTNOTE_HOST": "::1", "HF_HOME": str(tmp_path)}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT, "env": environment}
    with subprocess.Popen([sys.executable, "-u", "app.py"], **options) as app:
        try:
            line = app.stdout.readline()
            assert line == f"The page is at http://[::1]:{environment['FOOTNOTE_PORT']}/\n", app.stderr.read()
        finally:
            app.terminate()
            _, errors = app.communicate(timeout=30)
    assert "Traceback" not in errors
    assert app.returncode == 0


def test_whatever_the_page_imports_is_among_what_the_space_installs() -> None:
    files = [ROOT / "app.py", *(ROOT / "space").rglob("*.py"), *(ROOT / "qa").glob("*.py")]
    heads = {name.split(".")[0] for path in files for name in imported(path)}
    others = heads - set(sys.stdlib_module_names) - {"qa", "space"}
    names = packages_distributions()
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    wanted = {line.partition("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    assert {"httpx2", "tqdm", "starlette", "yaml", "jinja2"} <= others
    missing = {name for name in others if not {each.lower().replace("_", "-") for each in names[name]} & wanted}
    assert not missing


def test_the_app_imports_nothing_of_the_jobs_and_answers_before_gradio() -> None:
    """Neither torch nor its friends, nor the jobs: a Space would pay for them in minutes and gigabytes."""
    unwanted = ("torch", "transformers", "datasets", "peft", "trl", "jobs", "local_hub")
    check = (
        "import app, sys; print([name for name in ('gradio', 'numpy', 'llama_cpp') if name in sys.modules]); "
        f"import space.serving; print([name for name in {unwanted} if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["[]", "[]"]


@pytest.mark.browser
@in_browser[1]
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_starting_page_gives_way_to_the_real_one(browser, scheme: str, tmp_path: Path) -> None:  # noqa: F811
    port = free_port()
    with started(port, HF_HOME=str(tmp_path)), browser.new_context(color_scheme=scheme) as context:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/?q=What%20is%20LoRA%3F")
        assert (
            page.get_by_role("status").first.inner_text() == "The page is starting; it will be here in a few seconds."
        )
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert colour == {"light": "rgb(252, 251, 248)", "dark": "rgb(23, 22, 20)"}[scheme]
        page.wait_for_selector(".fn-tabs", timeout=60_000)
        assert page.url.startswith(f"http://127.0.0.1:{port}/?")
        assert "q=What" in page.url
