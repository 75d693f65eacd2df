"""What is told of written questions: the step's figures, the words on the terminal, and why there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.data_config import NOT_IN_TEXT
from jobs.funnel import funnel_table
from jobs.rejections import FILE
from jobs.writers.written import Written
from qa.records import Question, Split


def figures_of(questions: Sequence[Question], written: Written, splits: Mapping[str, Split]) -> dict[str, Any]:
    """Counts of what is kept and what was refused, as `step.json` holds them."""
    return {
        "questions": len(questions),
        "rejected": len(written.rejected),
        "funnel": written.funnel.rows,
        "rejected_by_stage": _counted(entry.stage for entry in written.rejected),
        "questions_by_kind": _counted(question.kind for question in questions),
        "questions_by_split": _counted(splits[question.document] for question in questions),
        "questions_by_form": _counted("choice" if question.choices else "open" for question in questions),
        "without_choices": _without_choices(written.questions),
        "closed_book": _counted(question.closed_book or "not asked" for question in questions),
        "documents_with_questions": len({question.document for question in questions}),
        "passages_with_questions": len({question.passage for question in questions}),
    }


def _without_choices(questions: Sequence[Question]) -> int:
    """Facts or pairs that no multiple-choice question could be made of, those that no text answers aside."""
    return sum(-1 if question.choices else 1 for question in questions if question.kind != NOT_IN_TEXT)


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def why_none(written: Written, passages: int, writer: str) -> str:
    """Why no question is left: the stage that refused most, and one reason of it."""
    why = "no sentence states a fact in a wording it knows" if writer == "offline" else "no reply had one"
    if counts := Counter(entry.stage for entry in written.rejected):
        [(stage, refused)] = counts.most_common(1)
        reason = next(entry.reason for entry in written.rejected if entry.stage == stage)
        why = f"{stage!r} refused {refused}, such as: {reason}"
    return f"no question of {passages} passages is left by the {writer} writer and the filters ({why})"


def report(counts: dict[str, Any], worked: bool, out: Path) -> None:
    """The funnel, the result, and what the budget left undone."""
    from rich.console import Console

    Console().print(funnel_table(counts["funnel"]))
    done = "written" if worked else "already written"
    print(f"{done}: {counts['questions']} questions; {counts['rejected']} rejected, see {out / FILE}")
    for who, used in counts["usage"].items():
        if used["stopped"]:
            print(f"stopped early, {who}: {used['stopped']}")
