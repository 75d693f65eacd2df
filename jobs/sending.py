"""From a run to its repositories: everything is checked, then each is committed with a card that names those before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import DatasetCard, ModelCard, SpaceCard, constants
from huggingface_hub.errors import HfHubHTTPError

from jobs.card_facts import KINDS, Run
from jobs.card_render import TAG
from jobs.cards import render_card, render_space
from jobs.errors import UserError
from jobs.hub import check_ours, commit_files, explain
from jobs.progress import bar
from jobs.release import release
from jobs.staging import DATA_KINDS, Staged, renewed, stage
from jobs.step import write_json

PUBLISHED_FILE = "published.json"
SPACE = "space"
Published = dict[str, dict[str, Any]]  # kind → repository, revision, address and more


@dataclass(frozen=True)
class Wish:
    """What is asked of a publishing; `space` is OWNER/NAME of the page, empty for none."""

    kinds: Sequence[str]
    private: bool = False
    replace: bool = False
    major: bool = False
    space: str = ""


def send(run: Run, wish: Wish, earlier: Published, folder: Path) -> dict[str, Any]:
    """Publish these kinds, tag what stands then, deploy the page; cards and `published.json` are left in `folder`.

    `earlier` is what was published before and stands. Returns the figures of the step.
    """
    verified = run.verified
    staged = [stage(run, kind, _checked(run, kind, folder), folder / kind) for kind in wish.kinds]
    for each in staged:
        if not wish.replace and each.kind not in earlier:
            check_ours(each.repository, each.repo_type, TAG)
    if wish.space:
        _check_space(run, wish)
    published, tag = _publish(run, wish, staged, earlier, folder)
    write_json(folder / PUBLISHED_FILE, published)
    shown = [*wish.kinds, *([SPACE] if wish.space else [])]
    return {"published": {kind: published[kind] for kind in shown}, "tag": tag, "verified": asdict(verified)}


def _checked(run: Run, kind: str, folder: Path) -> str:
    """The card as it is before anything is known of the others, once the Hub has checked it."""
    card = render_card(run, kind)
    _write_card(folder, kind, card)
    _validate(DatasetCard if kind in DATA_KINDS else ModelCard, card, kind)
    return card


def _publish(run: Run, wish: Wish, staged: Sequence[Staged], earlier: Published, folder: Path) -> tuple[Published, str]:
    """Commit and tag, and the page last: where it cannot be made, everything else stands."""
    published = earlier | commit_all(run, staged, earlier, private=wish.private, folder=folder)
    tag = release(published, earlier=earlier, major=wish.major)
    card = render_space(run, {kind: entry["revision"] for kind, entry in published.items()})
    _write_card(folder, SPACE, card)
    _validate(SpaceCard, card, SPACE)
    if wish.space:
        published[SPACE] = _deploy(run, wish, published, tag)
        tag = release(published, earlier={})
    return {kind: entry | {"tag": tag} for kind, entry in published.items()}, tag


def commit_all(run: Run, staged: Sequence[Staged], earlier: Published, *, private: bool, folder: Path) -> Published:
    """Commit each repository, its card naming the commits of those before it; says by kind where each stands now."""
    published: Published = {}
    with bar(len(staged), "publish", unit="repository") as shown:
        for each in staged:
            shown.set_postfix_str(each.repository, refresh=False)  # a refresh would show the bar before its time
            run.revisions.clear()
            run.revisions.update(_before(each.kind, earlier | published))
            whole = renewed(run, each, render_card(run, each.kind))
            published[each.kind] = _commit(whole, private, published)
            _write_card(folder, each.kind, bytes(whole.files["README.md"]).decode())
            shown.update()
    return published


def _before(kind: str, published: Published) -> dict[str, str]:
    """The revisions of what goes out before this kind: a card that named a later one would never come to rest."""
    return {each: published[each]["revision"] for each in KINDS[: KINDS.index(kind)] if each in published}


def _commit(staged: Staged, private: bool, published: Published) -> dict[str, Any]:
    title = f"Publish {staged.repository.split('/')[1]}"
    try:
        return asdict(commit_files(staged.repository, staged.repo_type, staged.files, private=private, title=title))
    except UserError as error:
        raise UserError(f"{error}{_stands(published)}") from None


def _stands(published: Mapping[str, Mapping[str, Any]]) -> str:
    names = ", ".join(entry["repository"] for entry in published.values())
    return f"; published before it, and whole: {names}" if names else ""


def _check_space(run: Run, wish: Wish) -> None:
    from jobs import space_deploy

    owner, _, name = wish.space.partition("/")
    space_deploy.check(run.folder, owner, name, private=wish.private, replace=wish.replace)


def _deploy(run: Run, wish: Wish, published: Published, tag: str) -> dict[str, Any]:
    from jobs import space_deploy

    owner, _, name = wish.space.partition("/")
    try:
        return space_deploy.deploy(run.folder, owner, name, published, private=wish.private, wait=True)
    except UserError as error:
        raise UserError(f"{error}; all else is published, as {tag}") from None


def earlier_of(run: Run, published: Published) -> Published:
    """What was published before under the same names on the same Hub: it stands while only some kinds are published."""
    return {
        kind: entry
        for kind, entry in published.items()
        if entry["repository"] == getattr(run.names, kind, "") and entry["address"].startswith(f"{constants.ENDPOINT}/")
    }


def _write_card(folder: Path, kind: str, card: str) -> None:
    (folder / kind).mkdir(exist_ok=True)
    (folder / kind / "README.md").write_text(card, encoding="utf-8")


def _validate(card_class: type[ModelCard], card: str, kind: str) -> None:
    """Let the Hub itself check the card; a card that it refuses is a fault of the templates, and is left to rise."""
    try:
        card_class(card).validate()
    except (HfHubHTTPError, httpx2.HTTPError) as error:
        raise explain(error, f"the check of the card of {kind}") from None
