"""HTML of the Evaluate tab: running accuracy, plot, questions with both answers, and the published result."""

from __future__ import annotations

from collections.abc import Sequence

from qa.choices import Formulation
from qa.statistics import paired_difference, verdict, wilson
from space.evaluate import Row, Run
from space.models import Models
from space.plot import Point, running_plot
from space.published import Published, differences, headline, with_prompt
from space.text import escape, seconds
from space.views import status


def run_status(run: Run) -> str:
    """Where the run stands, with the time left."""
    done = f"{len(run.rows)} of {run.total} questions"
    left = f" · {seconds(run.left)} left" if run.left else ""
    lines = {
        "running": f"{done}{left}",
        "done": f"Done · {done} in {seconds(run.seconds)}",
        "stopped": f"Stopped after {len(run.rows)} of {run.total}",
        "failed": run.problem,
    }
    return status(run.state, lines[run.state])


def summary(run: Run) -> str:
    """Both accuracies so far with their intervals."""
    if not run.rows:
        return ""
    base, tuned = points([row.base_right for row in run.rows]), points([row.tuned_right for row in run.rows])
    right = sum(row.base_right for row in run.rows), sum(row.tuned_right for row in run.rows)
    cells = _meter("Base", right[0], len(run.rows), base[-1]) + _meter("Fine-tuned", right[1], len(run.rows), tuned[-1])
    count = f"{len(run.rows)} question" + ("" if len(run.rows) == 1 else "s")
    prompt = f"<p>{count}, prompt: {escape(run.prompt)}.</p>"
    return (
        '<section class="fn-panel"><h2>This run</h2>'
        f'<div class="fn-meters">{cells}</div>{prompt}{_paired(run)}</section>'
    )


def _meter(title: str, right: int, count: int, point: Point) -> str:
    name = "fn-tuned" if title == "Fine-tuned" else "fn-base"
    return (
        f'<div class="fn-meter {name}"><span>{title}</span><b>{right}<small> / {count}</small></b>'
        f"<span>{100 * point.value:.0f} %, interval {100 * point.low:.0f} to {100 * point.high:.0f}</span></div>"
    )


def _paired(run: Run) -> str:
    gained = sum(row.tuned_right and not row.base_right for row in run.rows)
    lost = sum(row.base_right and not row.tuned_right for row in run.rows)
    counts = f"<p>Fine-tuned alone is right on {gained}, base alone on {lost}.</p>"
    if run.state != "done":
        return counts
    ours, theirs = [row.tuned_right for row in run.rows], [row.base_right for row in run.rows]
    difference = paired_difference(ours, theirs, [row.question.document for row in run.rows], seed=0)
    return f'{counts}<p class="fn-verdict">Fine-tuned against base: {escape(verdict(difference))}.</p>'


def points(right: Sequence[bool]) -> list[Point]:
    """Running accuracy with its Wilson interval, after every question."""
    result, correct = [], 0
    for count, hit in enumerate(right, start=1):
        correct += hit
        low, high = wilson(correct, count)
        result.append(Point(correct / count, low, high))
    return result


def plot(run: Run) -> str:
    """Running accuracy of both models."""
    if not run.rows:
        return ""
    chance = sum(1 / len(row.question.choices) for row in run.rows) / len(run.rows)
    base, tuned = ([getattr(row, side) for row in run.rows] for side in ("base_right", "tuned_right"))
    return running_plot(points(base), points(tuned), run.total, chance)


def table(run: Run) -> str:
    """One row for each question: both answers and the right one."""
    if not run.rows:
        return ""
    head = "".join(f'<th scope="col">{name}</th>' for name in ("", "Question", "Base", "Fine-tuned", "Right answer"))
    body = "".join(_row(number, row) for number, row in enumerate(run.rows, start=1))
    return f'<table class="fn-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _row(number: int, row: Row) -> str:
    cells = _cell("Base", row, row.base) + _cell("Fine-tuned", row, row.tuned) + _cell("Right answer", row, None)
    question = f'<td class="fn-question">{escape(row.question.question)}</td>'
    return f'<tr><td class="fn-number">{number}</td>{question}{cells}</tr>'


def _cell(title: str, row: Row, picked: int | None) -> str:
    index = row.question.gold if picked is None else picked
    mark, name = ("✓", "fn-right") if index == row.question.gold else ("✗", "fn-wrong")
    sign = "" if picked is None else f'<span class="fn-mark" aria-label="{name[3:]}">{mark}</span> '
    kind = "fn-gold" if picked is None else name
    text = f"{escape(row.question.labels[index])}. {escape(row.question.choices[index])}"
    return f'<td class="{kind}" data-title="{title}"><span>{sign}{text}</span></td>'


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
    return f'<section class="fn-panel"><h2>Published result</h2><p>None to show: {escape(reason)}.</p></section>'


def _results(shown: list[Published], found: list[Published]) -> str:
    said = {(result.task, result.prompt) for result in shown}
    others = [
        f"<li>{escape(result.task)}, {escape(result.prompt)}: {escape(result.verdict)}.</li>"
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
    said = f'<p class="fn-verdict">Fine-tuned against base: {escape(result.verdict)}.</p>' if result.verdict else ""
    other = "" if result.live else "<p>The live run cannot ask this way.</p>"
    counts = " / ".join(dict.fromkeys(f"{line.n:,}" for line in result.lines))  # one where all were asked the same
    return (
        f'<table class="fn-figures"><thead><tr><th scope="col">Model</th><th scope="col">Accuracy</th>'
        f'<th scope="col">95 % interval</th></tr></thead><tbody>{lines}</tbody></table>'
        f"<p>{counts} questions of <i>{escape(result.task)}</i>, prompt: {escape(result.prompt)}.</p>{other}{said}"
    )
