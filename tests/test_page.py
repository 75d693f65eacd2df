"""The real app in a real browser: two tiny models from a loopback Hub, every tab used, wide and narrow."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.space_world import BASE, DATA, HOSTILE, TUNED, publish

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
FINISHED = ".fn-status:is(.fn-done, .fn-cut):visible"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"no browser at {CHROMIUM}"),
]


@contextmanager
def running_app(environment: dict[str, str]) -> Iterator[str]:
    """Start the app in a process of its own; yields its address once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, **environment, "FOOTNOTE_PORT": str(port)}
    app = subprocess.Popen([sys.executable, "-m", "tests.space_world"], cwd=ROOT, env=environment)
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
            opener.open(address).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the app did not answer within a minute")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of an app whose models are on a loopback Hub."""
    from local_hub.testing import running_hub

    folder = tmp_path_factory.mktemp("world")
    with running_hub(folder / "hub") as running:
        publish(running.store, folder)
        names = {"FOOTNOTE_MODEL": TUNED, "FOOTNOTE_BASE": BASE, "FOOTNOTE_DATA": DATA}
        yield {**running.environment(folder / "home"), **names}


@pytest.fixture(scope="module")
def address(hub: dict[str, str]) -> Iterator[str]:
    with running_app(hub) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser) -> Iterator:
    """A page that fails its test if anything complained, or asked for anything beyond this machine."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page, faults = context.new_page(), []
    page.set_default_timeout(20_000)
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: None if _is_local(request.url) else faults.append(request.url))
    yield page
    context.close()
    assert faults == []


def _is_local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "data:", "blob:"))


def open_tab(page, address: str, name: str) -> None:
    """Go to a tab once the models are loaded."""
    page.goto(address)
    page.wait_for_selector(".fn-footer code")
    page.wait_for_selector("#fn-loading section", state="hidden")
    page.get_by_role("tab", name=name).click()


def test_a_question_in_the_address_is_asked_and_answered_in_a_stream(page, address: str) -> None:
    open_tab(page, f"{address}/?q=What%20does%20LoRA%20train%3F", "Ask")
    box = page.locator(".fn-box textarea:visible")
    assert (page.title(), box.input_value()) == ("Footnote", "What does LoRA train?")
    box.press("Enter")
    page.wait_for_selector(".fn-status.fn-writing:visible")
    page.wait_for_function("document.querySelector('.prose.fn-answer').innerText.length > 5")
    early = page.locator(".prose.fn-answer:visible").inner_text()
    status = page.wait_for_selector(FINISHED).inner_text()
    assert "tokens" in status
    assert "per second" in status
    assert len(page.locator(".prose.fn-answer:visible").inner_text()) > len(early)
    assert TUNED in page.locator(".fn-footer").inner_text()
    assert "apache-2.0" in page.locator(".fn-footer").inner_text()


def test_what_a_visitor_types_creates_no_element(page, address: str) -> None:
    open_tab(page, address, "Ask")
    page.locator(".fn-box textarea:visible").fill(HOSTILE)
    page.get_by_role("button", name="Ask", exact=True).click()
    page.wait_for_selector(FINISHED)
    assert page.locator("img[src=x]").count() == 0
    assert page.title() == "Footnote"
    assert page.locator(".fn-box textarea:visible").input_value() == HOSTILE


def test_stop_ends_the_answer_and_frees_the_model(page, address: str) -> None:
    open_tab(page, address, "Ask")
    for _ in range(6):  # a late frame of the stream must never paint over the stopped state
        page.get_by_role("button", name="What problem does batch normalization address?").click()
        page.wait_for_selector(".fn-status.fn-writing:visible")
        page.get_by_role("button", name="Stop").first.click()
        stopped = page.wait_for_selector(".fn-status.fn-stopped:visible").inner_text()
        text = page.locator(".prose.fn-answer:visible").inner_text()
        page.wait_for_timeout(500)
        assert page.locator(".fn-status:visible").inner_text() == stopped
        assert page.locator(".prose.fn-answer:visible").inner_text() == text
    page.get_by_role("button", name="Ask", exact=True).click()
    whole = page.wait_for_selector(FINISHED).inner_text()
    assert _tokens(stopped) < _tokens(whole)


def _tokens(status: str) -> int:
    return int(re.search(r"(\d+) tokens?", status)[1])


def test_compare_fills_both_columns(page, address: str) -> None:
    open_tab(page, address, "Compare")
    page.locator(".fn-box textarea:visible").fill("What problem does batch normalization address?")
    page.get_by_role("button", name="Compare", exact=True).click()
    page.wait_for_function(f"document.querySelectorAll('{FINISHED.replace(':visible', '')}').length == 2")
    answers = page.locator(".prose.fn-answer:visible").all_inner_texts()
    assert len(answers) == 2
    assert all(answers)
    assert answers[0] != answers[1]
    for status in page.locator(".fn-status:visible").all_inner_texts():
        assert "tokens" in status
        assert " s" in status


def test_evaluate_shows_rows_intervals_and_the_published_result(page, address: str) -> None:
    open_tab(page, address, "Evaluate")
    page.get_by_label("Questions").fill("10")
    page.get_by_role("button", name="Run").click()
    page.wait_for_selector(".fn-status.fn-running:visible")
    page.wait_for_selector(".fn-plot polyline")
    assert page.wait_for_selector(FINISHED).inner_text().startswith("Done · 10 of 10 questions")
    assert page.locator(".fn-table tbody tr").count() == 10
    assert HOSTILE in page.locator(".fn-question").all_inner_texts()
    assert page.locator("img[src=x], .fn-question b").count() == 0
    assert "interval" in page.locator(".fn-meter.fn-tuned").inner_text()
    published = page.locator(".fn-panel", has_text="Published result").inner_text()
    assert "47.5 %" in published
    live = page.locator(".fn-panel", has_text="This run").inner_text()
    assert "questions, prompt: cloze (chat)." in live  # the published headline's, so that both can be compared
    assert "prompt: cloze (chat)." in published
    assert "better by 16.5 points" in published


def test_evaluate_refuses_a_number_in_place_and_clears_the_old_result(page, address: str) -> None:
    open_tab(page, address, "Evaluate")
    wrong = [("Questions", value) for value in ("26", "0", "-3", "2.5", "")] + [("Sample", "-1")]
    for field, value in wrong:
        box = page.get_by_role("spinbutton", name=field)
        page.get_by_role("spinbutton", name="Questions").fill("1")
        page.get_by_role("button", name="Run").click()
        page.wait_for_selector(FINISHED)
        box.fill(value)
        page.get_by_role("button", name="Run").click()
        assert "whole number from" in page.wait_for_selector(".fn-status.fn-failed:visible").inner_text()
        assert page.locator(".fn-table, .fn-plot, .fn-meter, .toast-body").count() == 0


def test_a_long_question_is_refused_and_not_cut(page, address: str) -> None:
    open_tab(page, address, "Ask")
    page.locator(".fn-box textarea:visible").fill("x" * 601)
    page.get_by_role("button", name="Ask", exact=True).click()
    assert "601 characters" in page.wait_for_selector(".fn-status.fn-failed:visible").inner_text()
    assert len(page.locator(".fn-box textarea:visible").input_value()) == 601


def test_evaluate_keeps_the_prompt_that_a_visitor_chose(page, address: str) -> None:
    open_tab(page, address, "Evaluate")
    assert page.get_by_label("Cloze").is_checked()
    page.get_by_label("Letter").check()
    page.get_by_label("Questions").fill("2")
    page.get_by_role("button", name="Run").click()
    page.wait_for_selector(FINISHED)
    assert page.get_by_label("Letter").is_checked()
    assert "2 questions, prompt: letter (chat)." in page.locator(".fn-panel", has_text="This run").inner_text()
    published = page.locator(".fn-panel", has_text="Published result")
    assert "59.0 %" in published.inner_text()
    assert "worse by 9.0 points" in published.inner_text()
    page.get_by_label("Cloze").check()
    page.wait_for_selector(".fn-figures:nth-of-type(2)", state="detached")
    assert "59.0 %" not in published.inner_text()


def test_evaluate_can_be_cancelled(page, address: str) -> None:
    open_tab(page, address, "Evaluate")
    page.get_by_role("button", name="Run").click()
    page.wait_for_selector(".fn-table tbody tr")
    page.get_by_role("button", name="Stop").last.click()
    page.wait_for_selector(".fn-status.fn-stopped:visible")
    page.wait_for_timeout(500)
    asked = page.locator(".fn-table tbody tr").count()
    assert 1 <= asked < 10
    assert page.locator(".fn-status.fn-stopped:visible").inner_text() == f"Stopped after {asked} of 10"


def test_a_narrow_dark_page_does_not_scroll_sideways(page, address: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    open_tab(page, address, "Evaluate")
    page.get_by_label("Questions").fill("3")
    page.get_by_role("button", name="Run").click()
    page.wait_for_selector(FINISHED)
    assert page.locator(".fn-table tbody tr").count() == 3
    indents = "cells => cells.map(c => c.firstChild.getBoundingClientRect().left - c.getBoundingClientRect().left)"
    assert min(page.locator("td[data-title]").evaluate_all(indents)) > 100
    displays = "cells => cells.map(cell => getComputedStyle(cell.firstChild).display)"
    assert set(page.locator("td[data-title]").evaluate_all(displays)) == {"block"}  # all its lines begin there
    for tab in ("Ask", "Compare", "Evaluate"):
        page.get_by_role("tab", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 22, 20)"


def test_programs_have_named_endpoints(address: str) -> None:
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    client = Client(address, verbose=False)
    job = client.submit("What does LoRA train?", api_name="/ask")
    assert job.result(timeout=30)
    outputs = job.outputs()
    assert len(outputs) > 3
    assert outputs[-1].startswith(outputs[len(outputs) // 2])
    result = client.predict(3, "cloze", 7, api_name="/evaluate")
    assert (result["state"], len(result["rows"]), result["tuned"]["n"]) == ("done", 3, 3)
    assert result["tuned"]["low"] <= result["tuned"]["correct"] / 3 <= result["tuned"]["high"]
    assert client.predict(1, api_name="/evaluate")["formulation"] == "cloze"  # the published headline's
    with pytest.raises(AppError, match="The question must be text"):
        client.predict(7, api_name="/ask")
    with pytest.raises(AppError, match="601 characters"):
        client.predict("x" * 601, api_name="/ask")


def test_every_answer_forbids_strangers(address: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address) as answer:
        assert "img-src 'self' data: blob:" in answer.headers["content-security-policy"]


def test_a_missing_model_names_its_variable_and_can_be_tried_again(page, hub: dict[str, str]) -> None:
    with running_app({**hub, "FOOTNOTE_MODEL": "demo/not-there-GGUF"}) as address:
        page.goto(address)
        assert "set FOOTNOTE_MODEL" in page.wait_for_selector(".fn-part.fn-failed").inner_text()
        retry = page.get_by_role("button", name="Try again")
        retry.click()
        page.wait_for_selector("button:has-text('Try again')", state="visible")
        page.locator(".fn-box textarea:visible").fill("What does LoRA train?")
        page.get_by_role("button", name="Ask", exact=True).click()
        assert "FOOTNOTE_MODEL" in page.wait_for_selector(".fn-status.fn-failed:visible").inner_text()
        page.goto("about:blank")  # leave before the app ends: a cut connection is a complaint of the browser's
