"""The Ask and Compare tabs in a real browser: what an answer looks like, what is heard, where the focus goes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.page_world import (  # noqa: F401 (fixtures)
    FINISHED,
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
QUESTION = "What problem does dropout address?"
HEARD = (
    "() => { window.heard = []; const said = document.getElementById('fn-said');"
    " new MutationObserver(() => heard.push(said.textContent)).observe(said, {childList: true}); }"
)
STYLE = "(found, name) => getComputedStyle(found)[name]"


@pytest.fixture(scope="module")
def address(hub: dict[str, str]) -> Iterator[str]:  # noqa: F811
    """An app that answers with a table, code and a formula, all too wide."""
    with running_app(hub, "tests.answer_world") as running:
        yield running


def put(page, question: str) -> None:  # noqa: F811
    """Type a question and send it by Enter."""
    box = page.locator(".fn-box textarea:visible")
    box.fill(question)
    box.press("Enter")


def ask(page, question: str) -> None:  # noqa: F811
    """Ask and wait for the end."""
    put(page, question)
    page.locator(".fn-asking .fn-asked", has_text=question).wait_for()
    page.wait_for_selector(FINISHED)
    page.locator(".prose.fn-now table").wait_for()


def focused(page, selector: str) -> None:  # noqa: F811
    """Wait until the focus is there."""
    page.wait_for_function("selector => document.activeElement.matches(selector)", arg=selector)


@pytest.mark.parametrize("width", [390, 1280])
def test_what_is_too_wide_scrolls_in_itself_by_keyboard_too(browser, address: str, width: int) -> None:  # noqa: F811
    with watched_page(browser, viewport={"width": width, "height": 844}) as page:  # noqa: F811
        open_tab(page, address, "Ask")
        ask(page, QUESTION)
        for wide in ("pre", "table", ".katex-display"):
            found = page.locator(f".prose.fn-now {wide}")
            page.wait_for_function("found => found.tabIndex === 0", arg=found.element_handle())
            assert found.evaluate("found => found.scrollWidth > found.clientWidth"), wide
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert serious_violations(page) == []
        cell = page.locator(".prose.fn-now td").first
        assert cell.evaluate("found => found.getClientRects().length") == 1
        assert cell.bounding_box()["height"] < 50  # one line: no word is broken


def test_an_answer_is_set_as_it_should_be(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Ask")
    ask(page, "מה זה?")
    now = page.locator(".prose.fn-now")
    assert "KaTeX" in now.locator(".katex .mord").first.evaluate(STYLE, "fontFamily")
    assert "Charter" in now.locator("p").first.evaluate(STYLE, "fontFamily")
    assert "mono" in now.locator("pre code").evaluate(STYLE, "fontFamily")
    inner, text = (now.locator(name).last.evaluate(STYLE, "fontSize") for name in ("li li p, li li", "p"))
    assert inner == text
    for line in (now.locator("p").last, page.locator("h2.fn-asked")):  # text from right to left begins at the right
        left, right = line.evaluate(
            "found => { const range = document.createRange(); range.selectNodeContents(found);"
            " const words = range.getBoundingClientRect(), box = found.getBoundingClientRect();"
            " return [words.left - box.left, box.right - words.right]; }"
        )
        assert left > 100 > 5 > right


def test_a_second_question_waits_and_is_told_so(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Ask")
    page.evaluate(HEARD)
    put(page, QUESTION)
    go = page.locator(".fn-ask button.primary:visible")
    page.wait_for_selector(".fn-ask button.primary[aria-disabled=true]")
    assert go.evaluate(STYLE, "opacity") == "0.45"
    put(page, "And why?")
    page.wait_for_function("heard.includes('One answer is being written. Stop it, or wait for its end.')")
    page.wait_for_selector(FINISHED)
    page.wait_for_selector(".fn-ask button.primary[aria-disabled=false]")
    assert page.locator(".fn-asked:visible").all_inner_texts() == [QUESTION]
    assert page.locator(".fn-box textarea:visible").input_value() == "And why?"


def test_an_answer_without_words_cannot_be_judged_or_followed(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Ask")
    put(page, QUESTION)
    page.get_by_role("button", name="Stop").click()
    page.wait_for_selector(".fn-status.fn-stopped:visible")
    page.get_by_role("button", name="Retry").wait_for()
    assert page.get_by_role("button", name="Helpful").count() == 0
    assert page.locator(".fn-box textarea:visible").get_attribute("placeholder") == "Ask about a method or paper"
    page.get_by_role("button", name="Retry").click()
    page.get_by_role("button", name="Not helpful").wait_for()
    assert page.locator(".fn-box textarea:visible").get_attribute("placeholder") == "Ask a follow-up"


def test_a_conversation_has_no_address(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Ask")
    ask(page, QUESTION)
    page.wait_for_url("**/?tab=ask&q=*")
    ask(page, "And why?")
    page.wait_for_url(f"{address}/")


def test_compare_is_heard_though_it_was_built_later(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Compare")
    page.locator(".fn-box textarea:visible").wait_for()
    page.evaluate(HEARD)
    put(page, QUESTION)
    page.wait_for_function("heard.some(words => words.startsWith('First answer: '))")
    heard = page.evaluate("heard")
    assert len(heard) == len(set(heard)) <= 6, heard


def test_the_focus_goes_where_the_keyboard_goes_on(page, hub: dict[str, str]) -> None:  # noqa: F811
    with running_app({**hub, "FOOTNOTE_FEEDBACK": "demo/feedback"}, "tests.answer_world") as kept:
        open_tab(page, kept, "Ask")
        page.locator(".fn-example:visible").first.press("Enter")
        focused(page, ".fn-box textarea")
        page.get_by_role("button", name="Retry").press("Enter")
        focused(page, ".fn-box textarea")
        page.get_by_role("button", name="Stop").press("Enter")
        focused(page, ".fn-box textarea")
        page.get_by_role("button", name="Retry").press("Enter")
        page.get_by_role("button", name="Helpful", exact=True).press("Enter")
        focused(page, ".fn-form textarea")
        page.get_by_role("button", name="Send").press("Enter")
        focused(page, ".fn-note")
        page.get_by_role("tab", name="Compare").click()
        page.get_by_label("Blind vote").check()
        put(page, QUESTION)
        page.get_by_role("button", name="1 is better").press("Enter")
        focused(page, ".fn-revealed h2")
        page.goto("about:blank")
