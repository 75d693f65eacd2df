"""The About tab in a real browser: what the owner wrote, what runs here, and what a visitor can take away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from space.settings import VARIABLES
from tests.page_world import (  # noqa: F401 - fixtures
    address,
    browser,
    hub,
    in_browser,
    open_tab,
    page,
    running_app,
    serious_violations,
    watched_page,
)

pytestmark = in_browser
WIDTHS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]


@pytest.fixture(scope="module")
def bare(hub: dict[str, str]) -> Iterator[str]:  # noqa: F811
    """The app over a model that says nothing of itself, and an index that is none."""
    with running_app(
        {**hub, "FOOTNOTE_MODEL": hub["FOOTNOTE_BASE"], "FOOTNOTE_INDEX": hub["FOOTNOTE_DATA"]}
    ) as started:
        yield started


def test_the_owners_words_are_shown_as_words(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "About")
    about = page.locator("#fn-about")
    page.wait_for_selector("#fn-about h2")
    assert about.locator("h2").all_inner_texts() == ["What it is", "Results", "Limits", "Licence"]
    assert about.locator("td").all_inner_texts() == ["Base", "31.0 %", "GGUF", "47.5 %"]
    assert about.locator("img, script").count() == 0
    assert "<script>" in about.inner_text()
    link = about.get_by_role("link", name="the base model")
    assert link.get_attribute("target") == "_blank"
    assert "noopener" in link.get_attribute("rel")


def test_it_says_what_runs_here(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "About")
    page.wait_for_selector("#fn-facts dd:has-text('4 passages of 4 documents')")
    names = page.locator("#fn-facts dt").all_inner_texts()
    values = dict(zip(names, page.locator("#fn-facts dd").all_inner_texts(), strict=True))
    assert "demo/footnote-tiny-GGUF" in values["Fine-tuned model"]
    assert values["Answers at once"] == "4"
    assert "Not kept" in values["Feedback"]


def test_programs_are_given_this_copys_own_address(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "About")
    page.wait_for_selector(f"#fn-programs pre:has-text('{address}')")
    snippets = page.locator("#fn-programs pre").all_inner_texts()
    assert [address in snippet for snippet in snippets] == [True, True, True]
    assert f"{address}/gradio_api/mcp/" in snippets[2]


def test_a_copy_finds_every_variable(page, address: str, hub: dict[str, str]) -> None:  # noqa: F811
    open_tab(page, address, "About")
    rows = page.locator(".fn-variables tbody tr")
    assert rows.locator("th").all_inner_texts() == [variable.name for variable in VARIABLES]
    assert rows.nth(0).locator("td").nth(2).inner_text() == hub["FOOTNOTE_MODEL"]
    assert hub["HF_TOKEN"] not in page.content()


def test_without_words_and_papers_it_says_so_and_offers_to_try_again(page, bare: str) -> None:  # noqa: F811
    open_tab(page, bare, "About")
    page.wait_for_selector("#fn-about h2:has-text('About this model')")
    page.wait_for_selector("#fn-facts dd:has-text('holds no index')")
    page.get_by_role("button", name="Load the papers again").click()
    page.wait_for_selector("#fn-facts dd:has-text('holds no index')")
    page.get_by_role("button", name="Load the papers again").wait_for()
    assert page.locator(".fn-variables").is_visible()


@pytest.mark.parametrize(("width", "scheme"), WIDTHS)
def test_it_reads_well_wide_and_narrow(browser, address: str, width: int, scheme: str) -> None:  # noqa: F811
    with watched_page(browser, viewport={"width": width, "height": 900}, color_scheme=scheme) as opened:
        open_tab(opened, address, "About")
        opened.wait_for_selector("#fn-about h2")
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        assert serious_violations(opened) == []
