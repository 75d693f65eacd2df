"""HTML of the Compare tab: heads, lines, marked answers, what a vote reveals, and the tally."""

from __future__ import annotations

from qa.statistics import wilson
from space import views
from space.blind import Answers, Comparison
from space.differences import mark
from space.feedback import Tally
from space.models import SIDES, Side
from space.settings import Settings
from space.share import address
from space.text import escape

NAMES: dict[Side, str] = {"base": "Base", "tuned": "Fine-tuned"}
NUMBERS = ("Answer 1", "Answer 2")
HINT = (
    '<p class="fn-hint fn-there">One question to both models, with the same prompt and the same seed, so that the '
    "models alone differ. A <b>blind vote</b> hides which is which until you have said which is better.</p>"
)
STEPS = ("waiting", "queued", "reading", "writing")  # in their order


def heads(settings: Settings, comparison: Comparison) -> tuple[str, str]:
    """The heads of both columns; a hidden one has no more than its number."""
    references = {"base": settings.base, "tuned": settings.model}
    found = []
    for number, side in zip(NUMBERS, comparison.models, strict=True):
        if comparison.hidden:
            found.append(views.column_head(number, "hidden until you vote"))
        else:
            title = f"{number}: {NAMES[side].lower()}" if comparison.blind else NAMES[side]
            found.append(views.column_head(title, references[side].repository))
    return found[0], found[1]


def said(shown: Answers) -> str:
    """What a screen reader hears of both answers together, at each change of state."""
    first, second = shown
    if not (first.finished and second.finished):
        state = min((answer.state for answer in shown if not answer.finished), key=STEPS.index)
        words = first.status or second.status if state == "queued" else f"Both models: {state}"
        return views.status(state, words)
    if refusal(shown):
        return ""  # it is said for itself
    return views.status("done", f"First answer: {first.status}. Second answer: {second.status}.")


def refusal(shown: Answers) -> str:
    """The line of what kept both models from being asked; empty where one of them was."""
    first, second = map(views.answer_status, shown)
    return first if first == second and shown[0].state == "failed" else ""


def told(comparison: Comparison) -> str:
    """What a screen reader hears after a vote."""
    first, second = (NAMES[side].lower() for side in comparison.models)
    return views.status(
        "voted", f"{_chosen(comparison)} Answer 1 is of the {first} model, answer 2 of the {second} one."
    )


def _chosen(comparison: Comparison) -> str:
    choice = comparison.choice
    return f"You preferred the {NAMES[choice].lower()} model." if choice in SIDES else "You preferred neither."


def acts(comparison: Comparison) -> str:
    """What can be done with answers that are there, once no vote is waited for; and how far they agree in words."""
    if not any(answer.text for answer in comparison.answers):
        return ""
    link = escape(address("compare", comparison.question, comparison.settings, blind=comparison.blind))
    copy = f'<div class="fn-acts"><a class="fn-share" href="{link}">Copy link</a></div>'
    return f'<div class="fn-both fn-there">{"" if comparison.votable else copy}{_shared(comparison)}</div>'


def _shared(comparison: Comparison) -> str:
    first, second = (answer.text for answer in comparison.answers)
    if not (first.strip() and second.strip()):
        return ""
    marked = mark(first, second)
    words = f"{100 * marked.shared:.0f} % of the words are in both" if marked.shared else "No wording in common"
    if marked.same:
        words = "Both say the same, word for word"
    return f'<p class="fn-shared">{words}</p>'


def marked_texts(comparison: Comparison) -> tuple[str, str] | None:
    """Both answers with their differences marked; None where there are none to mark."""
    first, second = (answer.text for answer in comparison.answers)
    if not (first.strip() and second.strip()):
        return None
    marked = mark(first, second)
    if marked.same:
        return None
    return f'<div class="fn-marked">{marked.left}</div>', f'<div class="fn-marked">{marked.right}</div>'


def revealed(comparison: Comparison, kept: str, session: Tally, everybody: Tally) -> str:
    """What the vote chose, and how the votes stand."""
    rows = _row("You, on this visit", session) + _row("All visitors of this copy", everybody)
    return (
        f'<section class="fn-panel fn-revealed fn-there"><h2>{_chosen(comparison)}</h2><p>{escape(kept)}</p>'
        '<table class="fn-figures"><thead><tr><th scope="col">Preferred</th><th scope="col">Fine-tuned</th>'
        '<th scope="col">Base</th><th scope="col">Neither</th>'
        '<th scope="col">Fine-tuned’s share of votes for one of the two</th>'
        f"</tr></thead><tbody>{rows}</tbody></table></section>"
    )


def _row(title: str, tally: Tally) -> str:
    cells = "".join(
        f'<td data-title="{name}">{count:,}</td>'
        for name, count in (("Fine-tuned", tally.tuned), ("Base", tally.base), ("Neither", tally.ties))
    )
    return f'<tr><th scope="row">{title}</th>{cells}<td data-title="Share">{share(tally)}</td></tr>'


def share(tally: Tally) -> str:
    """How often the fine-tuned model was preferred where one was, with Wilson's interval."""
    decided = tally.tuned + tally.base
    if not decided:
        return "none decided yet"
    low, high = wilson(tally.tuned, decided)
    return f"{100 * tally.tuned / decided:.0f} % (95 % interval {100 * low:.0f} to {100 * high:.0f} %)"


def consent(repository: str) -> str:
    """What ticking the box means, or that there is none to tick."""
    words = (
        "If ticked, the day, the question, both answers, the models, the settings and your choice go to the private "
        f'data set <span class="fn-repo">{escape(repository)}</span>. Nothing about you does.'
        if repository
        else "This copy of the page stores nothing: votes count until it restarts."
    )
    return f'<p class="fn-consent">{words}</p>'
