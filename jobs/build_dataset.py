# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#   "bm25s==0.3.16", "datasets==5.2.0", "httpx2==2.16.2", "huggingface-hub==2.4.0", "numpy==2.4.6", "packaging==26.3",
#   "py3langid==0.4.0", "pyarrow==26.0.1", "pydantic==2.14.3", "pydantic-core==2.50.4", "PyStemmer==3.1.0",
#   "PyYAML==6.0.3", "rensa==0.5.0", "tqdm==4.70.1", "transformers==5.23.0",
# ]
# [tool.uv]
# exclude-newer = "2026-11-23T00:00:00Z"
# [tool.hf-jobs]  # written by scripts/job_headers.py
# flavor = "cpu-upgrade"
# timeout = "4h"
# secrets = ["HF_TOKEN"]
# volumes = ["./qa:/app/qa", "./jobs:/app/jobs", "./data_cards:/app/data_cards"]
# env.PYTHONPATH = "/app"
# env.PYTHONSAFEPATH = "1"
# env.UV_WORKING_DIR = "/app"
# ///

"""Build the data set: own questions split by document, without sources and with, and ARC with its official splits.

    python -m jobs.build_dataset QUESTIONS_DIR --out DIR --tokenizer ID_OR_FOLDER [--passages PASSAGES_DIR]
        [--index INDEX_DIR] [--arc allenai/ai2_arc] [--against TASK ...]

Prompt–completion rows are in `DIR/research_qa/`, `DIR/reading/` (with sources, where passages are given) and
`DIR/arc/`, each as `train.parquet`, `validation.parquet` and `test.parquet`. `research_qa/test_recent.parquet` has
those test rows whose documents are dated after the base model's training, `passages/train.parquet` the passages.
Training holds no copy of a held-out row: `DIR/decontamination.json` is the report. `DIR/rejected.parquet` lists every
row that was left out, with the reason. ARC and MMLU are read through HF_ENDPOINT.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jobs.answering
import jobs.arc
import jobs.dates
import jobs.decontamination
import jobs.excerpts
import jobs.lots
import jobs.rows
import jobs.sentences
import jobs.shingles
import jobs.splits
import jobs.telling
import qa
from jobs import dataset_build, dataset_copies, dataset_figures, held_out_sets, own_questions, reading_rows
from jobs.arguments import date_argument, path_argument
from jobs.config import Dataset
from jobs.data_config import Decontamination, Reading
from jobs.dataset_build import OWN, PASSAGES, Sources, build, own_rows, refuse_empty
from jobs.errors import UserError, first_line, run_main
from jobs.evaluation import source_shelf, task_sources
from jobs.evaluation.built_tasks import RECENT_SPLIT
from jobs.held_out_sets import task_files
from jobs.own_questions import QUESTIONS, read_own
from jobs.rejections import FILE as REJECTED
from jobs.step import StepRecord, run_step, source_sha256
from qa.prompts import PromptEncoder


def build_dataset(
    questions: Path,
    out: Path,
    *,
    tokenizer: str,
    revision: str = "main",
    dataset: Dataset,
    seed: int = 17,
    passages: Path | None = None,
    index: Path | None = None,
    evaluated: Sequence[str] = (),
) -> tuple[StepRecord, bool]:
    """Build it from a folder that `write_questions` made; raises `UserError` for what is missing or damaged.

    `tokenizer` is a Hub id or a folder; `passages` is what `collect` made; by the tasks `evaluated` it will be scored.
    """
    named = {"tokenizer": tokenizer, "revision": revision, "seed": seed, "evaluated": list(evaluated)}
    sources = Sources(questions, passages, index, tuple(evaluated))
    return run_step(
        "build_dataset",
        out,
        arguments={**named, **dataset.model_dump(mode="json"), "code": _code()},
        inputs=_inputs(sources, tokenizer, dataset),
        work=lambda folder: build(sources, folder, load_encoder(tokenizer, revision), dataset, seed),
    )


def _inputs(sources: Sources, tokenizer: str, dataset: Dataset) -> dict[str, Path]:
    """Files and folders of this machine that decide the data set; raises `UserError` where there are no questions."""
    if not (sources.questions / QUESTIONS).is_file():
        raise UserError(f"{sources.questions}: no {QUESTIONS} in it; make it with python -m jobs.write_questions")
    inputs = {"questions": sources.questions} | task_files([*sources.evaluated, *dataset.decontamination.against])
    folders = {"passages": sources.passages, "index": sources.index}
    inputs |= {name: place for name, place in folders.items() if place}
    named = {"tokenizer": tokenizer, "arc": dataset.arc}
    return inputs | {name: Path(place) for name, place in named.items() if place and Path(place).is_dir()}


def _code() -> str:
    """Hash of what decides a row."""
    texts = jobs.answering, jobs.excerpts, jobs.sentences, jobs.rows, jobs.splits, jobs.dates, jobs.arc
    shared = jobs.decontamination, jobs.lots, jobs.shingles, jobs.telling, qa
    parts = dataset_build, dataset_copies, dataset_figures, held_out_sets, own_questions, reading_rows
    return source_sha256(sys.modules[__name__], *texts, *shared, *parts, source_shelf, task_sources)


def check_sides(questions: Path, dataset: Dataset) -> None:
    """Raise `UserError` where the questions of one side of the split are missing; takes a moment."""
    refuse_empty(own_rows(read_own(questions, dataset)[0]), str(questions), [])


def load_encoder(tokenizer: str, revision: str = "main") -> PromptEncoder:
    """The encoder of a tokenizer by Hub id and revision, or of a folder's.

    Raises `UserError` where it is missing or no ChatML tokenizer.
    """
    from transformers import AutoTokenizer

    try:
        return PromptEncoder.from_transformers(AutoTokenizer.from_pretrained(tokenizer, revision=revision))
    except (OSError, ValueError) as error:
        folder = Path(tokenizer)
        bare = folder.is_dir() and not any((*folder.glob("tokenizer*"), *folder.glob("vocab*")))
        reason = "no tokenizer files there" if bare else f"no usable tokenizer there ({first_line(error)})"
        raise UserError(f"{tokenizer}: {reason}; give a Hub id or a folder with a tokenizer") from None


def main() -> None:
    """Parse the command line and build."""
    given = _parser(Dataset()).parse_args()
    record, worked = build_dataset(
        given.questions,
        given.out,
        tokenizer=given.tokenizer,
        revision=given.revision,
        dataset=_wanted(given),
        seed=given.seed,
        passages=given.passages,
        index=given.index,
    )
    for line in _made(record.figures):
        print(line)
    dropped = record.figures["dropped"]
    rows = f"{dropped:,} row{'s' * (dropped != 1)}"
    print(f"{'built' if worked else 'already built'}: {rows} dropped, see {given.out / REJECTED}")


def _made(figures: dict[str, Any]) -> list[str]:
    """A line for each configuration with the rows of its splits, the recent slice and the passages too."""
    rows = {name: dict(counts) for name, counts in figures["rows"].items()}
    if recent := figures["recent"]["rows"]:
        rows[OWN][RECENT_SPLIT] = recent
    if published := figures["passages"]["rows"]:
        rows[PASSAGES] = {"train": published}
    return [
        f"{name}: " + ", ".join(f"{count:,} {split}" for split, count in part.items()) for name, part in rows.items()
    ]


def _wanted(given: argparse.Namespace) -> Dataset:
    """The settings that the command line asks for. Raises `UserError` for what no data set can have."""
    if given.max_length < 32:
        raise UserError("--max-length: expected 32 or more")
    if not 0 <= given.reading_share <= 1:
        raise UserError("--reading-share: expected a number from 0 to 1")
    if given.index and not given.passages:
        raise UserError("--index: name the passages that it is of too, with --passages")
    return Dataset(
        arc=given.arc,
        max_length=given.max_length,
        salt=given.salt,
        cutoff=given.cutoff,
        reading=Reading(share=given.reading_share),
        decontamination=Decontamination(against=tuple(given.against)),
    )


def _parser(defaults: Dataset) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jobs.build_dataset", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("questions", type=path_argument, metavar="QUESTIONS_DIR", help="folder that jobs.write_questions made")
    add("--out", type=path_argument, required=True, metavar="DIR", help="folder for the data set")
    add("--tokenizer", required=True, metavar="ID_OR_FOLDER", help="whose tokens are counted")
    add("--revision", default="main", help="of a tokenizer on the Hub (default: main)")
    add("--passages", type=path_argument, metavar="DIR", help="folder that jobs.collect made, for rows with sources")
    add("--index", type=path_argument, metavar="DIR", help="of these passages, by jobs.build_index (default: built)")
    add("--arc", default="", metavar="REPOSITORY", help="ARC on the Hub, or a folder like it (default: none)")
    against = "test sets to keep training apart from: mmlu:SUBJECT, arc_easy, a .parquet or .jsonl file"
    add("--against", nargs="+", default=[], metavar="TASK", help=against)
    share = defaults.reading.share
    asked = "of our own open questions, asked with their passage too (default: %(default)s)"
    add("--reading-share", type=float, default=share, help=asked)
    add("--cutoff", type=date_argument, default=defaults.cutoff, help="of the base model (default: %(default)s)")
    add("--max-length", type=int, default=defaults.max_length, help="tokens of a row (default: %(default)s)")
    add("--salt", default=defaults.salt, help="of the split by document (default: %(default)s)")
    add("--seed", type=int, default=17, help="by which rows with sources are drawn (default: %(default)s)")
    return parser


if __name__ == "__main__":
    run_main(main)
