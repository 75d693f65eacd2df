"""Putting every part of an evaluation to every model, and gathering the rows from the journals."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from jobs.config import Evaluation
from jobs.evaluation.backends import open_backend
from jobs.evaluation.examiner import Examiner
from jobs.evaluation.journal import Journal
from jobs.evaluation.parts import ChoicePart, Part
from jobs.evaluation.sources import Source
from jobs.evaluation.tasks import Tasks
from jobs.progress import bar
from jobs.step import CHECKPOINTS
from jobs.team import Team
from qa.records import Answer

Rows = dict[str, list[Answer]]  # by model


@dataclass(frozen=True)
class Examination:
    """Everything that is asked, of whom, and how."""

    sources: dict[str, Source]
    tasks: Tasks
    parts: list[Part]
    evaluation: Evaluation
    seed: int


def ask_all(folder: Path, exam: Examination, team: Team) -> None:
    """Ask every model this process's share of what the journals do not hold yet."""
    total = len(exam.sources) * sum(len(part.questions) for part in exam.parts)
    with bar(total, "evaluate", unit="answer", disable=not team.leads) as moved:
        for name, source in exam.sources.items():
            missing = {}
            for number, part in enumerate(exam.parts):
                journal = _journal(folder, name, number, team)
                settled = journal.answers().keys() | (journal.skipped() or {}).keys()
                moved.update(len(settled))
                if not {question.id for question in part.questions} <= settled:
                    missing[number] = part
            if missing:
                _ask(name, source, folder, missing, exam.evaluation, team, moved)


def _ask(
    name: str,
    source: Source,
    folder: Path,
    missing: dict[int, Part],
    evaluation: Evaluation,
    team: Team,
    moved: tqdm,
) -> None:
    moved.set_postfix_str(name, refresh=False)
    with closing(open_backend(name, source, dtype=evaluation.dtype, device=team.device)) as backend:
        for number, part in missing.items():
            journal = _journal(folder, name, number, team)
            examiner = Examiner(name, backend, part, evaluation.batch_tokens, leads=number == 0)
            examiner.ask(journal, team, lambda rows: moved.update(rows * team.world))


def _journal(folder: Path, model: str, number: int, team: Team | None = None) -> Journal:
    return Journal(folder / CHECKPOINTS / model, f"{number:03}", team.rank if team else 0)


def collect_rows(folder: Path, exam: Examination) -> tuple[Rows, Rows, dict[str, list[dict[str, str]]]]:
    """All rows in the order of parts and questions: those asked as they stand, those with rotated options, skips."""
    asked: Rows = {name: [] for name in exam.sources}
    rotated: Rows = {name: [] for name in exam.sources}
    skipped: dict[str, list[dict[str, str]]] = {name: [] for name in exam.sources}
    for name in exam.sources:
        for number, part in enumerate(exam.parts):
            journal = _journal(folder, name, number)
            rows, reasons = journal.answers(), journal.skipped() or {}
            kept = rotated if isinstance(part, ChoicePart) and part.rotation else asked
            kept[name] += [rows[question.id] for question in part.questions if question.id not in reasons]
            where = {"task": part.task, "formulation": part.formulation}
            skipped[name] += [where | {"row_id": row, "reason": reason} for row, reason in reasons.items()]
    return asked, rotated, skipped
