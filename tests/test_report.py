"""What an evaluation leaves for its reader: rows, pictures, a page that hostile text does not break, the terminal."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from markdown_it import MarkdownIt

from jobs.card_render import cell
from jobs.documents import Rejection
from jobs.evaluation.figures import metrics_of
from jobs.evaluation.report import plot, print_report, write_items, write_report
from jobs.evaluation.report_markdown import LISTED
from jobs.evaluation.report_plots import label
from jobs.evaluation.tasks import Task
from jobs.step import StepRecord
from qa.headline import FIGURES, headline_lines
from qa.records import Answer
from tests.runs import HOSTILE
from tests.tiny_answers import choice_answers, make_task, rotated_answers, written

LETTER = "letter (chat)"
ABOUT = {"models": {"base": "folder base", "a|b": "gguf x`.gguf"}, "seed": 3, "settings": {"shots": 0, "limit": None}}
MODELS = ("base", "a|b")


def make_world(*, hostile: bool = True) -> tuple[dict[str, Any], dict[str, list[Answer]], list[Task]]:
    """Figures with every section: two models and two tasks, with text in them that means to break the page."""
    plain = make_task("research", 60, 12)
    if hostile:
        spoilt = {"question": HOSTILE, "choices": (HOSTILE, "b", "c", "d"), "labels": tuple("ABCD"), "answer": "A"}
        choice = tuple(question.model_copy(update=spoilt) for question in plain.choice)
        plain = Task("research", choice, plain.open, origin=HOSTILE)
    left_out = tuple(Rejection(name=f"row {number}", reason=HOSTILE) for number in range(LISTED + 5))
    tasks = [plain, Task("a_file|$x$", make_task("a_file|$x$", 40).choice, (), left_out=left_out)]
    answers = {name: _rows(name, tasks, skill) for name, skill in zip(MODELS, (0.2, 1.6), strict=True)}
    rotated = {name: rotated_answers(name, plain.choice[:10], lambda question: question.labels[0]) for name in MODELS}
    skipped = {"base": [{"task": "research", "formulation": LETTER, "row_id": "r|1", "reason": "needs 9 tokens"}]}
    metrics = metrics_of(answers, rotated, tasks, skipped, headline=("research", LETTER), seed=1)
    metrics["absent_tasks"] = ["arc_easy"]
    counts = {"n": 12, "better": 5, "worse": 1, "tie": 2, "inconsistent": 3, "unreadable": 1, "p": 0.125}
    metrics["judge"] = [{"model": "a|b", "against": "base", "judge": HOSTILE, **counts}]
    return metrics, answers, tasks


def _rows(model: str, tasks: list[Task], skill: float) -> list[Answer]:
    rows = []
    for number, task in enumerate(tasks):
        rows += choice_answers(model, task.choice, skill=skill, seed=number + len(model))
        rows += choice_answers(model, task.choice, skill=skill, formulation="cloze (plain)", seed=number)
    asked = [question.model_copy(update={"passage": "p1"}) for question in tasks[0].open]
    tasks[0] = Task(tasks[0].name, tasks[0].choice, tuple(asked), origin=tasks[0].origin)
    rows += written(model, asked, lambda question: HOSTILE)
    shown = written(model, asked, lambda question: f"{question.answer_text} [2]", "sources (chat)")
    return rows + [row.model_copy(update={"sources": ("p0", "p1")}) for row in shown]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    metrics, answers, tasks = make_world()
    plot(folder, metrics, tasks)
    write_report(folder, metrics, answers, tasks, ABOUT)
    return folder


@pytest.fixture(scope="module")
def page(report: Path) -> str:
    return (report / "report.md").read_text(encoding="utf-8")


def test_the_pictures_are_drawn_and_stand_in_the_page(report: Path, page: str) -> None:
    for name in ("accuracy.png", "flips.png", "reliability.png"):
        assert (report / name).read_bytes().startswith(b"\x89PNG")
        assert (report / name).stat().st_size > 10_000
        assert f"]({name})" in page


def test_every_section_is_there_and_warnings_come_first(page: str) -> None:
    heads = [line for line in page.splitlines() if line.startswith("## ")]
    assert heads == [
        *("## Headline", "## What was asked", "## All results", "## Compared question by question"),
        *("## Answers that flipped", "## Open questions", "## With sources", "## A judge's opinion"),
        *("## Position of the right option", "## Rotated options", "## Calibration", "## Ties and time"),
        "## Rows not counted",
    ]
    assert page.index("This looks broken, not bad") < page.index("## Headline")
    assert "\n\n\n" not in page


def test_tables_are_whole_and_hostile_text_shows_as_it_was_written(page: str) -> None:
    """Every row of every table has its head's bars, and no tag, link or heading comes from the text."""
    tables = [block for block in page.split("\n\n") if block.startswith("| ")]
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    tokens = MarkdownIt("commonmark").enable("table").parse(page)
    assert sum(token.type == "table_open" for token in tokens) == len(tables) == 14
    inner = [child for token in tokens for child in token.children or ()]
    assert not [child for child in inner if child.type in ("html_inline", "link_open")]
    assert not [token for token in tokens if token.type == "html_block"]
    heads = [tokens[n + 1].content for n, token in enumerate(tokens) if token.type == "heading_open"]
    assert not any("not* [a]" in head for head in heads)
    text = " ".join("".join(child.content for child in token.children or ()) for token in tokens)
    assert "Which | of <img src=x onerror=alert(1)> `these` --- # is *not* [a](javascript:alert(1)) &" in text


def test_the_figures_in_the_page_are_those_of_the_metrics(page: str) -> None:
    metrics, answers, _ = make_world()
    for line in headline_lines(metrics):
        assert f"| {line.correct} | {line.n} | {100 * line.value:.1f} % ({100 * line.low:.1f} % to" in page
    for line in metrics["comparisons"]:
        assert f"| {line['n']} | {line['documents']} | {line['gained']} | {line['lost']} |" in page
    pairs = list(zip(answers["base"][:60], answers["a|b"][:60], strict=True))
    gained, lost = (
        sum(other.correct and not first.correct for first, other in pairs),
        sum(first.correct and not other.correct for first, other in pairs),
    )
    assert f"### a\\|b: gained ({gained})" in page
    assert f"### a\\|b: lost ({lost})" in page
    section = page.split("### a\\|b: gained")[1].split("###")[0]
    assert section.count("\n| ") == min(gained, 10) + 1


def test_a_difference_in_the_list_says_where_it_does_not_stand_among_the_others(tmp_path: Path) -> None:
    metrics, answers, tasks = make_world(hostile=False)
    shown = [line for line in metrics["comparisons"] if line["verdict"].startswith(("better", "worse"))]
    shown[0]["p_holm"] = 0.07
    write_report(tmp_path, metrics, answers, tasks, ABOUT)
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    listed = [line for line in page.splitlines() if line.startswith("- a\\|b against base")]
    assert len(listed) == len(shown) > 1
    count = len(metrics["comparisons"])
    assert listed[0].endswith(f" (Holm's p = 0.070: one of {count} comparisons)")
    assert not any("Holm" in line for line in listed[1:])


def test_addresses_and_names_of_users_do_not_become_links() -> None:
    """No processor of Markdown finds one in the text that is left when entities are read."""
    written = "see https://x.org/a_b, HTTP://X, www.x.org, WWW.x, @someone, (@some-one) me@x.org ftp://x"
    text = html.unescape(cell(written)).replace("\\", "")
    assert not re.search(r"://|www\.|(?<!\w)@\w|@[\w-]+\.", text, re.IGNORECASE)
    assert text.replace("\u200b", "") == written
    assert cell("owner/name@0123abc") == "owner/name@0123abc"


def test_rows_that_do_not_count_are_named_up_to_a_number(page: str) -> None:
    section = page.split("## Rows not counted")[1]
    assert section.count("left out: row ") == LISTED
    assert "left out: 5 more, named in metrics.json" in section
    assert "- base, skipped: r\\|1, letter (chat): needs 9 tokens" in section
    assert "Not asked, for want of questions: arc\\_easy." in page
    assert "- shots: 0" in page
    assert "limit" not in page.split("## All results")[0].split("## What was asked")[1]


def test_one_model_on_one_task_has_a_short_page(tmp_path: Path) -> None:
    task = make_task("research", 30)
    answers = {"base": choice_answers("base", task.choice, skill=2, formulation="cloze (plain)")}
    metrics = metrics_of(answers, {}, [task], {}, headline=("research", "cloze (plain)"), seed=0)
    plot(tmp_path, metrics, [task])
    write_report(tmp_path, metrics, answers, [task], {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["accuracy.png", "report.md"]
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "flips" not in page
    assert "broken" not in page
    assert "None: every row of every task was asked of every model." in page
    assert "In no row do the two likeliest options have the same score." in page


def test_names_in_pictures_are_short_and_no_formulas() -> None:
    assert label("x" * 200, 21) == "x" * 10 + "…" + "x" * 10
    assert label("$a_b$ and $c") == r"\$a_b\$ and \$c"


def test_items_read_back_as_they_were(tmp_path: Path) -> None:
    _, answers, _ = make_world()
    rows = [row for given in answers.values() for row in given]
    write_items(tmp_path / "items.parquet", rows)
    assert [Answer.model_validate(row) for row in pq.read_table(tmp_path / "items.parquet").to_pylist()] == rows


def test_the_terminal_gets_the_headline_the_first_warning_and_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics, _, _ = make_world()
    lines = headline_lines(metrics)
    figures = {
        "order": metrics["order"],
        "headline": metrics["headline"],
        "models": {line.model: {key: getattr(line, key) for key in FIGURES} for line in lines},
        "verdicts": {line.model: line.verdict for line in lines if line.verdict},
        "warnings": ["base: first", "base: second"],
        "left_out": {"research": 3},
        "skipped": {"tuned": 1},
    }
    print_report(StepRecord("evaluate", {}, {}, figures=figures), tmp_path, new=True)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].strip() == f"{tmp_path}: research, letter (chat), acc"
    assert lines[1].verdict in shown[2]
    assert shown[3:5] == [
        "not asked: 3 rows of research; the report names them",
        "not asked of tuned: 1 prompts longer than it reads; the report names them",
    ]
    assert shown[5:] == ["this looks broken, not bad: base: first (and 1 more)", f"all of it: {tmp_path / 'report.md'}"]
