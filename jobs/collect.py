# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#   "datasets==5.2.0", "datatrove==0.10.1", "docutils==0.23", "httpx2==2.16.2", "huggingface-hub==2.4.0",
#   "loguru==0.7.3", "lxml==6.1.3", "markdown-it-py==4.3.0", "mdit-py-plugins==0.7.0", "packaging==26.3",
#   "protego==0.7.0", "py3langid==0.4.0", "pyarrow==26.0.1", "pydantic==2.14.3", "pydantic-core==2.50.4",
#   "pylatexenc==2.11", "pypdfium2==5.15.2", "PyYAML==6.0.3", "rich==15.0.0", "tqdm==4.70.1", "trafilatura==2.3.1",
# ]
# [tool.uv]
# exclude-newer = "2026-11-23T00:00:00Z"
# [tool.hf-jobs]  # written by scripts/job_headers.py
# flavor = "cpu-upgrade"
# timeout = "8h"
# secrets = ["HF_TOKEN"]
# volumes = ["./qa:/app/qa", "./jobs:/app/jobs", "./data_cards:/app/data_cards"]
# env.PYTHONPATH = "/app"
# env.PYTHONSAFEPATH = "1"
# env.UV_WORKING_DIR = "/app"
# ///

"""Collect documents from where they are: files, arXiv, the web, the Hub → passages, with what was left out and why.

    python -m jobs.collect [PATH...] --out DIR [--arxiv 2106.09685] [--url https://...] [--hub OWNER/NAME]

`DIR/passages.jsonl` holds the passages, `DIR/documents.jsonl` the extracted texts that their offsets point into, and
`DIR/rejected.parquet` every document that gave no passage. A document that cannot be had or read never stops the
others. What is fetched is kept, so that nothing is asked for twice. Of a folder, hidden files and folders and folders
that are links are passed over.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import jobs.document_tally
import jobs.document_work
import jobs.documents
import jobs.language
import jobs.licence_names
import jobs.passages
import jobs.readers
import jobs.sentences
import jobs.sources
from jobs.arguments import path_argument
from jobs.config import Documents, Scale
from jobs.data_config import OPEN_LICENCES
from jobs.document_tally import DocumentTally, in_order, kind_of
from jobs.document_work import read_items
from jobs.documents import Item, UnreadableError
from jobs.errors import UserError, run_main
from jobs.progress import progress
from jobs.readers import FORMATS, refuse_unfit, sidecar_of
from jobs.rejections import FILE as REJECTED
from jobs.rejections import write_rejections
from jobs.shards import run_shards
from jobs.sources.find import Found, find
from jobs.sources.local import walk
from jobs.sources.net import Net
from jobs.step import CHECKPOINTS, StepRecord, file_sha256, run_step, source_sha256

PATHS = f"files or folders ({' '.join(FORMATS)}); hidden files, and folders that are links, are passed over"
CODE = (
    *(jobs.readers, jobs.documents, jobs.passages, jobs.sentences, jobs.sources),
    *(jobs.document_work, jobs.document_tally, jobs.language, jobs.licence_names),
)
OPTIONS = {"licences": "allow", "languages": "language"}  # settings whose option has another name


def collect(
    out: Path, *, documents: Documents, scale: Scale | None = None, net: Net | None = None
) -> tuple[StepRecord, bool]:
    """Read every document named into passages. Raises `UserError` for a missing path or where there is no passage.

    A document's id is its path below the folder given (its file name, for a file given by itself), `arxiv:ID`, its
    address without the scheme, or the data set and row. The record's figures count what came of them.
    """
    if not documents.named:
        raise UserError("no document is named; give files or folders, or --arxiv, --url or --hub")
    found = find(documents, net or Net())
    return run_step(
        "collect",
        out,
        arguments={
            **documents.model_dump(mode="json", exclude={"cache", "contact"}),
            "hub_commits": [papers.name for papers in found.hub],
            "files": _digest(found.items),
            "code": source_sha256(*CODE, sys.modules[__name__]),
        },
        inputs={},
        work=lambda folder: _collect(found, folder, documents, scale or Scale()),
    )


def _digest(items: Sequence[Item]) -> str:
    """SHA-256 over what is known of the documents, their bytes and what they include, wherever that is on this machine.

    Why a document could not be had counts by its kind: a server that is busy asks for another pause each time.
    """
    digest = hashlib.sha256()
    for item in items:
        path = Path(item.path)
        states = (_state(path), _state(sidecar_of(path))) if item.path else ()
        known = item.model_dump(exclude={"path", "root"}) | {"problem": kind_of(item.problem)}
        digest.update(json.dumps([known, states]).encode())
    for root in dict.fromkeys(Path(item.root) for item in items if item.path.lower().endswith(".tex") and item.root):
        for path in walk(root):
            if path.suffix.lower() == ".tex":
                digest.update(json.dumps([path.relative_to(root).as_posix(), _state(path)]).encode())
    return digest.hexdigest()


def _state(path: Path) -> str:
    """A file's SHA-256, or why it has none, so that the step runs again once it can be read."""
    try:
        refuse_unfit(path)
        return file_sha256(path)
    except FileNotFoundError:
        return "absent"
    except OSError:
        return "unreadable"
    except UnreadableError as error:
        return str(error)


def _collect(found: Found, folder: Path, documents: Documents, scale: Scale) -> dict[str, Any]:
    checkpoints = folder / CHECKPOINTS
    checkpoints.mkdir(exist_ok=True)
    total = found.write(checkpoints / "items.jsonl")
    work = partial(read_items, settings=documents.model_dump(mode="json"))
    results = run_shards("read", checkpoints / "items.jsonl", work, checkpoints, scale=scale)
    with DocumentTally(folder) as tally:
        write_rejections(folder / REJECTED, tally.rejections(progress(results, "writing", total=total)))
    if not tally.passages:
        kept = _left_behind(folder, total)
        read = total - tally.aside
        found_in = f"{read} document{'' if read == 1 else 's'}"
        raise UserError(f"{_named(documents)}: no passage found in {found_in}; {tally.why()}{kept}")
    return tally.figures(total)


def _left_behind(folder: Path, total: int) -> str:
    """Keep what was refused where no result will stand, and say where; nothing if there were no files.

    All else goes: only other documents or arguments can help.
    """
    checkpoints = folder / CHECKPOINTS
    shutil.rmtree(checkpoints)
    if not total:
        return ""
    checkpoints.mkdir()
    (folder / REJECTED).rename(checkpoints / REJECTED)
    return f"; all that was refused stands in {checkpoints / REJECTED}"


def _named(documents: Documents) -> str:
    names = [*documents.paths, *documents.arxiv, *documents.urls, *documents.hub]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m jobs.collect", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("paths", nargs="*", type=path_argument, metavar="PATH", help=PATHS)
    add("--out", type=path_argument, required=True, metavar="DIR", help="folder for passages.jsonl and the rest")
    add("--arxiv", nargs="+", default=(), metavar="ID|FILE", help="papers of arXiv, or files with an id a line")
    add("--url", nargs="+", default=(), metavar="URL|FILE", help="pages, or files with an address a line")
    add("--hub", nargs="+", default=(), metavar="OWNER/NAME[:CONFIG]", help="data sets of papers on the Hub")
    add("--licence", default="", help="licence of files that name none themselves")
    add(
        "--allow", nargs="+", default=(), metavar="LICENCE", help="licences taken beside the open ones, by SPDX's names"
    )
    add("--unstated", choices=("local", "all", "none"), default="local", help="which may name none (default: local)")
    add("--language", nargs="*", default=("en",), metavar="CODE", help="languages taken; none: any (default: en)")
    add("--contact", default="", metavar="MAIL", help="an e-mail address, told to every server that is asked")
    add("--cache", default="", metavar="DIR", help="folder of what was fetched (default: in the user's cache)")
    add("--refresh", action="store_true", help="fetch anew what was fetched before")
    add("--pdf", choices=("pdfium", "docling"), default="pdfium", help="reader of PDFs (default: pdfium)")
    add("--workers", type=int, default=1, metavar="N", help="processes that read at once (default: 1)")
    add("--min-chars", type=int, default=120, help="shortest passage, in characters (default: 120)")
    add("--max-chars", type=int, default=1200, help="longest passage, in characters (default: 1200)")
    return parser.parse_args()


def _documents(given: argparse.Namespace) -> Documents:
    if not 1 <= given.min_chars <= given.max_chars or given.max_chars < 200:
        raise UserError("--min-chars, --max-chars: expected 1 <= min <= max and max >= 200")
    if given.workers < 1:
        raise UserError("--workers: expected 1 or more")
    try:
        return _settings(given)
    except ValidationError as error:
        fault = error.errors()[0]
        name = str(fault["loc"][0])
        raise UserError(f"--{OPTIONS.get(name, name)}: {fault['msg'].removeprefix('Value error, ')}") from None


def _settings(given: argparse.Namespace) -> Documents:
    return Documents(
        paths=tuple(map(str, given.paths)),
        arxiv=tuple(given.arxiv),
        urls=tuple(given.url),
        hub=tuple(given.hub),
        licence=given.licence,
        licences=(*OPEN_LICENCES, *given.allow),
        unstated=given.unstated,
        languages=tuple(given.language),
        contact=given.contact,
        cache=given.cache,
        pdf=given.pdf,
        passage_min_chars=given.min_chars,
        passage_max_chars=given.max_chars,
    )


def main() -> None:
    """Parse the command line and collect."""
    given = _arguments()
    documents, scale = _documents(given), Scale(workers=given.workers)
    record, worked = collect(given.out, documents=documents, scale=scale, net=Net(refresh=given.refresh))
    counts = record.figures
    done = "collected" if worked else "already collected"
    print(f"{done}: {counts['documents']} documents, {counts['passages']} passages, {counts['rejected']} rejected")
    if counts["rejected"]:
        why = ", ".join(f"{reason}: {count}" for reason, count in in_order(counts["rejected_by_reason"]))
        print(f"rejected: {counts['rejected']} ({why}); see {given.out / REJECTED}")
    if missing := counts["missing_includes"]:
        print(f"missing includes: {missing}; their documents were read without them; see {given.out / REJECTED}")


if __name__ == "__main__":
    run_main(main)
