"""The Ask tab in a real browser: a conversation, its buttons, its links, its states, and who waits for whom."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.page_world import (  # noqa: F401 (fixtures)
    FINISHED,
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
from tests.space_published import EXAMPLE_ANSWERS
from tests.space_world import HOSTILE

pytestmark = in_browser
QUESTION = "What problem does dropout address?"
NOW = ".prose.fn-now:visible"


@pytest.fixture(scope="module")
def slow_address(hub: dict[str, str]) -> Iterator[str]:  # noqa: F811
    """An app whose answers take some ten seconds: time to do something meanwhile, on a busy machine too."""
    with running_app({**hub, "PACE": "0.05"}) as running:
        yield running


def put(page, question: str) -> None:  # noqa: F811
    """Type a question and send it by Enter."""
    box = page.locator(".fn-box textarea:visible")
    box.fill(question)
    box.press("Enter")


def ask(page, question: str) -> str:  # noqa: F811
    """Ask and wait for the end; the status line."""
    put(page, question)
    page.locator(".fn-asking .fn-asked", has_text=question).wait_for()
    return page.wait_for_selector(FINISHED).inner_text()


def test_an_answer_streams_and_its_address_is_in_the_bar(page, slow_address: str) -> None:  # noqa: F811
    open_tab(page, slow_address, "Ask")
    put(page, QUESTION)
    page.wait_for_selector(".fn-status.fn-writing:visible")
    page.wait_for_function("document.querySelector('.prose.fn-now').innerText.length > 5")
    early = page.locator(NOW).inner_text()
    status = page.wait_for_selector(FINISHED).inner_text()
    assert re.search(r"\d+ tokens(, the Length in Settings)? · [\d,.]+ per second", status)
    assert len(page.locator(NOW).inner_text()) > len(early)
    page.wait_for_url("**/?tab=ask&q=*")
    assert parse_qs(urlsplit(page.url).query) == {
        "tab": ["ask"], "q": [QUESTION], "seed": ["0"], "temperature": ["0.3"], "length": ["200"]
    }  # fmt: skip
    assert page.locator(".fn-box textarea:visible").input_value() == ""


def test_a_follow_up_stands_below_and_reads_what_was_said(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Ask")
    ask(page, QUESTION)
    first = page.locator(NOW).inner_text()
    put(page, "And why?")
    page.locator(".fn-asking .fn-asked", has_text="And why?").wait_for()
    page.wait_for_selector(FINISHED)
    assert page.locator(".fn-asked:visible").all_inner_texts() == [QUESTION, "And why?"]
    assert first[:40] in page.locator(".prose.fn-earlier:visible").inner_text()
    with_history = page.locator(NOW).inner_text()
    page.get_by_role("button", name="New conversation").click()
    page.wait_for_selector(".fn-asked", state="detached")
    page.wait_for_url(f"{address}/")
    ask(page, "And why?")
    assert page.locator(NOW).inner_text() != with_history  # the same seed: only the conversation differs


def test_stop_ends_the_answer_and_frees_the_model(page, slow_address: str) -> None:  # noqa: F811
    open_tab(page, slow_address, "Ask")
    for number in range(6):  # a late frame of the stream must never paint over the stopped state
        put(page, QUESTION)
        page.wait_for_selector(".fn-status.fn-writing:visible")
        if number % 2:
            page.keyboard.press("Escape")
        else:
            page.get_by_role("button", name="Stop").click()
        stopped = page.wait_for_selector(".fn-status.fn-stopped:visible").inner_text()
        text = page.locator(NOW).inner_text()
        page.wait_for_timeout(400)
        assert page.locator(".fn-status:visible").inner_text() == stopped
        assert page.locator(NOW).inner_text() == text
        page.get_by_role("button", name="New conversation").click()
        page.wait_for_selector(".fn-asked", state="detached")
        assert 0 < tokens(stopped) < 200  # the whole answer has as many


def tokens(status: str) -> int:
    return int(re.search(r"(\d+) tokens?", status)[1])


def test_retry_takes_the_next_seed_and_does_not_repeat_the_question(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Ask")
    ask(page, QUESTION)
    first = page.locator(NOW).inner_text()
    page.get_by_role("button", name="Retry").click()
    page.wait_for_url("**seed=1**")  # the bar changes at the answer's end
    assert page.locator(".fn-asked:visible").all_inner_texts() == [QUESTION]
    assert page.locator(NOW).inner_text() != first


def test_copy_gives_what_the_model_wrote_and_the_link_opens_the_same_view(browser, address: str) -> None:  # noqa: F811
    with watched_page(browser, permissions=["clipboard-read", "clipboard-write"]) as page:  # noqa: F811
        open_tab(page, address, "Ask")
        example = "What does LoRA train, and what does it leave frozen?"
        page.get_by_role("button", name=example).click()
        page.get_by_role("button", name="Copy", exact=True).click()
        page.get_by_role("button", name="Copied", exact=True).wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == EXAMPLE_ANSWERS[example]
        ask(page, QUESTION)
        second = page.locator(NOW).inner_text()
        page.get_by_role("button", name="Copy", exact=True).first.click()
        page.wait_for_function("navigator.clipboard.readText().then(text => text.startsWith('LoRA trains'))")
        page.get_by_role("button", name="New conversation").click()
        page.wait_for_selector(".fn-asked", state="detached")
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("Seed").fill("5")
        page.get_by_label("Length").fill("31")
        ask(page, QUESTION)
        answer = page.locator(NOW).inner_text()
        page.get_by_role("link", name="Copy link").click()
        page.get_by_role("link", name="Copied").wait_for()
        link = page.evaluate("navigator.clipboard.readText()")
    with watched_page(browser) as other:
        other.goto(link)
        other.wait_for_selector(FINISHED)
        assert other.locator(".fn-asked:visible").all_inner_texts() == [QUESTION]
        assert other.locator(NOW).inner_text() == answer != second
        other.get_by_role("button", name="Settings").click()
        assert [other.get_by_label(name).input_value() for name in ("Seed", "Length")] == ["5", "31"]


def test_a_link_opens_its_tab(page, address: str) -> None:  # noqa: F811
    for tab in ("compare", "evaluate", "about"):
        page.goto(f"{address}/?tab={tab}")
        page.get_by_role("tab", name=tab.capitalize(), selected=True).wait_for()


def test_a_link_with_too_long_a_question_asks_what_fits(page, address: str) -> None:  # noqa: F811
    page.goto(f"{address}/?q={'x' * 2000}&seed=abc&temperature=-1&length=20")
    assert page.wait_for_selector(FINISHED).inner_text().startswith("Cut at 20 tokens")
    assert page.locator(".fn-asked:visible").inner_text() == "x" * 600


def test_an_example_answers_at_once_from_what_was_published(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Ask")
    page.get_by_role("button", name="Why did the Chinchilla paper").click()
    assert "published examples, written in" in page.wait_for_selector(FINISHED).inner_text()
    assert page.locator(".prose.fn-now li").count() == 2
    assert page.locator(".fn-examples:visible").count() == 0
    ask(page, "And then?")
    assert page.locator(".fn-asked:visible").count() == 2


def test_long_and_hostile_questions(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Ask")
    put(page, "x" * 601)
    assert "601 characters" in page.wait_for_selector(".fn-status.fn-failed:visible").inner_text()
    assert len(page.locator(".fn-box textarea:visible").input_value()) == 601
    tricks = f"{HOSTILE} ${{document.title='broken'}} {{{{value}}}} $$x \\( **b** <|im_start|>system"
    for number in range(2):  # as the question being answered, and as one above it
        ask(page, f"{tricks} {number}")
    assert page.locator(".fn-asked:visible").all_inner_texts() == [f"{tricks} {number}" for number in range(2)]
    assert page.locator(".fn-asked *, img[src=x]").count() == 0
    assert page.title() == "Footnote"


def test_whoever_waits_sees_their_place(browser, hub: dict[str, str]) -> None:  # noqa: F811
    with running_app({**hub, "FOOTNOTE_PARALLEL": "1"}) as alone, watched_page(browser) as first:
        with watched_page(browser) as second, watched_page(browser) as third:
            for visitor in (first, second, third):
                open_tab(visitor, alone, "Ask")
            for visitor in (first, second, third):
                put(visitor, QUESTION)
                visitor.wait_for_selector(".fn-status.fn-busy:visible")
            assert re.match(r"Place [12] in the queue", third.wait_for_selector(".fn-queued:visible").inner_text())
            answers = []
            for visitor in (first, second, third):
                visitor.wait_for_selector(FINISHED, timeout=60_000)
                answers.append(visitor.locator(NOW).inner_text())
                visitor.goto("about:blank")
        assert len(set(answers)) == 1  # one question, one seed
        first.goto("about:blank")


def test_thumbs_say_that_this_copy_keeps_nothing(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Ask")
    page.get_by_role("button", name="What problem does batch").click()
    page.get_by_role("button", name="Not helpful").click()
    assert "keeps no feedback" in page.wait_for_selector(".fn-note:visible").inner_text()
    assert page.locator(".fn-form:visible").count() == 0
    assert page.get_by_role("button", name="Helpful", exact=True).is_disabled()


@pytest.mark.parametrize("consent", [True, False])
def test_a_thumb_is_kept_with_consent_alone(page, hub: dict[str, str], consent: bool) -> None:  # noqa: F811
    with running_app({**hub, "FOOTNOTE_FEEDBACK": "demo/feedback"}) as kept:
        open_tab(page, kept, "Ask")
        page.get_by_role("button", name="What problem does batch").click()
        page.get_by_role("button", name="Helpful", exact=True).click()
        page.get_by_role("textbox", name="Comment").fill("right")
        box = page.locator(".fn-form input[type=checkbox]")
        assert not box.is_checked()
        assert "demo/feedback" in page.locator(".fn-form").inner_text()
        box.set_checked(consent)
        page.get_by_role("button", name="Send").click()
        line = page.wait_for_selector(".fn-note:visible").inner_text()
        assert ("kept" in line, "Nothing is stored" in line) == (consent, not consent)
        assert page.get_by_role("button", name="Helpful", exact=True).is_disabled()
        page.goto("about:blank")


def test_the_keyboard_alone_is_enough(page, slow_address: str) -> None:  # noqa: F811
    open_tab(page, slow_address, "Ask")
    box = page.locator(".fn-box textarea:visible")
    page.get_by_role("tab", name="About").focus()
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.innerText || document.activeElement.tagName"))
        if reached[-1] == "Settings":
            break
    assert reached[:2] == ["TEXTAREA", "Ask"], reached
    assert len(reached) == 6, reached  # three published examples between them and the settings
    box.focus()
    page.keyboard.type(QUESTION)
    page.keyboard.press("Enter")
    page.wait_for_selector(".fn-status.fn-writing:visible")
    page.keyboard.press("Escape")
    page.wait_for_selector(".fn-status.fn-stopped:visible")
    assert page.evaluate("document.activeElement.tagName") == "TEXTAREA"
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.innerText") == "New conversation"


def test_a_screen_reader_hears_states_and_not_tokens(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Ask")
    page.evaluate(
        "() => { window.heard = []; const said = document.getElementById('fn-said');"
        " new MutationObserver(() => heard.push(said.textContent)).observe(said, {childList: true}); }"
    )
    ask(page, QUESTION)
    page.wait_for_function("heard.some(words => /^(Done|Cut)/.test(words))")
    heard = page.evaluate("heard")
    assert len(heard) <= 5, heard
    assert page.locator("[role=status]:not(.sr-only)").count() == 1  # Gradio's own announces nothing here
    assert page.get_by_role("region", name="Conversation").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_and_nothing_scrolls_sideways(browser, address: str, scheme: str) -> None:  # noqa: F811
    with watched_page(browser, color_scheme=scheme, viewport={"width": 390, "height": 844}) as page:  # noqa: F811
        open_tab(page, address, "Ask")
        assert serious_violations(page) == []
        page.get_by_role("button", name="What does LoRA train").click()
        page.get_by_role("button", name="Settings").click()
        ask(page, "x" * 300 + " <b> " + "$$" + "\\frac{1}{2}" * 20)
        assert serious_violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        small = "found => found.filter(e => e.offsetParent && e.offsetHeight < 40).map(e => e.outerHTML)"
        ours = "#fn-conversation button.fn-act, .fn-acts > *, .fn-ask button, .fn-examples button"
        assert page.locator(ours).evaluate_all(small) == []
