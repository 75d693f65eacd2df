"""The Compare tab in a browser: both answers, marks, the shared link, and a blind vote that nothing gives away."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.page_world import address, browser, hub, in_browser, open_tab, page, reload, running_app, serious_violations  # noqa: F401
from tests.space_world import BASE, HOSTILE, TUNED

QUESTION = "What problem does batch normalization address?"
FEEDBACK = "demo/footnote-feedback"
ANSWERS = "#fn-comparison .fn-sides .md.prose:visible"
DONE = "#fn-comparison .fn-below .fn-status:is(.fn-done, .fn-cut):visible"

pytestmark = in_browser


@pytest.fixture(scope="module")
def keeping(hub: dict[str, str]) -> Iterator[str]:  # noqa: F811
    """An app that can keep feedback; its folder is the environment's HF_HOME."""
    with running_app({**hub, "FOOTNOTE_FEEDBACK": FEEDBACK}) as running:
        yield running


@pytest.fixture(scope="module")
def pair(hub: dict[str, str]) -> Iterator[str]:  # noqa: F811
    """An app whose models' answers share words."""
    with running_app(hub, "tests.paired_world") as running:
        yield running


def compare(page, question: str = QUESTION) -> None:  # noqa: F811
    """Ask in the open tab, and wait until both answers are whole."""
    page.locator(".fn-box textarea:visible").fill(question)
    page.evaluate("document.querySelectorAll('#fn-comparison .fn-both').forEach(last => last.dataset.last = 1)")
    page.get_by_role("button", name="Compare", exact=True).click()
    page.wait_for_selector("#fn-comparison .fn-both:not([data-last])", timeout=90_000)


def blindly(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Compare")
    page.get_by_label("Blind vote").check()
    compare(page)
    page.wait_for_selector(".fn-ballots:visible")


def heads(page) -> list[str]:  # noqa: F811
    return page.locator("#fn-comparison .fn-column h2").all_inner_texts()


def test_both_answers_stand_side_by_side_with_tokens_and_seconds(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Compare")
    compare(page)
    assert heads(page) == ["Base", "Fine-tuned"]
    for status in page.locator(DONE).all_inner_texts():
        assert re.search(r"\d+ tokens(, the Length in Settings)? · [\d,.]+ per second · [\d.]+ s", status)
    boxes = [column.bounding_box() for column in page.locator("#fn-comparison .fn-column").all()]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert len(set(page.locator(ANSWERS).all_inner_texts())) == 2
    assert page.locator(".fn-ballots:visible, .fn-revealed").count() == 0


def test_marks_have_words_for_those_who_cannot_see_them_and_can_be_switched_off(page, pair: str) -> None:  # noqa: F811
    open_tab(page, pair, "Compare")
    marks = page.get_by_label("Mark differences (as plain text)")
    for _ in range(2):  # without a comparison there is nothing to mark, and no error
        marks.click()
    compare(page)
    assert page.locator(f"{ANSWERS} strong").all_inner_texts() == ["Adapters", "Adapters"]
    assert page.locator("mark.fn-only").count() == 0
    marks.check()
    page.wait_for_selector("mark.fn-only")
    mark = page.locator("mark.fn-only").first
    assert mark.text_content().startswith("[only in this answer: ")
    assert mark.evaluate("mark => getComputedStyle(mark).textDecorationLine") == "underline"
    marks.uncheck()
    page.wait_for_selector("mark.fn-only", state="detached")
    page.wait_for_selector(ANSWERS)
    assert all(text.strip() for text in page.locator(ANSWERS).all_inner_texts())


def test_a_shared_link_opens_to_the_same_comparison(page, address: str) -> None:  # noqa: F811
    page.goto(f"{address}/?tab=compare&q={QUESTION.replace(' ', '+')}&seed=7&temperature=0.8&length=24")
    page.wait_for_selector("#fn-comparison .fn-share", timeout=90_000)
    first = page.locator(ANSWERS).all_inner_texts()
    assert page.get_by_role("tab", name="Compare").get_attribute("aria-selected") == "true"
    assert page.locator(".fn-box textarea:visible").input_value() == QUESTION
    page.wait_for_function("location.search.includes('seed=7')")
    page.goto(page.locator("#fn-comparison .fn-share").evaluate("link => link.href"))
    page.wait_for_selector("#fn-comparison .fn-share", timeout=90_000)
    # a prompt that is kept in memory is summed in another order, so that late words may differ
    again = page.locator(ANSWERS).all_inner_texts()
    assert [text[:3] for text in again] == [text[:3] for text in first] != ["", ""]
    page.get_by_role("button", name="Settings").locator("visible=true").click()
    settings = [page.locator("#fn-comparison").get_by_label(name).input_value() for name in ("Seed", "Length")]
    assert settings == ["7", "24"]
    assert all(line.startswith("Cut at 24 tokens") for line in page.locator(DONE).all_inner_texts())


def test_a_blind_link_is_there_after_the_vote_and_opens_to_a_blind_comparison(page, address: str) -> None:  # noqa: F811
    page.goto(f"{address}/?tab=compare&q={QUESTION.replace(' ', '+')}&length=24&blind=1")
    page.wait_for_selector(".fn-ballots:visible", timeout=90_000)
    assert page.get_by_label("Blind vote").is_checked()
    assert page.locator("#fn-comparison .fn-share").count() == 0
    page.get_by_label("Blind vote").uncheck()
    compare(page)
    page.wait_for_function("location.search && !location.search.includes('blind')")
    page.get_by_label("Blind vote").check()
    compare(page)
    page.wait_for_function("location.search === '?tab=compare'")
    page.get_by_role("button", name="Equally good").click()
    page.wait_for_function("location.search.endsWith('&length=24&blind=1')")
    reload(page)
    page.wait_for_selector(".fn-ballots:visible", timeout=90_000)
    assert heads(page) == ["Answer 1", "Answer 2"]


def test_stop_and_a_bad_question_leave_nothing_to_vote_on(page, address: str) -> None:  # noqa: F811
    open_tab(page, address, "Compare")
    page.get_by_label("Blind vote").check()
    page.locator(".fn-box textarea:visible").fill(HOSTILE)
    page.get_by_role("button", name="Compare", exact=True).click()
    page.wait_for_selector("#fn-comparison .fn-status.fn-writing:visible")
    page.keyboard.press("Escape")
    page.wait_for_selector("#fn-comparison .fn-status.fn-stopped:visible")
    page.locator(".fn-box textarea:visible").fill("x" * 601)
    page.locator(".fn-box textarea:visible").press("Enter")
    assert "601 characters" in page.wait_for_selector("#fn-comparison .fn-status.fn-failed:visible").inner_text()
    assert page.locator("#fn-comparison .fn-status").count() == 1
    assert page.locator(".fn-ballots:visible, #fn-comparison .fn-share, img[src=x]").count() == 0


LISTEN = """
window.heard = "";
const fetched = window.fetch;
window.fetch = async (...request) => {
  const response = await fetched(...request);
  const reader = response.clone().body?.getReader(), decoder = new TextDecoder();
  const hear = ({ done, value }) => {
    if (done) return;
    window.heard += decoder.decode(value, { stream: true });
    reader.read().then(hear, () => {}); // Gradio aborts a stream that has no more to tell
  };
  reader?.read().then(hear, () => {});
  return response;
};
window.EventSource = class extends EventSource {
  constructor(...options) {
    super(...options);
    this.addEventListener("message", (event) => { window.heard += event.data; });
  }
};
"""


def test_nothing_that_reaches_the_browser_tells_whose_answer_it_is(page, address: str) -> None:  # noqa: F811
    page.add_init_script(LISTEN)
    open_tab(page, address, "Compare")
    page.get_by_label("Blind vote").check()
    page.evaluate("window.heard = ''")  # that there are two models, and their names, was told before
    compare(page)
    page.wait_for_selector(".fn-ballots:visible")
    assert heads(page) == ["Answer 1", "Answer 2"]
    seen = page.evaluate("window.heard") + page.locator("#fn-comparison").evaluate("tab => tab.outerHTML")
    assert seen.count("Cut at its limit") + seen.count("Done") > 2  # the frames were listened to
    for word in (BASE, TUNED, "ine-tuned", "Base", '"base"', '"tuned"', "per second", "tokens ·"):
        assert word not in seen.replace('value="Base"', ""), word
    page.get_by_role("button", name="1 is better").click()
    page.wait_for_selector(".fn-revealed")
    assert sorted(heads(page)) in (
        ["Answer 1: base", "Answer 2: fine-tuned"],
        ["Answer 1: fine-tuned", "Answer 2: base"],
    )


def test_which_is_which_is_shuffled_and_true(page, address: str) -> None:  # noqa: F811
    """The answers behind the names are those of an open comparison, in either order."""
    open_tab(page, address, "Compare")
    compare(page)
    base, tuned = page.locator(ANSWERS).all_inner_texts()
    page.get_by_label("Blind vote").check()
    orders = set()
    for _ in range(20):  # the same order every time: once in half a million
        compare(page)
        page.wait_for_selector(".fn-ballots:visible")
        page.get_by_role("button", name="Equally good").click()
        page.wait_for_selector(".fn-revealed")
        names = [name.split(": ")[1] for name in heads(page)]
        texts = page.locator(ANSWERS).all_inner_texts()
        assert dict(zip(names, texts, strict=True)) == {"base": base, "fine-tuned": tuned}
        orders.add(names[0])
        if len(orders) == 2:
            break
    assert orders == {"base", "fine-tuned"}


def test_a_vote_reveals_counts_once_and_is_kept_only_with_consent(page, keeping: str, hub: dict) -> None:  # noqa: F811
    def files() -> list[Path]:
        return list(Path(hub["HF_HOME"]).rglob("footnote-feedback/*/*.jsonl"))

    blindly(page, keeping)
    with page.expect_request(lambda request: request.method == "POST" and "/run/" in request.url) as voted:
        page.get_by_role("button", name="1 is better").click()
    page.wait_for_selector(".fn-revealed")
    assert "Nothing is stored" in page.locator(".fn-revealed").inner_text()
    assert ["tokens" in status for status in page.locator(DONE).all_inner_texts()] == [True, True]
    assert files() == []
    again = page.request.post(voted.value.url, data=voted.value.post_data_json)
    assert "has your vote already" in again.text()
    compare(page)
    page.wait_for_selector(".fn-ballots:visible")
    assert not page.get_by_label("Keep my vote").is_checked()
    assert FEEDBACK in page.locator(".fn-consent:visible").inner_text()
    page.get_by_label("Keep my vote").check()
    page.get_by_role("button", name="Both bad").click()
    page.wait_for_selector(".fn-revealed")
    cells = page.locator(".fn-revealed tbody tr").first.locator("td").all_inner_texts()
    assert sum(int(cell) for cell in cells[:3]) == 2
    assert cells[2] == "1"
    assert "95 % interval" in cells[3]
    (row,) = [json.loads(line) for path in files() for line in path.read_bytes().splitlines()]
    assert (row["kind"], row["choice"], row["question"]) == ("vote", "bad", QUESTION)
    assert re.fullmatch("[0-9a-f]{40}", row["models"]["base"]["revision"])
    assert voted.value.post_data_json["session_hash"] not in json.dumps(row)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_tab_is_narrow_enough_and_accessible_in_every_state(page, keeping: str, scheme: str) -> None:  # noqa: F811
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=scheme)
    open_tab(page, keeping, "Compare")
    assert serious_violations(page) == []
    page.get_by_label("Blind vote").check()
    compare(page)
    page.wait_for_selector(".fn-ballots:visible")
    assert serious_violations(page) == []
    heights = page.locator(".fn-votes button").evaluate_all("all => all.map(b => b.getBoundingClientRect().height)")
    assert min(heights) >= 40
    page.get_by_role("button", name="2 is better").click()
    page.wait_for_selector(".fn-revealed")
    assert serious_violations(page) == []
    rights = "all => all.map(label => label.getBoundingClientRect().right)"
    assert max(page.locator(".fn-choices label").evaluate_all(rights)) <= 370
    assert page.evaluate("document.documentElement.scrollWidth") == 390
