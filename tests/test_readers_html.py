"""HTML: arXiv's own pages, formulas, hidden text, licences and dates, and forms to log in."""

from __future__ import annotations

import pytest

from jobs.documents import Extract, UnreadableError
from jobs.readers import read_bytes
from tests.documents_world import LATEXML, PROSE

WORDS = f"<p>{PROSE['first']} {PROSE['second']}</p>"


def page(body: str = "", head: str = "") -> Extract:
    whole = f"<html><head><title>A page</title>{head}</head><body><article>{WORDS}{body}</article></body></html>"
    return read_bytes(whole.encode(), "html")


def text(extract: Extract) -> str:
    return "\n".join(block.text for block in extract.blocks)


def test_a_page_of_arxiv_gives_the_paper_alone() -> None:
    extract = read_bytes(LATEXML.encode(), "html")
    assert extract.title == "LoRA: Low-Rank Adaptation"
    assert extract.metadata["licence"] == "CC-BY-4.0"
    assert [(block.section, block.text) for block in extract.blocks] == [
        ("Abstract", "We keep the pretrained weights frozen and train two small matrices."),
        (
            "Introduction",
            "Many applications adapt one large model, as Li & Liang (2021) show. "
            r"The update of $W_{0}\in\mathbb{R}^{d\times k}$ is low-rank:",
        ),
        ("Introduction", r"$$ W_{0}+\Delta W=W_{0}+BA $$"),
        ("Introduction", "where the rank is small."),
        ("Introduction", "- Nothing is slower when the model is used."),
    ]


@pytest.mark.parametrize(
    ("formula", "latex"),
    [
        ('<script type="math/tex">x_i^2</script>', "$x_i^2$"),
        ('<script type="math/tex; mode=display">\\sum x</script>', r"$$\sum x$$"),
        ('<span class="MathJax_Preview">RENDERED</span><script type="math/tex">y</script>', "$y$"),
        ('<math alttext="a \\le b"><mi>RENDERED</mi></math>', r"$a \le b$"),
        (
            '<span class="katex"><span class="katex-mathml"><math><semantics><mi>RENDERED</mi><annotation '
            'encoding="application/x-tex">c^2</annotation></semantics></math></span><span class="katex-html" '
            'aria-hidden="true">RENDERED</span></span>',
            "$c^2$",
        ),
        ("<math><mi>k</mi></math>", "k"),
    ],
)
def test_formulas_become_latex(formula: str, latex: str) -> None:
    found = text(page(f"<p>The size of {formula} is small, and it does not grow with the model.</p>"))
    assert f"The size of {latex} is small, and it does not grow" in found
    assert "RENDERED" not in found


@pytest.mark.parametrize(
    "hidden",
    [
        "<script>SECRET()</script>",
        "<style>p { content: SECRET }</style>",
        "<!-- SECRET words that nobody sees -->",
        '<p style="display: none">SECRET words that nobody sees on the page.</p>',
        '<div style="VISIBILITY:hidden; x:y"><p>SECRET words that nobody sees on the page.</p></div>'.lower(),
        '<p hidden="">SECRET words that nobody sees on the page.</p>',
        '<div aria-hidden="true">SECRET words that nobody sees on the page.</div>',
        "<noscript><p>SECRET: turn JavaScript on to read this page.</p></noscript>",
        "<template><p>SECRET words that nobody sees on the page.</p></template>",
    ],
)
def test_what_a_reader_does_not_see_is_not_read(hidden: str) -> None:
    found = text(page(hidden))
    assert PROSE["first"] in found
    assert "secret" not in found.lower()


@pytest.mark.parametrize(
    ("head", "body", "licence"),
    [
        ("", '<a rel="license" href="http://creativecommons.org/licenses/by/4.0/">CC</a>', "CC-BY-4.0"),
        ('<link rel="license" href="https://creativecommons.org/licenses/by-nc/4.0/">', "", "CC-BY-NC-4.0"),
        ('<meta name="dc.rights" content="CC BY-SA 4.0">', "", "CC-BY-SA-4.0"),
        ('<script type="application/ld+json">{"license": "https://a.org/l"}</script>', "", "https://a.org/l"),
        ('<script type="application/ld+json">{"@graph": [{"license": {"url": "MIT"}}]}</script>', "", "MIT"),
        ('<script type="application/ld+json">{broken</script>', "", ""),
        (
            '<link rel="license" href="https://creativecommons.org/licenses/by/4.0/">',
            '<p>A photo under <a rel="license nofollow" href="https://creativecommons.org/licenses/by-nc/2.0/">CC</a>.</p>',
            "CC-BY-NC-2.0",
        ),
    ],
)
def test_licences_that_a_page_states(head: str, body: str, licence: str) -> None:
    found = page(body, head).metadata.get("licence", "")
    assert licence in found
    assert found != "CC-BY-4.0" or licence == "CC-BY-4.0"


def test_dates_that_a_page_states() -> None:
    data = '<script type="application/ld+json">[{"datePublished": "2024-11-02"}]</script>'
    assert page(head=data).metadata["date"] == "2024-11-02"
    assert page('<p><time datetime="2023-01-05">January</time></p>').metadata["date"] == "2023-01-05"


def test_a_form_to_log_in_is_told_from_an_article_with_one() -> None:
    form = "<form><input type='Password' name=p><input type=submit></form>"
    with pytest.raises(UnreadableError, match="behind a login"):
        read_bytes(f"<html><body><h1>Sign in</h1><p>{PROSE['first']}</p>{form}</body></html>".encode(), "html")
    long = "".join(f"<p>{PROSE['first']} This is paragraph {number}.</p>" for number in range(20))
    assert "paragraph 19" in text(
        read_bytes(f"<html><body><article>{long}</article>{form}</body></html>".encode(), "html")
    )


BY, BY_NC = (f"https://creativecommons.org/licenses/{terms}/4.0/" for terms in ("by", "by-nc"))
LINK, LINK_NC = (f'<a rel="license" href="{address}">CC</a>' for address in (BY, BY_NC))


def linked(entry: str) -> str:
    return f'<script type="application/ld+json">{entry}</script>'


@pytest.mark.parametrize(
    ("head", "body", "licence"),
    [
        (linked(f'{{"@graph": [{{"@type": "ImageObject", "license": "{BY}"}}]}}'), "", None),
        ("", f"<figure><img><figcaption>{LINK}</figcaption></figure>", None),
        ("", f'<div class="comments"><p>I post it under {LINK}</p></div>', None),
        ("", f'<ol id="comment-12"><li>{LINK}</li></ol>', None),
        ("", f"<template>{LINK}</template><!-- {LINK} -->", None),
        ("", f'<div class="comments-open">{LINK}</div>', "CC-BY-4.0"),
        ('<meta name="licence" content="CC BY 4.0">', LINK, "CC-BY-4.0"),
        ('<meta name="licence" content="CC BY 4.0">', LINK_NC, "CC-BY-4.0 and CC-BY-NC-4.0"),
        ('<meta name="dc.rights" content="All rights reserved">', LINK, "All rights reserved and CC-BY-4.0"),
        (linked(f'{{"license": "{BY}"}}'), LINK_NC, "CC-BY-4.0 and CC-BY-NC-4.0"),
        (
            linked(f'{{"@type": ["Thing", "ScholarlyArticle"], "license": ["{BY_NC}"]}}'),
            LINK,
            "CC-BY-NC-4.0 and CC-BY-4.0",
        ),
    ],
)
def test_every_licence_of_the_page_counts_and_no_other(head: str, body: str, licence: str | None) -> None:
    assert page(body, head).metadata.get("licence") == licence
