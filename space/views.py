"""HTML of the page's states. Whatever comes from outside goes through `escape`."""

from __future__ import annotations

from collections.abc import Sequence

from space.answering import Answer
from space.credits import Credit
from space.models import Part
from space.text import escape, megabytes

RUNNING = ("waiting", "queued", "reading", "writing", "running")


def header(title: str, subject: str) -> str:
    """The page's head, and its one live region: space/page.js says in it what a screen reader should hear."""
    return (
        f'<header class="fn-header"><h1>{escape(title)}<sup><a href="#fn-1" aria-label="note 1">1</a></sup></h1>'
        f"<p>A small open model, fine-tuned to answer questions about {escape(subject)}, beside the model it was "
        'made from.</p></header><p id="fn-said" role="status" aria-live="polite"></p>'
    )


def status(state: str, line: str) -> str:
    """The line under an answer: a mark that moves while something happens, and what it is."""
    busy = " fn-busy" if state in RUNNING else ""
    return f'<p class="fn-status fn-{escape(state)}{busy}">{escape(line)}</p>' if line else ""


def answer_status(answer: Answer) -> str:
    """The line under an answer."""
    return status(answer.state, answer.status)


def loading(parts: Sequence[Part]) -> str:
    """What is being loaded and how far it is, and what went wrong; nothing once all of it is there as it should be."""
    shown = [part for part in parts if part.phase != "ready" or part.notice]
    if not shown:
        return ""
    told = parts if any(part.phase != "ready" for part in parts) else shown
    return f'<section class="fn-loading" aria-label="Loading">{"".join(map(_part, told))}</section>'


def _part(part: Part) -> str:
    words = f'<b>{escape(part.title)}</b> <span class="fn-repo">{escape(part.reference)}</span>'
    if part.phase == "failed":
        return f'<div class="fn-part fn-failed" role="alert">{words}<p>{escape(part.problem)}</p></div>'
    name = f'aria-label="{escape(part.title)}: {part.phase}"'
    bar = f'<progress max="1" {name}></progress>'
    if part.phase == "downloading" and part.total:
        bar = f'<progress max="{part.total}" value="{part.done}" {name}></progress>'
    rest = bar if part.phase in ("downloading", "loading", "measuring") else ""
    notice = f"<p>{escape(part.notice)}</p>" if part.notice else ""
    how = f'<span class="fn-how">{_how_far(part)}</span>'
    return f'<div class="fn-part fn-at-{part.phase}">{words}{how}{rest}{notice}</div>'


def _how_far(part: Part) -> str:
    if part.phase == "downloading" and part.total:
        how_much = f"{megabytes(part.done)} of {megabytes(part.total)}"
        return f"downloading · {how_much} · {100 * part.done / part.total:.0f} %"
    return {"loading": "loading into memory", "measuring": "measuring what is faster here"}.get(part.phase, part.phase)


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
