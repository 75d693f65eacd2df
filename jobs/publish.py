"""Publish a run to the Hub: `python -m jobs.publish runs/tiny --namespace NAME [--name footnote-tiny] [--private]`.

Data set, passage index, base model, adapter, merged weights and GGUF files, each in a repository with its card, in one
commit each, to HF_ENDPOINT. Token, rights, cards and files are checked before the first byte. Published again, a
repository that already holds the same files gets no commit.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
from huggingface_hub import DatasetCard, ModelCard, SpaceCard, constants
from huggingface_hub.errors import HfHubHTTPError

from jobs.arguments import path_argument
from jobs.card_facts import Run
from jobs.card_render import TAG, TEMPLATES
from jobs.cards import render_cards, render_space, space_header
from jobs.config import NAME
from jobs.errors import UserError, run_main
from jobs.hub import check_ours, check_rights, commit_files, explain, head_of
from jobs.progress import bar
from jobs.published_index import is_published
from jobs.staging import DATA_KINDS, KINDS, Staged, stage
from jobs.step import StepRecord, finished, run_step, source_sha256, write_json
from qa.artifacts import Repositories

OUT, PUBLISHED_FILE = "cards", "published.json"


def publish(
    run: Path, *, namespace: str, name: str, private: bool = False, only: Sequence[str] = (), replace: bool = False
) -> tuple[StepRecord, bool]:
    """Publish a run's artefacts (all kinds, or `only` some) as NAMESPACE/NAME-…; cards and revisions go to RUN/cards.

    `RUN/cards/published.json` maps each kind to its repository, revision and address. Raises `UserError` before
    anything is sent where a check fails; `replace` lets repositories of these names lose what others put there.
    """
    _check_options(run, namespace, name)
    check_rights(namespace)
    found = Run.read(run, Repositories(namespace, name))
    kinds = _kinds(found, only)
    return run_step(
        "publish",
        run / OUT,
        arguments={"namespace": namespace, "name": name, "private": private, "only": kinds, **_surroundings()},
        inputs={path.name: path for path in TEMPLATES.glob("*.md")} | {step: run / step for step in found.steps},
        work=lambda folder: _work(found, kinds, private, replace, folder),
        again=not _still_there(run / OUT),
    )


def _check_options(run: Path, namespace: str, name: str) -> None:
    for option, value in (("--namespace", namespace), ("--name", name)):
        if not re.fullmatch(NAME, value):
            raise UserError(
                f"{option} {value!r}: letters, digits, '.', '_' and '-' alone; it becomes a repository's name"
            )
    if not run.is_dir():
        raise UserError(f"{run}: no such folder; give the folder of a finished run, for example runs/tiny")


def _surroundings() -> dict[str, Any]:
    """What decides what is published beside the run and the options."""
    return {"hub": constants.ENDPOINT, "space": space_header(), "code": source_sha256(*_code())}


def _code() -> tuple[ModuleType, ...]:
    """What decides the contents of a repository, and whether it is published."""
    from jobs import card_render, cards, dataset_card, gate, licence_names, lineage, staging
    from jobs.gguf_export import accuracy

    return *_facts(), card_render, cards, dataset_card, accuracy, gate, licence_names, lineage, staging


def _facts() -> tuple[ModuleType, ...]:
    """What decides the figures and files that the cards and the page show."""
    import qa.prompts
    import qa.published_files
    import qa.retrieval
    from jobs import (
        about,
        card_documents,
        card_facts,
        card_gguf,
        card_results,
        dataset_facts,
        licences,
        page_files,
        published_index,
        published_items,
    )
    from jobs.gguf_export import ollama
    from jobs.gguf_ladder import table

    cards = (card_documents, card_facts, card_gguf, card_results, dataset_facts, licences, ollama, table)
    return *cards, about, page_files, published_index, published_items, qa.prompts, qa.published_files, qa.retrieval


def _kinds(run: Run, only: Sequence[str]) -> list[str]:
    """What is published, in order: each kind that the run has; an index only where a passage of it may go out."""
    there = [kind for kind in KINDS if kind in run.steps and (kind != "index" or is_published(run))]
    if absent := [kind for kind in only if kind not in there]:
        raise UserError(f"--only {absent[0]}: {run.folder} has no such part; it has {', '.join(there)}")
    return [kind for kind in there if not only or kind in only]


def _still_there(out: Path) -> bool:
    """Whether every repository stands at the revision that was published, so that a finished step is still true."""
    if not finished(out):
        return False
    entries = read_published(out)
    return all(head_of(entry["repository"], entry["kind"]) == entry["revision"] for entry in entries.values())


def read_published(out: Path) -> dict[str, dict[str, Any]]:
    """Kind → repository, revision, address of what was published from a run's cards folder; empty before the first."""
    path = out / PUBLISHED_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _work(run: Run, kinds: Sequence[str], private: bool, replace: bool, folder: Path) -> dict[str, Any]:
    verified = run.verified
    cards = render_cards(run)
    for kind, card in cards.items():
        _write_card(folder, kind, card)
        _validate(DatasetCard if kind in DATA_KINDS else ModelCard, card, kind)
    staged = [stage(run, kind, cards[kind], folder / kind) for kind in kinds]
    earlier = _earlier(run)
    for each in staged:
        if not replace and each.kind not in earlier:
            check_ours(each.repository, each.repo_type, TAG)
    published = earlier | _send(staged, private)
    write_json(folder / PUBLISHED_FILE, published)
    space = render_space(run, {kind: entry["revision"] for kind, entry in published.items()})
    _write_card(folder, "space", space)
    _validate(SpaceCard, space, "space")
    return {"published": {kind: published[kind] for kind in kinds}, "verified": asdict(verified)}


def _earlier(run: Run) -> dict[str, dict[str, Any]]:
    """What was published before under the same names on the same Hub: it stands while only some kinds are published."""
    return {
        kind: entry
        for kind, entry in read_published(run.folder / OUT).items()
        if entry["repository"] == getattr(run.names, kind) and entry["address"].startswith(f"{constants.ENDPOINT}/")
    }


def _send(staged: Sequence[Staged], private: bool) -> dict[str, dict[str, Any]]:
    """Commit each repository, and say by kind where it stands now."""
    published: dict[str, dict[str, Any]] = {}
    with bar(len(staged), "publish", unit="repository") as shown:
        for each in staged:
            shown.set_postfix_str(each.repository, refresh=False)  # a refresh would show the bar before its time
            title = f"Publish {each.repository.split('/')[1]}"
            done = commit_files(each.repository, each.repo_type, each.files, private=private, title=title)
            published[each.kind] = asdict(done)
            shown.update()
    return published


def _write_card(folder: Path, kind: str, card: str) -> None:
    (folder / kind).mkdir(exist_ok=True)
    (folder / kind / "README.md").write_text(card, encoding="utf-8")


def _validate(card_class: type[ModelCard], card: str, kind: str) -> None:
    """Let the Hub itself check the card; a card that it refuses is a fault of the templates, and is left to rise."""
    try:
        card_class(card).validate()
    except (HfHubHTTPError, httpx2.HTTPError) as error:
        raise explain(error, f"the check of the card of {kind}") from None


def print_table(record: StepRecord, new: bool) -> None:
    """What was published, with its addresses."""
    entries = [record.figures["published"][kind] for kind in KINDS if kind in record.figures["published"]]
    width = max(len(entry["repository"]) for entry in entries)
    for entry in entries:
        said = "published" if new and entry["committed"] else "unchanged"
        print(f"{entry['repository']:<{width}}  {entry['revision'][:12]}  {entry['bytes']:>15,} bytes  {said}")
        print(f"{'':<{width}}  {entry['address']}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m jobs.publish", description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=path_argument, help="folder of a finished run, for example runs/tiny")
    parser.add_argument("--namespace", required=True, help="user or organisation on the Hub")
    parser.add_argument("--name", help="of the repositories, before -lora and so on (default: footnote-RUN)")
    parser.add_argument("--private", action="store_true", help="only you, or your organisation, can read them")
    parser.add_argument("--only", default="", metavar="KIND,…", help=f"of {', '.join(KINDS)}; the others stay")
    parser.add_argument("--replace", action="store_true", help="delete what others put into these repositories")
    options = parser.parse_args()
    record, new = publish(
        options.run,
        namespace=options.namespace,
        name=options.name or f"footnote-{options.run.resolve().name}",
        private=options.private,
        only=[kind for kind in options.only.split(",") if kind],
        replace=options.replace,
    )
    print_table(record, new)


if __name__ == "__main__":
    run_main(main)
