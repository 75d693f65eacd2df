"""A browser, and the real app beside it in a process of its own. Not a test: the page's tests import its fixtures.

`from tests.page_world import address, browser, hub, page  # noqa: F401` gives a test file one app and one browser.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.app_process import free_port
from tests.space_world import BASE, DATA, TUNED, publish

ROOT = Path(__file__).parents[1]
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LEAVING = ("AbortError: signal is aborted", "Unexpected error Connection errored out")
FINISHED = ".fn-status:is(.fn-done, .fn-cut):visible"

in_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"no browser at {CHROMIUM}"),
]


@contextmanager
def running_app(environment: dict[str, str], world: str = "tests.space_world") -> Iterator[str]:
    """Start a world's app in a process of its own; yields its address once it answers."""
    port = free_port()
    environment = {**os.environ, **environment, "FOOTNOTE_PORT": str(port)}
    app = subprocess.Popen([sys.executable, "-m", world], cwd=ROOT, env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, app)
        yield address
    finally:
        app.terminate()
        app.wait(timeout=20)


def _wait_for(address: str, app: subprocess.Popen) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(600):
        assert app.poll() is None, "the app ended before it answered"
        try:
            if b"gradio" in opener.open(address).read():
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError("the app did not answer within a minute")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of an app whose models are on a loopback Hub."""
    from local_hub.testing import running_hub
    from tests import space_world

    folder = tmp_path_factory.mktemp("world")
    with running_hub(folder / "hub") as running:
        publish(running.store, folder)
        names = {"FOOTNOTE_MODEL": TUNED, "FOOTNOTE_BASE": BASE, "FOOTNOTE_DATA": DATA}
        if index := getattr(space_world, "INDEX", ""):
            names["FOOTNOTE_INDEX"] = index
        yield {**running.environment(folder / "home"), **names}


@pytest.fixture(scope="module")
def address(hub: dict[str, str]) -> Iterator[str]:
    """Where the app listens."""
    with running_app(hub) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser) -> Iterator:
    """A page that fails its test if anything complained, or asked for anything beyond this machine."""
    with watched_page(browser) as opened:
        yield opened


@contextmanager
def watched_page(browser, **options) -> Iterator:
    """A page in a context of its own: another visitor, for Gradio and for the scheduler. Complaints fail the test."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    page, faults = context.new_page(), []
    page.faults = faults
    page.set_default_timeout(20_000)
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: None if _is_local(request.url) else faults.append(request.url))
    try:
        yield page
    finally:
        context.close()
    assert not faults, faults


def reload(page) -> None:
    """Load the page anew. What Gradio's client says of the connections that it closes on leaving is no complaint."""
    before = len(page.faults)
    page.reload()
    page.faults[before:] = [fault for fault in page.faults[before:] if not fault.startswith(LEAVING)]


def _is_local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "data:", "blob:"))


def open_tab(page, address: str, name: str) -> None:
    """Go to a tab once the models are loaded."""
    page.goto(address)
    page.wait_for_selector(".fn-footer code")
    page.wait_for_selector("#fn-loading section", state="hidden")
    page.get_by_role("tab", name=name).click()


def serious_violations(page) -> list[str]:
    """What axe-core finds serious or critical in the page as it stands, one line each: rule, help, where."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {rule['help']}: {node['html'][:160]} {node['failureSummary']}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
