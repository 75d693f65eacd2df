"""HTML of the Evaluate tab: status, running accuracy, the plot's figures, and the published result."""

from __future__ import annotations

from collections.abc import Sequence

from qa.choices import Formulation
from qa.statistics import paired_difference, verdict
from space.answering import about
from space.evaluate import Row, Run
from space.evaluation_lines import Line, Share, share
from space.models import Models
from space.plot import Point, running_plot
from space.published import Published, differences, headline, with_prompt
from space.text import escape, seconds
from space.views import status

SEED = 17  # of the bootstrap: evaluation's default, so that the same picks give the same bounds
HINT = (
    '<section class="fn-panel"><h2>This run</h2><p>Both models answer the same questions of the published test set, '
    "one after another. <b>Pick a letter</b> shows the options and reads which letter is likeliest. <b>Weigh each "
    "option</b> asks the bare question and reads how likely each option is as its answer.</p></section>"
)

EMPTY = '<p class="fn-empty">No run yet: its plot and its questions appear here.</p>'


def run_status(run: Run) -> str:
    """Where the run stands, with the time left; its state is what space/page.js says aloud whenever it changes."""
    done = f"{len(run.rows)} of {run.total} questions"
    left = f" · {about(run.left)} left" if run.left else ""
    lines = {
        "queued": _queued(run, done),
        "running": f"{done}{left}",
        "done": f"Done · {done} in {seconds(run.seconds)}",
        "stopped": f"Stopped after {len(run.rows)} of {run.total}",
        "failed": run.problem,
    }
    begun = run.state == "queued" and run.rows  # a visitor's question in between is no news to be interrupted for
    return status("running" if begun else run.state, lines[run.state])


def _queued(run: Run, done: str) -> str:
    if run.rows:
        return f"{done} · a visitor’s question goes first"
    wait = f" · {about(run.wait)}" if run.wait else ""
    return f"Place {run.place} in the queue{wait}"


def summary(run: Run) -> str:
    """Both accuracies so far with their intervals, and what the pairs show."""
    if not run.rows:
        return ""
    base, tuned = ([getattr(row, side) for row in run.rows] for side in ("base_right", "tuned_right"))
    count = f"{len(run.rows)} question" + ("" if len(run.rows) == 1 else "s")
    prompt = f"<p>{count}, prompt: {escape(run.prompt)}.</p>"
    found = f'<p class="fn-verdict">Fine-tuned against base: {_quoted(_verdict(run.rows))}.</p>'
    return _panel("This run", share(base), share(tuned), prompt + _pairs(run.rows) + found * (run.state == "done"))


def published_summary(lines: Sequence[Line], prompt: str) -> str:
    """Both accuracies on all published questions, counted from their rows."""
    base = [line.base_right for line in lines if line.base is not None]
    tuned = [line.tuned_right for line in lines if line.tuned is not None]
    if not base or not tuned:
        none = f"<p>No answers are published for {escape(prompt)}.</p>"
        return f'<section class="fn-panel"><h2>Published, question by question</h2>{none}</section>'
    both = [line for line in lines if line.base is not None and line.tuned is not None]
    count = f"<p>{len(lines):,} questions, prompt: {escape(prompt)}.</p>"
    return _panel("Published, question by question", share(base), share(tuned), count + _pairs(both))


def _panel(title: str, base: Share, tuned: Share, rest: str) -> str:
    meters = _meter("Base", base) + _meter("Fine-tuned", tuned)
    return f'<section class="fn-panel"><h2>{title}</h2><div class="fn-meters">{meters}</div>{rest}</section>'


def _meter(title: str, found: Share) -> str:
    name = "fn-tuned" if title == "Fine-tuned" else "fn-base"
    digits = 1 if found.n > 100 else 0  # of a hundred questions, one is a whole point
    value, low, high = (f"{100 * part:.{digits}f}" for part in (found.value, found.low, found.high))
    return (
        f'<div class="fn-meter {name}"><span>{title}</span><b>{found.correct:,}<small> / {found.n:,}</small></b>'
        f"<span>{value}\u00a0%, 95\u00a0% interval {low}\u00a0to\u00a0{high}</span></div>"
    )


def _pairs(rows: Sequence[Row | Line]) -> str:
    gained = sum(row.tuned_right and not row.base_right for row in rows)
    lost = sum(row.base_right and not row.tuned_right for row in rows)
    return f"<p>Fine-tuned alone is right on {gained:,}, base alone on {lost:,}.</p>"


def _verdict(rows: Sequence[Row]) -> str:
    ours, theirs = [row.tuned_right for row in rows], [row.base_right for row in rows]
    return verdict(paired_difference(ours, theirs, [row.question.document for row in rows], seed=SEED))


def _quoted(verdict: str) -> str:
    """A verdict whose figures do not part from their signs at a line's end."""
    return escape(verdict.replace(" %", "\u00a0%"))


def points(right: Sequence[bool]) -> list[Point]:
    """Running accuracy with its Wilson interval, after every question."""
    shares = [share(right[:count]) for count in range(1, len(right) + 1)]
    return [Point(found.value, found.low, found.high) for found in shares]


def plot(run: Run) -> str:
    """Running accuracy of both models."""
    if not run.rows:
        return ""
    chance = sum(1 / len(row.question.choices) for row in run.rows) / len(run.rows)
    base, tuned = ([getattr(row, side) for row in run.rows] for side in ("base_right", "tuned_right"))
    return running_plot(points(base), points(tuned), run.total, chance)


def published_panel(models: Models, formulation: Formulation) -> str:
    """The figures published with the fine-tuned model, or why there are none to show.

    The headline first, then the same task with the prompt that is selected, then every other difference, the worse
    ones too.
    """
    if models.published is None:
        return _no_result(models.unpublished)
    try:
        first, selected = headline(models.published), with_prompt(models.published, formulation)
        shown = [result for result in (first, selected) if result]
        return _results(shown, differences(models.published))
    except ValueError as error:
        return _no_result(str(error))


def _no_result(reason: str) -> str:
    why = escape(reason.removesuffix("."))
    return f'<section class="fn-panel"><h2>Published result</h2><p>None to show: {why}.</p></section>'


def _results(shown: list[Published], found: list[Published]) -> str:
    said = {(result.task, result.prompt) for result in shown}
    others = [
        f"<li>{escape(result.task)}, {escape(result.prompt)}: {_quoted(result.verdict)}.</li>"
        for result in found
        if (result.task, result.prompt) not in said
    ]
    rest = f"<p>Fine-tuned against base elsewhere:</p><ul>{''.join(others)}</ul>" if others else ""
    return f'<section class="fn-panel"><h2>Published result</h2>{"".join(map(_result, shown))}{rest}</section>'


def _result(result: Published) -> str:
    lines = "".join(
        f"<tr><th scope='row'>{escape(line.title)}</th><td>{100 * line.value:.1f} %</td>"
        f"<td>{100 * line.low:.1f} to {100 * line.high:.1f}</td></tr>"
        for line in result.lines
    )
    said = f'<p class="fn-verdict">Fine-tuned against base: {_quoted(result.verdict)}.</p>' if result.verdict else ""
    other = "" if result.live else "<p>The live run cannot ask this way.</p>"
    counts = " / ".join(dict.fromkeys(f"{line.n:,}" for line in result.lines))  # one where all were asked the same
    return (
        f'<table class="fn-figures"><thead><tr><th scope="col">Model</th><th scope="col">Accuracy</th>'
        f'<th scope="col">95 % interval</th></tr></thead><tbody>{lines}</tbody></table>'
        f"<p>{counts} questions of <i>{escape(result.task)}</i>, prompt: {escape(result.prompt)}.</p>{other}{said}"
    )
