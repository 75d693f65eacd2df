"""Markdown of strangers, through a real parser and on the real page: format stays, HTML, images and links do not."""

from __future__ import annotations

import random
from collections.abc import Iterator

import gradio as gr
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from space.text import JOINER, LATEX, megabytes, safe_markdown
from tests.page_world import browser, in_browser, page  # noqa: F401 (fixtures)

EVIL = "http://127.0.0.1:9/evil"
HAZARDS = (
    r"\`[x](http://127.0.0.1:9/evil) <b>y</b> ![i](http://127.0.0.1:9/evil)\`",
    f"```\ncode\n  ```\n<b>y</b> ![i]({EVIL}) [x]({EVIL})",
    f"```\ncode\n````\n<b>y</b> ![i]({EVIL}) [x]({EVIL})",
    f"~~~\n```\n~~~\n<b>y</b> ![i]({EVIL}) [x]({EVIL})\n```",
    f"```a`b\n<b>y</b> ![i]({EVIL})\n```",
    f"    ```\n<b>y</b> [x]({EVIL})",
    f"> ```\n<b>y</b> ![i]({EVIL})\n> ```",
    f"- ```\n<b>y</b> [x]({EVIL})",
    f"``a` <b>y</b> ![i]({EVIL}) `b``",
    f"| `a | <b>y</b> ![i]({EVIL})` |\n|---|---|\n| `c | [x]({EVIL})` |",
    f"[x][y]\n\n[y]: {EVIL}\n\n`[z]: {EVIL}`\n[z]\n\n[a`]: {EVIL}#`\n[a`]",
    f"<{EVIL}> <img src={EVIL}> <!-- c --> <?p?> <![CDATA[x]]> </b>",
    f"$$\n```\n$$\n<b>y</b> ![i]({EVIL})",
    f"```\n$$\n```\n$$ `x`\n```\n<b>y</b> ![i]({EVIL})\n```",
    f"\\( a\n```\n\\)\n<b>y</b> [x]({EVIL})",
    f"$$$$\n```\n<b>y</b>$$\n![i]({EVIL})\n```",
    f'```mermaid\ngraph TD\nA["<img src={EVIL}>"]\nclick A "{EVIL}"\n```',
    f'~~~ Mermaid\ngraph TD\nA["<img src={EVIL}>"]\n~~~',
    f"a\r```\r<b>y</b>\r```\r<b>z</b> ![i]({EVIL})",
)
PIECES = (
    *("`", "``", "```", "````", "~~~", "\n", "\n", "\r", "    ", "> ", "- ", "1. ", "|", "\\", "$$", "\\[", "\\]", " "),
    *(
        "[x]",
        f"({EVIL})",
        "![i]",
        f": {EVIL}",
        "<b>",
        "</b>",
        "<!--",
        "-->",
        "<img src=x>",
        "&lt;",
        "x",
        "\n\n",
        "[",
        "]",
    ),
)


def tokens(text: str) -> Iterator[Token]:
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        yield token
        yield from token.children or ()


def assert_harmless(written: str) -> None:
    shown = safe_markdown(written)
    kinds = {token.type for token in tokens(shown)}
    assert not kinds & {"html_inline", "html_block", "image", "link_open"}, (written, shown)


@pytest.mark.parametrize("written", HAZARDS)
def test_nothing_but_format_comes_of_what_tries_to_hide_in_code(written: str) -> None:
    assert_harmless(written)


def test_the_hazards_are_some() -> None:
    """What the tests above rest on: unchanged, most of these strings make HTML, images or links."""
    wanted = {"html_inline", "html_block", "image", "link_open"}
    dangerous = [written for written in HAZARDS if wanted & {token.type for token in tokens(written)}]
    assert len(dangerous) >= 12


def test_nothing_but_format_comes_of_any_mixture() -> None:
    draw = random.Random(0)
    for _ in range(4000):
        assert_harmless("".join(draw.choices(PIECES, k=draw.randint(2, 25))))


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)>"),
        ("&lt;img src=x>", "&amp;lt;img src=x>"),
        ("![a](http://tracker.invalid/p.png)", "!&#91;a]&#40;http://tracker.invalid/p.png)"),
        ("![a][b]\n\n[b]: http://tracker.invalid", "!&#91;a]&#91;b]\n\n[b]&#58; http://tracker.invalid"),
        ("[bank](javascript:alert(1))", "[bank]&#40;javascript:alert(1))"),
        ("**bold** and $a<b$", "**bold** and $a&lt;b$"),
        ("$$x_{<t}$$ and \\(a<b\\)", "$$x_{&lt;t}$$ and \\(a&lt;b\\)"),
        ("`a<b>` and <b>", f"`a<{JOINER}b>` and &lt;b>"),
        ("`a < 3` and `x[1]`", "`a < 3` and `x[1]`"),
        ("```html\n<b>\n```\n<b>", "```html\n<b>\n```\n&lt;b>"),
        ("`one\n<img src=x>` two", "`one\n&lt;img src=x>` two"),
        ("1. So:\n   ~~~python\n   def f(x: list[int]):\n       return g[0](x)\n   ~~~\n2. <b>",
         "1. So:\n```python\ndef f(x: list[int]):\n    return g[0](x)\n```\n2. &lt;b>"),
        ("```python\nif a <b", "```python\nif a <b\n```"),
        ("", ""),
    ],
)  # fmt: skip
def test_format_stays_and_code_between_fences_is_not_touched(written: str, shown: str) -> None:
    assert safe_markdown(written) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 kB"), (640_400, "640 kB"), (12_500_000, "12.5 MB"), (1_929_902_208, "1.93 GB")]
)
def test_sizes_read_as_people_write_them(count: int, shown: str) -> None:
    assert megabytes(count) == shown


@in_browser[0]
@in_browser[1]
def test_the_page_makes_no_element_of_it_either(page) -> None:  # noqa: F811
    """In the renderer that visitors have, which is another one (marked, KaTeX, Mermaid)."""
    with gr.Blocks(analytics_enabled=False) as blocks:
        for written in (*HAZARDS, "**end** $$x_{<t}$$ `a<b>` and\n```python\na[0](b)<c>\n```"):
            gr.Markdown(safe_markdown(written), latex_delimiters=LATEX, elem_classes="case")
    _, address, _ = blocks.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, server_name="127.0.0.1")
    try:
        page.goto(address)
        last = page.locator(".case").last
        last.locator("strong").wait_for()
        last.locator(".katex").first.wait_for()
        shown = [text.replace(JOINER, "") for text in last.locator("code").all_inner_texts()]
        assert [text.strip() for text in shown] == ["a<b>", "a[0](b)<c>"]
        made = page.locator(".case :is(img, b, .mermaid, svg:not(button svg))")
        assert made.evaluate_all("found => found.map(element => element.outerHTML)") == []
        hosts = "found => found.map(link => [new URL(link.textContent).host, link.host])"
        links = page.locator(".case a").evaluate_all(hosts)
        assert all(shown == real for shown, real in links), links  # a bare address becomes a link that shows it
    finally:
        blocks.close()
