# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#   "bm25s==0.3.16", "datasets==5.2.0", "datatrove==0.10.1", "httpx2==2.16.2", "huggingface-hub==2.4.0",
#   "Jinja2==3.1.6", "loguru==0.7.3", "numpy==2.4.6", "packaging==26.3", "py3langid==0.4.0", "pyarrow==26.0.1",
#   "pydantic==2.14.3", "pydantic-core==2.50.4", "PyStemmer==3.1.0", "PyYAML==6.0.3", "rensa==0.5.0", "rich==15.0.0",
#   "tqdm==4.70.1", "transformers==5.23.0",
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

"""Publish a run to the Hub: `python -m jobs.publish runs/tiny --namespace NAME [--name footnote-tiny] [--private]`.

Data set, passage index, base model, adapter, merged weights and GGUF files, each in a repository with its card, in one
commit each, to HF_ENDPOINT; `--space` deploys the page that serves them. Token, rights, cards and files are checked
before the first byte. What stands at the end gets the same tag everywhere: v1, then v1.1 where anything changed, or v2
with `--major`. Published again, a repository that already holds the same files gets no commit.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from huggingface_hub import constants

from jobs.arguments import path_argument
from jobs.card_facts import KINDS, Run
from jobs.card_render import TEMPLATES
from jobs.cards import space_header
from jobs.config import NAME
from jobs.errors import UserError, run_main
from jobs.hub import check_rights, head_of
from jobs.release import is_tagged
from jobs.sending import PUBLISHED_FILE, SPACE, Entries, Wish, earlier_of, send
from jobs.step import StepRecord, finished, run_step, source_sha256
from qa.artifacts import Repositories

OUT = "cards"
DECIDE = (  # modules of jobs that decide what the cards say, and what is published
    *("about", "card_documents", "card_facts", "card_gguf", "card_render", "card_results", "card_siblings", "cards"),
    *("dataset_card", "dataset_facts", "evaluation.result_table", "gate", "gguf_export.accuracy", "gguf_export.ollama"),
    *("gguf_ladder.table", "licence_names", "licences", "lineage", "page_files", "published_index", "published_items"),
    *("rejections", "release", "sending", "staging"),
)
SHARED = (  # and of qa
    *("artifacts", "ask_settings", "choices", "headline", "prompts", "published_files", "records", "retrieval"),
    "statistics",
)


def publish(
    run: Path,
    *,
    namespace: str,
    name: str,
    private: bool = False,
    only: Sequence[str] = (),
    replace: bool = False,
    major: bool = False,
    space: str = "",
) -> tuple[StepRecord, bool]:
    """Publish a run's artefacts (all kinds, or `only` some) as NAMESPACE/NAME-…; cards and revisions go to RUN/cards.

    `RUN/cards/published.json` maps each kind to its repository, revision, address and tag. Raises `UserError` before
    anything is sent where a check fails; `replace` lets repositories of these names lose what others put there.
    `space`, NAME or OWNER/NAME, is the page to deploy; empty for none.
    """
    page = _page(space, namespace)
    _check_options(run, {"--namespace": namespace, "--name": name} | _parts(page))
    for owner in dict.fromkeys([namespace, *page.split("/")[:-1]]):
        check_rights(owner, "--namespace" if owner == namespace else "--space")
    found = Run.read(run, Repositories(namespace, name))
    wish = Wish(_kinds(found, only), private, replace, major, page)
    asked = {"private": private, "only": wish.kinds, "major": major, "page": page}
    record, new = run_step(
        "publish",
        run / OUT,
        arguments={"namespace": namespace, "name": name, **asked, **_surroundings()},
        inputs={path.name: path for path in TEMPLATES.glob("*.md")} | {step: run / step for step in found.steps},
        work=lambda folder: send(found, wish, earlier_of(found, read_published(run / OUT)), folder),
        again=bool(page) or not _still_there(run / OUT),  # the page's own code is compared with what is there
    )
    if failed := record.figures["page_failed"]:
        raise UserError(failed)
    return record, new


def _page(space: str, namespace: str) -> str:
    return f"{namespace}/{space}" if space and "/" not in space else space


def _parts(page: str) -> dict[str, str]:
    owner, _, name = page.partition("/")
    return {"--space OWNER/": owner, "--space": name} if page else {}


def _check_options(run: Path, names: Mapping[str, str]) -> None:
    for option, value in names.items():
        if not re.fullmatch(NAME, value):
            raise UserError(
                f"{option} {value!r}: letters, digits, '.', '_' and '-' alone; it becomes a repository's name"
            )
    if not run.is_dir():
        raise UserError(f"{run}: no such folder; give the folder of a finished run, for example runs/tiny")


def _surroundings() -> dict[str, Any]:
    """What decides what is published beside the run and the options."""
    return {"hub": constants.ENDPOINT, "space": space_header(), "code": source_sha256(*_code())}


def _code() -> list[ModuleType]:
    """What decides the contents of a repository, and whether it is published."""
    return [import_module(name) for name in (*(f"jobs.{name}" for name in DECIDE), *(f"qa.{name}" for name in SHARED))]


def _kinds(run: Run, only: Sequence[str]) -> list[str]:
    """What is published, in order: each kind that the run has, or those asked for."""
    if absent := [kind for kind in only if kind not in run.kinds]:
        raise UserError(
            f"--only {absent[0] or '(empty)'}: {run.folder} has no such part; it has {', '.join(run.kinds)}"
        )
    return [kind for kind in run.kinds if not only or kind in only]


def _still_there(out: Path) -> bool:
    """Whether every repository stands at the revision that was published, with its tag: a finished step is still true.

    The page aside, which only `--space` looks at. Raises `UserError` where a tag was moved.
    """
    if not finished(out):
        return False
    entries = [entry for kind, entry in read_published(out).items() if kind != SPACE]
    stands = [head_of(entry["repository"], entry["kind"]) == entry["revision"] for entry in entries]
    return all(stands) and all(is_tagged(entry) for entry in entries)


def read_published(out: Path) -> Entries:
    """Kind → repository, revision, address of what was published from a run's cards folder; empty before the first."""
    path = out / PUBLISHED_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def print_table(record: StepRecord, new: bool) -> None:
    """What was published, with its addresses, and the tag that all of it has."""
    shown = record.figures["published"]
    entries = [shown[kind] for kind in (*KINDS, SPACE) if kind in shown]
    width = max(len(entry["repository"]) for entry in entries)
    for entry in entries:
        said = "published" if new and entry["committed"] else "unchanged"
        seen = ", private" if entry["private"] else ""
        print(f"{entry['repository']:<{width}}  {entry['revision'][:12]}  {entry['bytes']:>15,} bytes  {said}{seen}")
        print(f"{'':<{width}}  {entry['address']}")
    print(f"{'release':<{width}}  {record.figures['tag']}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m jobs.publish", description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=path_argument, help="folder of a finished run, for example runs/tiny")
    parser.add_argument("--namespace", required=True, help="user or organisation on the Hub")
    parser.add_argument("--name", help="of the repositories, before -lora and so on (default: footnote-RUN)")
    parser.add_argument("--private", action="store_true", help="only you, or your organisation, can read them")
    parser.add_argument("--only", metavar="KIND,…", help=f"of {', '.join(KINDS)}; the others stay")
    parser.add_argument("--replace", action="store_true", help="delete what others put into these repositories")
    parser.add_argument("--major", action="store_true", help="tag it v2, not v1.1; an unchanged v1 stays v1")
    named = {"nargs": "?", "const": "", "metavar": "[OWNER/]NAME"}
    parser.add_argument("--space", **named, help="deploy the page that serves them too (default: NAMESPACE/NAME)")
    options = parser.parse_args()
    name = options.name or f"footnote-{options.run.resolve().name}"
    record, new = publish(
        options.run,
        namespace=options.namespace,
        name=name,
        private=options.private,
        only=[] if options.only is None else options.only.split(","),
        replace=options.replace,
        major=options.major,
        space="" if options.space is None else options.space or name,
    )
    print_table(record, new)


if __name__ == "__main__":
    run_main(main)
