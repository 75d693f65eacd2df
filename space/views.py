"""HTML of the page's states. Whatever comes from outside goes through `escape`."""

from __future__ import annotations

from collections.abc import Sequence

from space.answering import Answer
from space.credits import Credit
from space.models import Part
from space.text import escape

HEADER = (
    '<header class="fn-header"><h1>Footnote<sup><a href="#fn-1" aria-label="note 1">1</a></sup></h1>'
    "<p>A small open model, fine-tuned to answer questions about AI research, beside the model it was made from.</p>"
    "</header>"
)
EVALUATE_HINT = (
    '<section class="fn-panel"><h2>This run</h2><p>Both models answer the same questions of the published test set, '
    "one after another. <b>Letter</b> shows the options and reads which label is likeliest; <b>cloze</b> asks the bare "
    "question and weighs each option in words. The same sample number draws the same questions.</p></section>"
)
RUNNING = ("waiting", "reading", "writing", "running")


def status(state: str, line: str) -> str:
    """The line under an answer: a mark that moves while something happens, and what it is."""
    busy = " fn-busy" if state in RUNNING else ""
    return f'<p class="fn-status fn-{escape(state)}{busy}" role="status">{escape(line)}</p>' if line else ""


def answer_status(answer: Answer) -> str:
    """The line under an answer."""
    return status(answer.state, answer.status)


def loading(parts: Sequence[Part]) -> str:
    """What is being loaded and how far it is; nothing once all of it is there."""
    if all(part.phase == "ready" for part in parts):
        return ""
    return f'<section class="fn-loading" aria-label="Loading">{"".join(map(_part, parts))}</section>'


def _part(part: Part) -> str:
    words = f'<b>{escape(part.title)}</b> <span class="fn-repo">{escape(part.reference)}</span>'
    if part.phase == "failed":
        return f'<div class="fn-part fn-failed" role="alert">{words}<p>{escape(part.problem)}</p></div>'
    bar = '<progress max="1"></progress>'
    if part.total:
        bar = f'<progress max="{part.total}" value="{part.done}" aria-label="{escape(part.title)}"></progress>'
    rest = bar if part.phase in ("downloading", "loading") else ""
    return f'<div class="fn-part fn-{part.phase}">{words}<span class="fn-how">{_how_far(part)}</span>{rest}</div>'


def _how_far(part: Part) -> str:
    if part.phase == "downloading" and part.total:
        return f"{part.done / 1e6:,.1f} of {part.total / 1e6:,.1f} MB · {100 * part.done / part.total:.0f} %"
    return "loading into memory" if part.phase == "loading" else part.phase


def column_head(title: str, repository: str) -> str:
    """The head of a column of the comparison."""
    return f'<div class="fn-column"><h2>{escape(title)}</h2><span class="fn-repo">{escape(repository)}</span></div>'


def credits(lines: Sequence[Credit]) -> str:
    """The page's foot: the note, and whose models these are."""
    models = "".join(f"<li>{_credit(line)}</li>" for line in lines)
    return (
        '<footer class="fn-footer"><p id="fn-1"><sup>1</sup> Answers may be wrong, and sound sure all the same. '
        f"Check them against the papers.</p><ul>{models}</ul></footer>"
    )


def _credit(line: Credit) -> str:
    licence = escape(line.licence or "see its card")
    if line.licence_link:
        licence = f'<a href="{escape(line.licence_link)}" target="_blank" rel="noopener">{licence}</a>'
    repository = f'<a href="{escape(line.address)}" target="_blank" rel="noopener">{escape(line.repository)}</a>'
    revision = escape(line.revision[:7] if len(line.revision) == 40 else line.revision)
    return f"{escape(line.title)}: {repository} <code>{revision}</code> · licence: {licence}"
