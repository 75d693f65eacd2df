"""The conversation as the page shows it. Questions are text; answers are Markdown that can only format."""

from __future__ import annotations

from collections.abc import Sequence

from qa.published_files import ExampleAnswer
from space.share import address
from space.talk import Talk, Turn
from space.text import escape, safe_markdown, seconds
from space.views import status

_COPY = '<button type="button" class="fn-copy">Copy</button>'


def earlier(turns: Sequence[Turn]) -> str:
    """The turns before the last as one Markdown text, each question a heading in HTML of ours."""
    return "\n\n".join(
        f'{asked(question)}\n\n{safe_markdown(answer)}\n\n<p class="fn-acts">{_COPY}</p>' for question, answer in turns
    )


def asked(question: str) -> str:
    """A question as a heading, in which neither Markdown nor LaTeX begins."""
    words = escape(" ".join(question.split())).replace("$", "&#36;").replace("\\", "&#92;")
    return f'<h2 class="fn-asked" dir="auto">{words}</h2>' if words else ""


def raws(talk: Talk) -> str:
    """What the Copy buttons copy, in their order: each answer as the model wrote it."""
    return "".join(f"<pre>{escape(answer)}</pre>" for _, answer in talk.answered)


def acts(talk: Talk) -> str:
    """What can be done with the last answer in the browser alone."""
    link = escape(address("ask", talk.question, talk.settings))
    name = "Copy link to this question alone" if talk.turns else "Copy link"
    copy = _COPY if talk.answer else ""
    return f'<div class="fn-acts">{copy}<a class="fn-share" href="{link}">{name}</a></div>'


def example_status(example: ExampleAnswer) -> str:
    """The line under an answer that was there before it was asked for."""
    time = seconds(example.seconds)
    return status("done", f"From the published examples, written in {time} by this model · {example.tokens} tokens")
