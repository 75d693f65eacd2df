"""One question opened in full: options with each model's pick and score, its evidence, and what was published."""

from __future__ import annotations

from collections.abc import Sequence

from qa.choices import Formulation
from qa.records import Question
from space.evaluation_lines import Line
from space.text import escape

TITLES = {"base": "Base", "tuned": "Fine-tuned"}
NEAR = 0.05  # nats between two whole options: as much as the rounding of another machine's kernels may turn
ROUNDED = (
    "Fine-tuned picked another option here. The file is the one that was measured: a near tie, which rounding on this "
    "machine turned."
)
ANOTHER = "Fine-tuned picked another option here than in the published evaluation."
QUANTISED = (
    "Base picked another option here. It answers as a quantised file; the published figures are of its own weights."
)


def detail(line: Line, formulation: Formulation, live: bool) -> str:
    """The panel under an opened row; `live` where the picks are of a run, not the published ones."""
    question = line.question
    return (
        f'<p class="fn-whole">{escape(question.question)}</p>{_options(line, formulation)}'
        f"{_evidence(question)}{_published(line, formulation) if live else ''}"
    )


def _options(line: Line, formulation: Formulation) -> str:
    scored = bool(line.base_logprobs and line.tuned_logprobs)
    heads = "".join(f'<th scope="col">{title}</th>' for title in TITLES.values()) if scored else ""
    body = "".join(_option(line, index, formulation, scored) for index in range(len(line.question.choices)))
    unit = "per character of the option, the highest is picked" if formulation == "cloze" else "the highest is picked"
    note = f'<p class="fn-unit">Figures are log-probabilities, {unit}.</p>' if scored else ""
    return (
        '<table class="fn-options"><thead><tr><th scope="col">Option</th>'
        f'{heads}<th scope="col">Picked by</th></tr></thead><tbody>{body}</tbody></table>{note}'
    )


def _option(line: Line, index: int, formulation: Formulation, scored: bool) -> str:
    question = line.question
    picks = {"base": line.base, "tuned": line.tuned}
    tags = "".join(f'<span class="fn-tag fn-{side}">{TITLES[side]}</span>' for side in picks if picks[side] == index)
    right = index == question.gold
    gold = ' <span class="fn-tag fn-gold-tag">right answer</span>' if right else ""
    both = (line.base_logprobs, line.tuned_logprobs) if scored else ()
    scores = "".join(
        f'<td class="fn-score" data-title="{title}">{_score(logprobs, index, question, formulation)}</td>'
        for title, logprobs in zip(TITLES.values(), both, strict=False)
    )
    text = f"{escape(question.labels[index])}. {escape(question.choices[index])}{gold}"
    kind = ' class="fn-gold-row"' if right else ""
    return f'<tr{kind}><th scope="row">{text}</th>{scores}<td class="fn-tags">{tags}</td></tr>'


def _score(logprobs: Sequence[float], index: int, question: Question, formulation: Formulation) -> str:
    """What decides: the log-probability, for cloze by character of the option."""
    return f"{logprobs[index] / _length(index, question, formulation):.3f}".replace("-", "−")


def _length(index: int, question: Question, formulation: Formulation) -> int:
    return len(question.choices[index]) if formulation == "cloze" else 1


def _evidence(question: Question) -> str:
    quote = f"<blockquote>{escape(question.evidence)}</blockquote>" if question.evidence else ""
    facts = [escape(fact) for fact in (question.document, question.date, question.licence) if fact]
    if question.source:
        facts.insert(1, _address(question.source))
    return f'{quote}<p class="fn-from">From {" · ".join(facts)}</p>'


def _address(source: str) -> str:
    if not source.startswith(("https://", "http://")):
        return escape(source)
    return f'<a href="{escape(source)}" target="_blank" rel="noopener noreferrer">{escape(source)}</a>'


def _published(line: Line, formulation: Formulation) -> str:
    """What the published evaluation has for this question, and why a pick of this run may differ from it."""
    found = dict(zip(TITLES, line.published, strict=True))
    words = [f"{TITLES[side]} {escape(line.question.labels[pick])}" for side, pick in found.items() if pick is not None]
    if not words:
        return ""
    now = {"base": line.base, "tuned": line.tuned}
    reasons = {"base": QUANTISED, "tuned": ROUNDED if _is_near_tie(line, formulation) else ANOTHER}
    moved = [side for side in found if found[side] not in (None, now[side])]
    notes = (f'<p class="fn-moved">{reasons[side]}</p>' for side in moved)
    return f'<p class="fn-then">Published picks: {", ".join(words)}.</p>{"".join(notes)}'


def _is_near_tie(line: Line, formulation: Formulation) -> bool:
    """Whether little lies between what the fine-tuned model picks here and what it picked when it was published."""
    pair = line.tuned, line.published[1]
    if not line.tuned_logprobs or None in pair:
        return False
    lengths = [_length(index, line.question, formulation) for index in pair]
    here, then = (line.tuned_logprobs[index] / length for index, length in zip(pair, lengths, strict=True))
    return abs(here - then) * min(lengths) < NEAR
