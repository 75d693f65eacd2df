"""What the About tab shows, before a browser draws it: links, addresses, and every variable of a copy."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from space import about_views as views
from space.settings import VARIABLES, Settings
from tests.space_fakes import served, unloaded


def test_links_stay_and_nothing_else_becomes_markup() -> None:
    text = "See [the card](https://hub.invalid/a_b?c=1#d), ![x](https://t.invalid/x.png) and <b>[y](javascript:z)</b>."
    shown = views.linked_markdown(text)
    assert "[the card](https://hub.invalid/a_b?c=1#d)" in shown
    assert "![" not in shown
    assert "](javascript" not in shown
    assert "<b" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "[a](https://x.invalid/\"onclick='y')",
        "[a](https://x.invalid/ 'title')",
        "[a](data:text/html,b)",
        "[![b](https://x.invalid/i.png)](https://x.invalid)",
        "\ue0000\ue001 [a][b]\n\n[b]: https://x.invalid",
    ],
)
def test_a_link_of_any_other_kind_is_text(text: str) -> None:
    shown = views.linked_markdown(text)
    assert "](" not in shown.replace("](https://x.invalid)", "")
    assert "![" not in shown
    assert "]:" not in shown
    assert "\ue000" not in shown


def test_a_model_that_says_nothing_is_told_so_once_that_is_known() -> None:
    assert views.about(unloaded()) == ""
    state = served()
    assert "no `space/about.md`" in views.about(state)
    state.models.unsaid = "a/b@main: not [UTF-8](x)"
    assert views.about(state) == "## About this model\n\na/b@main: not [UTF-8]&#40;x)"
    state.models.unsaid = ""
    state.models._set("tuned", phase="failed", problem="a/b@main: no such repository")
    assert views.about(state).endswith("a/b@main: no such repository")
    state.models.about = "## Said"
    assert views.about(state) == "## Said"
    state.models.scheduler.close()


def test_what_runs_here_names_papers_and_feedback() -> None:
    state = unloaded(FOOTNOTE_INDEX="me/papers", FOOTNOTE_INDEX_REVISION="v2")
    assert "<dt>Papers</dt><dd>me/papers@v2 · waiting</dd>" in views.facts(state)
    assert "<dt>Feedback</dt><dd>Not kept: FOOTNOTE_FEEDBACK is not set</dd>" in views.facts(state)
    state.library.phase, state.library.problem = "failed", "me/papers@v2: <b>cut</b>"
    assert "<dd>me/papers@v2: &lt;b&gt;cut&lt;/b&gt;</dd>" in views.facts(state)


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({"host": "127.0.0.1:7860"}, "http://127.0.0.1:7860"),
        ({"host": "[::1]:7860"}, "http://[::1]:7860"),
        ({"host": "me-copy.hf.space", "x-forwarded-proto": "https"}, "https://me-copy.hf.space"),
        ({"host": "inner:80", "x-forwarded-host": "me.hf.space, b", "x-forwarded-proto": "https,http"},
         "https://me.hf.space"),
        ({"host": 'a"><script>'}, views.UNKNOWN_ADDRESS),
        ({"host": "a.b", "x-forwarded-proto": "javascript"}, views.UNKNOWN_ADDRESS),
        ({}, views.UNKNOWN_ADDRESS),
    ],
)  # fmt: skip
def test_the_address_is_the_visitors_or_a_stand_in(headers: dict[str, str], address: str) -> None:
    assert views.address_of(headers, "http") == address


def test_every_variable_is_in_the_table_with_its_default_and_its_value() -> None:
    settings = Settings.read({"FOOTNOTE_TITLE": "<Mine>", "FOOTNOTE_PARALLEL": "2", "HF_TOKEN": "hf_secretsecret"})
    rows = re.findall(r'<tr><th scope="row"><code>(\w+)</code></th><td>(.*?)</td>', views.variables(settings))
    assert [name for name, _ in rows] == [variable.name for variable in VARIABLES]
    assert all(meaning for _, meaning in rows)
    shown = views.variables(settings)
    assert '<td data-title="Default">Footnote</td><td data-title="Here">&lt;Mine&gt;</td>' in shown
    assert '<td data-title="Default">4</td><td data-title="Here">2</td>' in shown
    assert '<td data-title="Default">60</td><td data-title="Here" class="fn-same">60</td>' in shown
    assert "hf_secret" not in shown


def test_the_page_reads_no_variable_that_the_table_leaves_out() -> None:
    root = Path(__file__).parents[1]
    read = {
        name
        for path in [root / "app.py", *(root / "space").glob("*.py")]
        for name in re.findall(r"\bFOOTNOTE_[A-Z_]+\b", path.read_text(encoding="utf-8"))
    }
    assert read <= {variable.name for variable in VARIABLES}
    assert replace(Settings.read({}), port=1).table()[-1][1] == "1"
