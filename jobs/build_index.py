# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#   "bm25s==0.3.16", "numpy==2.4.6", "pydantic==2.14.3", "PyStemmer==3.1.0", "tqdm==4.70.1",
# ]
# [tool.uv]
# exclude-newer = "2026-11-23T00:00:00Z"
# [tool.hf-jobs]  # written by scripts/job_headers.py
# flavor = "cpu-upgrade"
# timeout = "1h"
# secrets = []
# volumes = ["./qa:/app/qa", "./jobs:/app/jobs", "./data_cards:/app/data_cards"]
# env.PYTHONPATH = "/app"
# env.PYTHONSAFEPATH = "1"
# env.UV_WORKING_DIR = "/app"
# ///

"""Build the index: passages → a folder that finds the passages which answer a question, by BM25.

    python -m jobs.build_index PASSAGES_DIR --out DIR

`DIR/passages.jsonl` holds the passages with `passages.offsets.npy`, where each begins; `DIR/bm25/` the words and their
scores; `DIR/manifest.json` counts, tokenizer, versions and the SHA-256 of every file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from jobs.arguments import path_argument
from jobs.errors import UserError, run_main
from jobs.progress import progress
from jobs.step import StepRecord, run_step, source_sha256
from qa.records import Passage, read_records

PASSAGES = "passages.jsonl"


def build_index(passages: Path, out: Path) -> tuple[StepRecord, bool]:
    """Index the passages of a folder that `collect` made. Raises `UserError` where there is nothing to index."""
    from qa import records, retrieval

    if not (passages / PASSAGES).is_file():
        raise UserError(f"{passages}: no {PASSAGES} in it; make it with python -m jobs.collect")
    return run_step(
        "build_index",
        out,
        arguments={"code": source_sha256(retrieval, records), "versions": retrieval.versions()},
        inputs={"passages": passages},
        work=lambda folder: _build(passages / PASSAGES, folder),
    )


def _build(source: Path, folder: Path) -> dict[str, Any]:
    from qa.retrieval import RetrievalError, build

    with source.open("rb") as lines:
        total = sum(1 for _ in lines)
    passages = progress(read_records(source, Passage), "indexing", total=total, unit="passage")
    try:
        return build(passages, folder, show_progress=sys.stderr.isatty())
    except RetrievalError as error:
        raise UserError(f"{source}: {error}") from error


def main() -> None:
    """Parse the command line and build."""
    parser = argparse.ArgumentParser(prog="python -m jobs.build_index", description=__doc__.split("\n")[0])
    parser.add_argument("passages", type=path_argument, metavar="PASSAGES_DIR", help="folder that jobs.collect made")
    parser.add_argument("--out", type=path_argument, required=True, metavar="DIR", help="folder for the index")
    given = parser.parse_args()
    record, worked = build_index(given.passages, given.out)
    counts = record.figures
    print(
        f"{'built' if worked else 'already built'}: {counts['passages']} passages of {counts['documents']} documents, "
        f"{counts['vocabulary']} words, {counts['bytes']} bytes"
    )


if __name__ == "__main__":
    run_main(main)
