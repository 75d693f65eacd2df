"""What a data set is made of, in order: own rows, rows with sources, ARC; then what is too long or a copy goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.arc import load_arc
from jobs.config import Dataset
from jobs.data_config import NOT_IN_TEXT
from jobs.dataset_copies import check_apart, drop_copies
from jobs.dataset_figures import copy_figures, percentiles, row_figures
from jobs.dates import earliest_date
from jobs.documents import Rejection
from jobs.errors import UserError
from jobs.evaluation.built_tasks import RECENT_SPLIT
from jobs.evaluation.source_shelf import Shelf
from jobs.held_out_sets import scored_sets
from jobs.own_questions import Questions, Sides, read_own, take_repeated
from jobs.progress import progress
from jobs.reading_rows import Composer, ReadingRows, read_among, without_passage
from jobs.rejections import FILE, write_rejections
from jobs.rows import Rows, TrainingRow, row_length, row_of, write_passages, write_rows
from jobs.step import write_json
from qa.prompts import PromptEncoder
from qa.records import SPLITS, Passage, Question

OWN, READING, ARC, PASSAGES = "research_qa", "reading", "arc", "passages"
REPORT = "decontamination.json"


@dataclass(frozen=True)
class Sources:
    """Folders that a data set is made from, and the names of the tasks that the model will be scored by."""

    questions: Path
    passages: Path | None
    index: Path | None
    evaluated: tuple[str, ...]


@dataclass
class _Parts:
    """A data set that is being built: rows by configuration, and what was left out of them."""

    sides: Sides
    shelf: Shelf | None
    configs: dict[str, Rows]
    dropped: list[Rejection]
    reading: ReadingRows = field(default_factory=ReadingRows)
    origin: dict[str, Any] = field(default_factory=dict)
    lengths: dict[str, dict[str, int]] = field(default_factory=dict)  # tokens by configuration and id

    @property
    def passages(self) -> dict[str, Passage]:
        return self.shelf.by_id if self.shelf else {}

    @property
    def published(self) -> list[Passage]:
        """The passages whose whole text may go out: those under a licence."""
        return [passage for passage in self.passages.values() if passage.licence.strip()]


def build(sources: Sources, folder: Path, encoder: PromptEncoder, dataset: Dataset, seed: int) -> dict[str, Any]:
    """Build the data set into the folder; returns its figures. Raises `UserError` where a side is left empty."""
    parts = _gather(sources, encoder, dataset, seed)
    for name, rows in parts.configs.items():
        parts.lengths[name] = _drop_long(rows, encoder, dataset.max_length, parts.dropped)
    _refuse_empty_sides(parts, sources, dataset)
    own = {row.question.task for rows in parts.configs.values() for row in rows["test"]}
    scored = scored_sets([*sources.evaluated, *dataset.decontamination.against], own)
    copies, report = drop_copies(parts.configs, scored, dataset.decontamination, seed)
    parts.dropped += copies
    _refuse_empty_sides(parts, sources, dataset)
    check_apart(parts.configs, parts.sides, parts.passages)
    recent = [row for row in parts.configs[OWN]["test"] if _is_recent(row, dataset)]
    _write(folder, parts, recent)
    write_json(folder / REPORT, report)
    write_rejections(folder / FILE, parts.dropped)
    return _figures(parts, recent, dataset) | {"decontamination": copy_figures(report, copies)}


def _gather(sources: Sources, encoder: PromptEncoder, dataset: Dataset, seed: int) -> _Parts:
    """All rows there could be."""
    shelf = Shelf(sources.passages) if sources.passages else None
    questions, sides = read_own(sources.questions, dataset, [row.document for row in shelf.passages] if shelf else ())
    dropped = take_repeated(questions["test"])
    parts = _Parts(sides, shelf, {OWN: own_rows(questions)}, dropped)
    asked = [question for split in SPLITS for question in questions[split]]
    parts.reading = _reading(asked, parts, sources, encoder, dataset, seed)
    parts.dropped += parts.reading.dropped
    if any(parts.reading.rows.values()):
        parts.configs[READING] = parts.reading.rows
    if dataset.arc:
        rows, damaged, parts.origin = load_arc(dataset.arc, dataset.arc_configs)
        parts.configs[ARC] = {split: [row_of(question) for question in rows[split]] for split in SPLITS}
        parts.dropped += damaged
    return parts


def _reading(
    asked: list[Question], parts: _Parts, sources: Sources, encoder: PromptEncoder, dataset: Dataset, seed: int
) -> ReadingRows:
    """Rows with sources; without passages, or where none are wanted, what needs its text has no row."""
    if parts.shelf and dataset.reading.share:
        composer = Composer(parts.shelf, dataset.reading, seed=seed, encoder=encoder, max_length=dataset.max_length)
        return read_among(asked, parts.sides, composer, sources.index)
    return ReadingRows(dropped=[without_passage(question) for question in asked if question.kind == NOT_IN_TEXT])


def own_rows(questions: Questions) -> Rows:
    """Rows without sources. What its own text cannot answer has no right answer there."""
    return {
        split: [row_of(question) for question in questions[split] if question.kind != NOT_IN_TEXT] for split in SPLITS
    }


def _drop_long(rows: Rows, encoder: PromptEncoder, longest: int, dropped: list[Rejection]) -> dict[str, int]:
    """Take out rows of more than `longest` tokens; returns the lengths of those that stay, by id."""
    lengths: dict[str, int] = {}
    for split in SPLITS:
        kept = []
        for row in progress(rows[split], f"counting tokens: {split}", unit="row"):
            name, length = row.question.id, row_length(row, encoder)
            if length <= longest:
                kept.append(row)
                lengths[name] = length
                continue
            reason = f"longer than {longest} tokens: {length}"
            dropped.append(Rejection(name=name, reason=reason, stage="length", text=row.question.question))
        rows[split] = kept
    return lengths


def _refuse_empty_sides(parts: _Parts, sources: Sources, dataset: Dataset) -> None:
    for name, place in ((OWN, str(sources.questions)), (ARC, dataset.arc)):
        if name in parts.configs:
            refuse_empty(parts.configs[name], place, parts.dropped)


def refuse_empty(rows: Rows, source: str, dropped: Sequence[Rejection]) -> None:
    """Raise `UserError` where a side is empty: such a data set could be neither loaded nor evaluated."""
    for split in SPLITS:
        if not rows[split]:
            held = ", ".join(f"{side} {len(rows[side])}" for side in SPLITS)
            why = f"; the last of {len(dropped)} dropped rows: {dropped[-1].reason}" if dropped else ""
            raise UserError(
                f"{source}: no {split} row ({held}), so there is no data set: documents are split by a hash of their "
                f"names, and each side needs a question; give more documents{why}"
            )


def _is_recent(row: TrainingRow, dataset: Dataset) -> bool:
    """Whether the row's document is known to be later than the base model's training."""
    found = earliest_date(row.question.date, row.question.source)
    return found is not None and found > dataset.cutoff


def _write(folder: Path, parts: _Parts, recent: Sequence[TrainingRow]) -> None:
    for name, rows in parts.configs.items():
        for split in SPLITS:
            if rows[split]:  # `datasets` reads no split without a row
                write_rows(folder / name / f"{split}.parquet", rows[split])
    if recent:
        write_rows(folder / OWN / f"{RECENT_SPLIT}.parquet", recent)
    if parts.published:
        write_passages(folder / PASSAGES / "train.parquet", parts.published, parts.sides.documents)


def _figures(parts: _Parts, recent: Sequence[TrainingRow], dataset: Dataset) -> dict[str, Any]:
    kept = {name: [row.question.id for split in SPLITS for row in rows[split]] for name, rows in parts.configs.items()}
    documents, published = {row.question.document for row in recent}, len(parts.published)
    return {
        **row_figures(parts.configs, parts.dropped, parts.sides),
        "tokens": {name: percentiles([parts.lengths[name][row] for row in rows]) for name, rows in kept.items()},
        "reading": parts.reading.figures(),
        "recent": {"rows": len(recent), "documents": len(documents), "cutoff": dataset.cutoff.isoformat()},
        "passages": {"rows": published, "without_licence": len(parts.passages) - published},
        "arc": parts.origin,
    }
