"""The table of questions: its frame, which the browser keeps and sorts, and its rows, which the server writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from space.evaluation_lines import Line
from space.text import escape

SCRIPT = (Path(__file__).parent / "evaluation_table.js").read_text(encoding="utf-8")
COLUMNS = (("number", "No."), ("question", "Question"), ("base", "Base"), ("tuned", "Fine-tuned"))
FILTERS = (
    ("all", "All"),
    ("differs", "They differ"),
    ("tuned-wrong", "Fine-tuned wrong"),
    ("base-wrong", "Base wrong"),
)


def frame(caption: str) -> str:
    """The table without rows: a group of filters, headers that sort, and a button for more rows.

    Roles are spelt out because the narrow page draws rows as blocks, and browsers then forget that it is a table.
    """
    chips = "".join(
        f'<button type="button" class="fn-chip" data-filter="{key}" aria-pressed="{str(key == "all").lower()}">'
        f'{title} <span class="fn-count"></span></button>'
        for key, title in FILTERS
    )
    heads = "".join(
        f'<th scope="col" role="columnheader" data-column="{key}" aria-sort="none">'
        f'<button type="button" class="fn-sort">{title}</button></th>'
        for key, title in COLUMNS
    )
    return (
        '<div class="fn-board" hidden>'
        f'<div class="fn-filters" role="group" aria-label="Show questions">{chips}</div>'
        f'<table class="fn-table" role="table" aria-label="{escape(caption)}"><thead role="rowgroup"><tr role="row">'
        f'{heads}<th scope="col" role="columnheader">Right answer</th></tr></thead>'
        '<tbody role="rowgroup"></tbody></table>'
        '<p class="fn-shown"></p><p class="fn-sr" role="status"></p>'
        '<button type="button" class="fn-more" hidden>Show more</button></div>'
    )


def rows(lines: Sequence[Line]) -> str:
    """One row for each question: both picks, the right answer, and what the browser sorts and filters by."""
    return "".join(map(_row, lines))


def _row(line: Line) -> str:
    """`data-base` and `data-tuned` are 1 for right, 0 for wrong, empty where there is no pick."""
    marks = {"base": _mark(line.base, line), "tuned": _mark(line.tuned, line)}
    data = "".join(f' data-{name}="{mark}"' for name, mark in marks.items())
    cells = _cell("Base", line, line.base) + _cell("Fine-tuned", line, line.tuned)
    right = _option(line, line.question.gold)
    return (
        f'<tr role="row" data-id="{escape(line.question.id)}" data-number="{line.number}"'
        f'{data} data-differs="{int(line.differs)}">'
        f'<td role="cell" class="fn-number">{line.number}</td><td role="cell" class="fn-question">'
        f'<button type="button" class="fn-open" aria-expanded="false">{escape(line.question.question)}</button></td>'
        f'{cells}<td role="cell" class="fn-gold" data-title="Right answer"><span>{right}</span></td></tr>'
    )


def _mark(picked: int | None, line: Line) -> str:
    return "" if picked is None else str(int(picked == line.question.gold))


def _cell(title: str, line: Line, picked: int | None) -> str:
    if picked is None:
        return f'<td role="cell" class="fn-none" data-title="{title}"><span>no answer published</span></td>'
    mark, name = ("✓", "right") if picked == line.question.gold else ("✗", "wrong")
    sign = f'<span class="fn-mark" role="img" aria-label="{name}">{mark}</span> '
    return f'<td role="cell" class="fn-{name}" data-title="{title}"><span>{sign}{_option(line, picked)}</span></td>'


def _option(line: Line, index: int) -> str:
    return f"{escape(line.question.labels[index])}. {escape(line.question.choices[index])}"
