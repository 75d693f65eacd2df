"""The page's shell in a real browser: header and foot, models that come or do not, headers, wide and narrow."""

from __future__ import annotations

import urllib.request

import pytest

from space.models import Part
from space.settings import Settings
from space.views import header, loading
from tests.page_world import (  # noqa: F401 (fixtures)
    address,
    browser,
    hub,
    in_browser,
    open_tab,
    page,
    reload,
    running_app,
    serious_violations,
    watched_page,
)
from tests.space_world import TUNED

pytestmark = in_browser
TABS = ("Ask", "Compare", "Evaluate", "About")


def part(**state) -> Part:
    return Part("Fine-tuned model", Settings.read({}).model, "FOOTNOTE_MODEL", **state)


def test_a_download_shows_how_far_it_is() -> None:
    shown = loading([part(phase="downloading", done=812_000_000, total=1_929_902_208)])
    assert "downloading · 812.0 MB of 1.93 GB · 42 %" in shown
    assert '<progress max="1929902208" value="812000000" aria-label="Fine-tuned model: downloading">' in shown
    assert "measuring what is faster here" in loading([part(phase="measuring")])
    assert loading([part(phase="ready")]) == ""


def test_a_refused_revision_is_told_though_the_model_serves() -> None:
    shown = loading([part(phase="ready", notice="serves abc1234; def5678 was refused: <damaged>")])
    assert "serves abc1234; def5678 was refused: &lt;damaged&gt;" in shown


def test_the_header_is_the_copys_own() -> None:
    shown = header("Marginalia <b>", "plant genetics")
    assert "<h1>Marginalia &lt;b&gt;<sup>" in shown
    assert "questions about plant genetics, beside" in shown


def test_the_page_names_itself_and_whose_models_these_are(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Ask")
    assert page.title() == "Footnote"
    assert [tab.inner_text() for tab in page.get_by_role("tab").all() if tab.is_visible()] == list(TABS)
    foot = page.locator(".fn-footer").inner_text()
    assert TUNED in foot
    assert "apache-2.0" in foot


def test_the_page_stands_still_between_tabs_which_its_address_names(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Ask")
    places = []
    for tab in (*TABS, "Evaluate"):
        page.get_by_role("tab", name=tab, exact=True).click()
        page.get_by_role("tab", name=tab, exact=True, selected=True).wait_for()
        places.append(page.locator(".fn-header").bounding_box()["x"])
        assert page.url == f"{address}/?tab={tab.lower()}"
    assert len(set(places)) == 1, places
    reload(page)
    page.get_by_role("tab", name="Evaluate", selected=True).wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_tab_is_narrow_enough_and_has_no_serious_violation(browser, address: str, scheme: str) -> None:  # noqa: F811
    with watched_page(browser, color_scheme=scheme, viewport={"width": 390, "height": 844}) as page:  # noqa: F811
        open_tab(page, address, "Ask")
        for tab in TABS:
            page.get_by_role("tab", name=tab, exact=True).click()
            page.get_by_role("tab", name=tab, exact=True, selected=True).wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") == 390, tab
            assert serious_violations(page) == [], tab
        paper = {"light": "rgb(252, 251, 248)", "dark": "rgb(23, 22, 20)"}
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == paper[scheme]


def test_every_answer_forbids_strangers(address: str) -> None:  # noqa: F811
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address) as answer:
        assert "img-src 'self' data: blob:" in answer.headers["content-security-policy"]


def test_a_missing_model_names_its_variable_and_can_be_tried_again(page, hub: dict[str, str]) -> None:  # noqa: F811
    with running_app({**hub, "FOOTNOTE_MODEL": "demo/not-there-GGUF"}) as address:  # noqa: F811
        page.goto(address)
        assert "set FOOTNOTE_MODEL" in page.wait_for_selector(".fn-part.fn-failed").inner_text()
        retry = page.get_by_role("button", name="Try again")
        retry.click()
        page.wait_for_selector("#fn-loading :text('ago; it can be tried again in')")
        assert retry.is_visible()
        page.locator(".fn-box textarea:visible").fill("What does LoRA train?")
        page.get_by_role("button", name="Ask", exact=True).click()
        assert "FOOTNOTE_MODEL" in page.wait_for_selector(".fn-status.fn-failed:visible").inner_text()
        page.goto("about:blank")  # leave before the app ends: a cut connection is a complaint of the browser's
