"""Build the data set: own questions split by document, ARC with its official splits, as prompt–completion rows.

    python -m jobs.build_dataset QUESTIONS_DIR --out DIR --tokenizer ID_OR_FOLDER [--arc allenai/ai2_arc]

`DIR/research_qa/` and `DIR/arc/` hold `train.parquet`, `validation.parquet` and `test.parquet`; `DIR/dropped.jsonl`
lists every row that was left out, with the reason. ARC is read through HF_ENDPOINT.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jobs.arc
import jobs.rows
import jobs.splits
import qa.prompts
import qa.records
from jobs.arc import load_arc
from jobs.arguments import path_argument
from jobs.config import Dataset
from jobs.documents import Rejection
from jobs.errors import UserError, first_line, run_main
from jobs.progress import progress
from jobs.rows import token_length, write_parquet
from jobs.splits import assign_splits
from jobs.step import StepRecord, run_step, source_sha256
from qa.prompts import PromptEncoder
from qa.records import SPLITS, Question, Split, read_records, write_records

Rows = dict[Split, list[Question]]
PERCENTILES = (5, 50, 95, 100)


def build_dataset(
    questions: Path, out: Path, *, tokenizer: str, revision: str = "main", dataset: Dataset
) -> tuple[StepRecord, bool]:
    """Build the data set from a folder that `write_questions` made.

    `tokenizer` is a Hub id, at `revision`, or a folder. Raises `UserError` for a folder without questions, a tokenizer
    or ARC that cannot be had, or a side left empty.
    """
    if not (questions / "questions.jsonl").is_file():
        raise UserError(f"{questions}: no questions.jsonl in it; make it with python -m jobs.write_questions")
    inputs = {"questions": questions}
    folders = {"tokenizer": tokenizer, "arc": dataset.arc}
    inputs |= {name: Path(place) for name, place in folders.items() if place and Path(place).is_dir()}
    code = source_sha256(jobs.arc, jobs.rows, jobs.splits, qa.prompts, qa.records, sys.modules[__name__])
    return run_step(
        "build_dataset",
        out,
        arguments={"tokenizer": tokenizer, "revision": revision, **dataset.model_dump(mode="json"), "code": code},
        inputs=inputs,
        work=lambda folder: _build(questions, folder, load_encoder(tokenizer, revision), dataset),
    )


def _build(source: Path, folder: Path, encoder: PromptEncoder, dataset: Dataset) -> dict[str, Any]:
    configs: dict[str, Rows] = {"research_qa": _research(source, dataset)}
    documents = {split: len({row.document for row in rows}) for split, rows in configs["research_qa"].items()}
    dropped: list[Rejection] = []
    origin: dict[str, Any] = {}
    if dataset.arc:
        configs["arc"], dropped, origin = load_arc(dataset.arc, dataset.arc_configs)
    lengths: dict[str, list[int]] = {}
    for name, rows in configs.items():
        dropped += _drop_twins(rows)
        lengths[name] = _drop_long(rows, encoder, dataset.max_length, dropped)
        _refuse_empty(rows, f"{dataset.arc if name == 'arc' else source}", dropped)
    for name, rows in configs.items():
        for split in SPLITS:
            write_parquet(folder / name / f"{split}.parquet", rows[split])
    write_records(folder / "dropped.jsonl", dropped)
    return {**_figures(configs, lengths, dropped), "documents_per_split": documents, "arc": origin}


def _refuse_empty(rows: Rows, source: str, dropped: list[Rejection]) -> None:
    """A data set with an empty side could be neither loaded nor evaluated."""
    for split in SPLITS:
        if not rows[split]:
            held = ", ".join(f"{side} {len(rows[side])}" for side in SPLITS)
            why = f"; the last of {len(dropped)} dropped rows: {dropped[-1].reason}" if dropped else ""
            raise UserError(
                f"{source}: no {split} row ({held}), so there is no data set: documents are split by a hash of their "
                f"names, and each side needs a question; give more documents{why}"
            )


def check_sides(questions: Path, dataset: Dataset) -> None:
    """Raise `UserError` where the questions of one side of the split are missing; takes a moment."""
    _refuse_empty(_research(questions, dataset), str(questions), [])


def load_encoder(tokenizer: str, revision: str = "main") -> PromptEncoder:
    """The encoder of a tokenizer by Hub id and revision, or of a folder's.

    Raises `UserError` where it is missing or no ChatML tokenizer.
    """
    from transformers import AutoTokenizer

    try:
        return PromptEncoder.from_transformers(AutoTokenizer.from_pretrained(tokenizer, revision=revision))
    except (OSError, ValueError) as error:
        reason = f"no usable tokenizer there ({first_line(error)}); give a Hub id or a folder"
        raise UserError(f"{tokenizer}: {reason}") from None


def _research(source: Path, dataset: Dataset) -> Rows:
    """Own questions by the side of their document."""
    questions = list(read_records(source / "questions.jsonl", Question))
    if not questions:
        raise UserError(f"{source / 'questions.jsonl'}: holds no question; write some first")
    splits = _splits(source, questions, dataset)
    rows: Rows = {split: [] for split in SPLITS}
    for question in questions:
        rows[splits[question.document]].append(question)
    return rows


def _splits(source: Path, questions: Iterable[Question], dataset: Dataset) -> dict[str, Split]:
    """The split that the questions were written for; drawn here for questions that came from elsewhere."""
    path = source / "splits.json"
    if not path.is_file():
        return assign_splits((question.document for question in questions), dataset.salt, dataset.fractions)
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored["salt"] != dataset.salt or stored["fractions"] != list(dataset.fractions):
        raise UserError(
            f"{path}: the questions were written for salt {stored['salt']!r} and fractions {stored['fractions']}; "
            "write them again, or set dataset.salt and dataset.fractions to these"
        )
    return stored["documents"]


def _drop_twins(rows: Rows) -> list[Rejection]:
    """Take out of training, and then of validation, what is asked word for word on a side held out from it."""
    dropped: list[Rejection] = []
    seen: dict[str, str] = {}
    for split in reversed(SPLITS):
        kept = []
        for row in rows[split]:
            if (twin := seen.get(_identity(row))) is not None:
                dropped.append(Rejection(name=row.id, reason=f"same question on a held-out side: {twin}"))
            else:
                kept.append(row)
        seen |= {_identity(row): f"{split}/{row.id}" for row in kept}
        rows[split] = kept
    return dropped


def _identity(row: Question) -> str:
    """Question and options without case, spaces and punctuation; options in any order."""
    texts = [row.question, *sorted(choice.casefold() for choice in row.choices)]
    return "\n".join("".join(filter(str.isalnum, text.casefold())) for text in texts)


def _drop_long(rows: Rows, encoder: PromptEncoder, longest: int, dropped: list[Rejection]) -> list[int]:
    """Take out rows of more than `longest` tokens; returns the lengths of those that stay."""
    lengths: list[int] = []
    for split in SPLITS:
        kept = []
        for row in progress(rows[split], f"counting tokens: {split}", unit="row"):
            if (length := token_length(row, encoder)) > longest:
                dropped.append(Rejection(name=row.id, reason=f"longer than {longest} tokens: {length}"))
                continue
            kept.append(row)
            lengths.append(length)
        rows[split] = kept
    return lengths


def _figures(configs: dict[str, Rows], lengths: dict[str, list[int]], dropped: list[Rejection]) -> dict[str, Any]:
    reasons = Counter(entry.reason.split(": ")[1 if entry.reason.startswith("row ") else 0] for entry in dropped)
    return {
        "rows": {name: {split: len(rows[split]) for split in SPLITS} for name, rows in configs.items()},
        "rows_by_task": {split: _count(configs, split, "task") for split in SPLITS},
        "rows_by_kind": {split: _count(configs, split, "kind") for split in SPLITS},
        "rows_by_licence": {split: _count(configs, split, "licence") for split in SPLITS},
        "dropped": len(dropped),
        "dropped_by_reason": dict(reasons.most_common()),
        "damaged_rows": [entry.name for entry in dropped if entry.reason.startswith("row ")],
        "tokens": {name: percentiles(values) for name, values in lengths.items()},
    }


def _count(configs: dict[str, Rows], split: Split, field: str) -> dict[str, int]:
    return dict(
        Counter(getattr(row, field) or "not stated" for rows in configs.values() for row in rows[split]).most_common()
    )


def percentiles(values: list[int]) -> dict[str, int]:
    """Nearest-rank percentiles of token lengths, and their mean; empty for no values."""
    if not values:
        return {}
    ranked = sorted(values)
    found = {f"p{share}": ranked[max(0, -(-share * len(ranked) // 100) - 1)] for share in PERCENTILES}
    return found | {"mean": round(sum(ranked) / len(ranked))}


def main() -> None:
    """Parse the command line and build."""
    defaults = Dataset()
    parser = argparse.ArgumentParser(prog="python -m jobs.build_dataset", description=__doc__.split("\n")[0])
    parser.add_argument(
        "questions", type=path_argument, metavar="QUESTIONS_DIR", help="folder that jobs.write_questions made"
    )
    parser.add_argument(
        "--out", type=path_argument, required=True, metavar="DIR", help="folder for research_qa/ and arc/"
    )
    parser.add_argument("--tokenizer", required=True, metavar="ID_OR_FOLDER", help="whose tokens are counted")
    parser.add_argument("--revision", default="main", help="of a tokenizer on the Hub (default: main)")
    parser.add_argument(
        "--arc", default="", metavar="REPOSITORY", help="ARC on the Hub, or a folder like it (default: none)"
    )
    parser.add_argument("--max-length", type=int, default=defaults.max_length, help="tokens of a row (default: 512)")
    parser.add_argument("--salt", default=defaults.salt, help="of the split by document (default: %(default)s)")
    given = parser.parse_args()
    if given.max_length < 32:
        raise UserError("--max-length: expected 32 or more")
    wanted = Dataset(arc=given.arc, max_length=given.max_length, salt=given.salt)
    record, worked = build_dataset(
        given.questions, given.out, tokenizer=given.tokenizer, revision=given.revision, dataset=wanted
    )
    for name, counts in record.figures["rows"].items():
        print(f"{name}: " + ", ".join(f"{count} {split}" for split, count in counts.items()))
    print(f"{'built' if worked else 'already built'}: {record.figures['dropped']} rows dropped, see dropped.jsonl")


if __name__ == "__main__":
    run_main(main)
