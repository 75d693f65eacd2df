"""The Evaluate tab in a real browser: a run that grows, a table that keeps the visitor's order, the published rows."""

from __future__ import annotations

import re

from tests.page_world import address, browser, hub, in_browser, open_tab, page, serious_violations, watched_page  # noqa: F401
from tests.space_world import HOSTILE

pytestmark = in_browser
LIVE, PUBLISHED = "#fn-live-board", "#fn-published-board"
DONE = ".fn-status.fn-done:visible"
WRONG = [("Questions", value) for value in ("26", "0", "-3", "2.5", "")] + [("Sample", "-1")]


def run(page, number: int, finish: str = DONE) -> str:  # noqa: F811
    """Press Run and wait for the end; gives the status line."""
    page.get_by_role("spinbutton", name="Questions").fill(str(number))
    page.get_by_role("button", name="Run", exact=True).click()
    return page.wait_for_selector(finish).inner_text()


def numbers(page, board: str) -> list[int]:  # noqa: F811
    """The numbers of the rows as they stand."""
    return [int(text) for text in page.locator(f"{board} .fn-number").all_inner_texts()]


def marks(page, board: str, side: str) -> list[str]:  # noqa: F811
    return page.locator(f"{board} tr[data-id]").evaluate_all(f"rows => rows.map(row => row.dataset.{side})")


def test_a_run_grows_and_stands_beside_the_published_result(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Evaluate")
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_selector(".fn-status.fn-running:visible")
    page.wait_for_selector(".fn-plot polyline")
    assert page.wait_for_selector(DONE).inner_text().startswith("Done · 10 of 10 questions")
    assert numbers(page, LIVE) == list(range(1, 11))
    assert HOSTILE in page.locator(f"{LIVE} .fn-open").all_inner_texts()
    assert page.locator("img[src=x], .fn-open b").count() == 0
    assert "interval" in page.locator(".fn-meter.fn-tuned:visible").inner_text()
    live = page.locator(".fn-panel:visible", has_text="This run").inner_text()
    published = page.locator(".fn-panel:visible", has_text="Published result").inner_text()
    assert "questions, prompt: cloze (chat)." in live  # the published headline's, so that both can be compared
    assert "prompt: cloze (chat)." in published
    assert "47.5 %" in published
    assert "better by 16.5 points" in published
    assert serious_violations(page) == []


def test_rows_that_stream_in_leave_order_filter_and_focus_as_they_are(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Evaluate")
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_selector(f"{LIVE} tr[data-id]:nth-child(2)")
    header = page.locator(f"{LIVE} th[data-column=number] button")
    header.focus()
    page.keyboard.press("Enter")  # it is sorted by number already: now the last one first
    page.locator(f"{LIVE} [data-filter=base-wrong]").press("Space")
    early = numbers(page, LIVE)
    page.wait_for_selector(DONE)
    late = numbers(page, LIVE)
    assert late == sorted(late, reverse=True)
    assert set(early) <= set(late)
    assert set(marks(page, LIVE, "base")) <= {"0"}
    assert page.locator(f"{LIVE} th[data-column=number]").get_attribute("aria-sort") == "descending"
    assert page.locator(f"{LIVE} [data-filter=base-wrong]").get_attribute("aria-pressed") == "true"
    assert page.evaluate("document.activeElement.dataset.filter") == "base-wrong"
    said = page.locator(f"{LIVE} [role=status]").inner_text()
    assert re.fullmatch(r"\d+ of \d+ questions, by No\., descending", said)


def test_the_table_sorts_and_filters(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Evaluate")
    run(page, 10)
    for side in ("base", "tuned"):
        page.locator(f"{LIVE} th[data-column={side}] button").click()
        assert marks(page, LIVE, side) == sorted(marks(page, LIVE, side))
        page.locator(f"{LIVE} th[data-column={side}] button").click()
        assert marks(page, LIVE, side) == sorted(marks(page, LIVE, side), reverse=True)
    page.locator(f"{LIVE} th[data-column=question] button").click()
    texts = page.locator(f"{LIVE} .fn-open").all_inner_texts()
    assert texts == sorted(texts, key=str.lower)
    everything = marks(page, LIVE, "tuned"), marks(page, LIVE, "differs")
    for name, (key, wanted), found in (
        ("tuned-wrong", ("tuned", "0"), everything[0]),
        ("differs", ("differs", "1"), everything[1]),
    ):
        page.locator(f"{LIVE} [data-filter={name}]").click()
        assert marks(page, LIVE, key) == [wanted] * found.count(wanted)
        assert page.locator(f"{LIVE} [data-filter={name}] .fn-count").inner_text() == str(found.count(wanted))
    page.locator(f"{LIVE} [data-filter=all]").click()
    assert page.locator(f"{LIVE} tr[data-id]").count() == 10


def test_a_question_opens_in_full_by_keyboard_and_closes(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Evaluate")
    run(page, 3)
    first, second = (page.locator(f"{LIVE} .fn-open").nth(at) for at in (0, 1))
    first.press("Enter")
    page.wait_for_selector(f"{LIVE} .fn-options")
    whole = page.locator(f"{LIVE} .fn-whole").inner_text()
    assert whole == first.inner_text()
    assert page.locator(f"{LIVE} .fn-options tbody tr").count() == 4
    assert page.locator(f"{LIVE} .fn-gold-tag").count() == 1
    tags = page.locator(f"{LIVE} .fn-tags .fn-tag").all_inner_texts()
    assert sorted(tags) == ["Base", "Fine-tuned"]
    scores = [float(text.replace("−", "-")) for text in page.locator(f"{LIVE} .fn-score").all_inner_texts()]
    assert len(scores) == 8
    assert all(score < 0 for score in scores)
    assert first.get_attribute("aria-expanded") == "true"
    assert serious_violations(page) == []
    second.press("Enter")
    page.wait_for_function(f"document.querySelector('{LIVE} .fn-whole')?.innerText !== {whole!r}")
    assert (first.get_attribute("aria-expanded"), second.get_attribute("aria-expanded")) == ("false", "true")
    second.press("Enter")
    assert page.locator(f"{LIVE} .fn-detail").count() == 0


def test_all_published_rows_stand_beside_the_run(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Evaluate")
    page.get_by_label("Published, all 10").check()
    page.wait_for_selector(f"{PUBLISHED} tr[data-id]")
    assert numbers(page, PUBLISHED) == list(range(1, 11))
    panel = page.locator(".fn-panel:visible", has_text="question by question").inner_text()
    right = {side: marks(page, PUBLISHED, side).count("1") for side in ("base", "tuned")}
    for side, count in right.items():
        assert f"{count} / 10" in page.locator(f".fn-panel:visible .fn-meter.fn-{side}").last.inner_text()
    assert "10 questions, prompt: cloze (chat)." in panel
    page.locator(f"{PUBLISHED} .fn-open").nth(1).click()
    page.wait_for_selector(f"{PUBLISHED} .fn-options")
    assert serious_violations(page) == []
    page.get_by_label("Pick a letter").check()
    page.wait_for_function("document.body.innerText.includes('prompt: letter (chat).')")
    run(page, 2)  # shows the run
    assert page.get_by_role("radio", name="This run").is_checked()
    assert page.locator(f"{LIVE} tr[data-id]:visible").count() == 2
    assert page.locator(f"{PUBLISHED} tr[data-id]:visible").count() == 0


def test_a_wrong_number_is_refused_in_place_and_clears_the_old_result(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Evaluate")
    for field, value in WRONG:
        page.get_by_role("spinbutton", name="Sample").fill("0")
        run(page, 1)
        page.get_by_role("spinbutton", name=field).fill(value)
        page.get_by_role("button", name="Run", exact=True).click()
        assert "whole number from" in page.wait_for_selector(".fn-status.fn-failed:visible").inner_text()
        assert page.locator(f"{LIVE} tr[data-id]:visible, .fn-plot, .fn-meter:visible, .toast-body").count() == 0


def test_the_prompt_that_a_visitor_chose_stays(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Evaluate")
    page.wait_for_function("document.querySelector('input[value=cloze]').checked")
    page.get_by_label("Pick a letter").check()
    run(page, 2)
    assert page.get_by_label("Pick a letter").is_checked()
    assert "2 questions, prompt: letter (chat)." in page.locator(".fn-panel", has_text="This run").inner_text()
    published = page.locator(".fn-panel", has_text="Published result")
    assert "59.0 %" in published.inner_text()
    assert "worse by 9.0 points" in published.inner_text()
    page.get_by_label("Weigh each option").check()
    page.wait_for_selector(".fn-figures:nth-of-type(2)", state="detached")
    assert "59.0 %" not in published.inner_text()


def test_stop_takes_the_place_of_run_and_its_last_frame_stays(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Evaluate")
    go, stop = (page.locator("#fn-run").get_by_role("button", name=name) for name in ("Run", "Stop"))
    assert not stop.is_visible()
    go.press("Enter")
    page.wait_for_selector(f"{LIVE} tr[data-id]")
    assert not go.is_visible()
    assert page.evaluate("document.activeElement.textContent").strip() == "Stop"
    stop.press("Enter")
    page.wait_for_selector(".fn-status.fn-stopped:visible", timeout=1500)
    page.wait_for_function("document.activeElement.textContent.trim() === 'Run'")
    page.wait_for_timeout(500)
    asked = page.locator(f"{LIVE} tr[data-id]").count()
    assert 1 <= asked < 10
    assert page.locator(".fn-status.fn-stopped:visible").inner_text() == f"Stopped after {asked} of 10"


def test_a_second_visitor_waits_with_a_place_and_is_served(page, address: str, browser) -> None:  # noqa: F811
    with watched_page(browser) as other:
        for visitor, number in ((other, "2"), (page, "25")):
            open_tab(visitor, address, "Evaluate")
            visitor.get_by_role("spinbutton", name="Questions").fill(number)
        page.get_by_role("button", name="Run", exact=True).click()
        page.wait_for_selector(f"{LIVE} tr[data-id]")
        other.get_by_role("button", name="Run", exact=True).click()
        waiting = other.wait_for_selector(".fn-status.fn-queued:visible").inner_text()
        assert re.match(r"Place \d in the queue", waiting)
        assert other.wait_for_selector(DONE).inner_text().startswith("Done · 2 of 2 questions")
        assert page.wait_for_selector(DONE).inner_text().startswith("Done · 10 of 10 questions")


def test_narrow_and_dark_it_reads_without_scrolling_sideways(page, address: str) -> None:  # noqa: F811
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    open_tab(page, address, "Evaluate")
    run(page, 3)
    page.locator(f"{LIVE} .fn-open").first.click()
    page.wait_for_selector(f"{LIVE} .fn-options")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    lefts = page.locator(f"{LIVE} :is(.fn-filters, tr[data-id], .fn-number)").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().left)"
    )
    assert set(lefts) == {20}
    displays = "cells => cells.map(cell => getComputedStyle(cell.firstChild).display)"
    assert set(page.locator("tr[data-id] td[data-title]").evaluate_all(displays)) == {"block"}
    heights = "all => all.map(one => one.getBoundingClientRect().height)"
    assert min(page.locator(f"{LIVE} :is(.fn-chip, .fn-sort)").evaluate_all(heights)) >= 40
    assert page.locator(f"{LIVE} th[data-column=base] button").is_visible()
    assert serious_violations(page) == []
