"""From a run to its repositories: everything is checked, then each is committed with a card that names those before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, ModelCard, SpaceCard, constants

from jobs.card_facts import KINDS, Run
from jobs.card_render import TAG
from jobs.cards import render_card, render_space
from jobs.errors import UserError
from jobs.hub import check_ours, commit_files, explain
from jobs.hub_errors import HUB_ERRORS
from jobs.progress import bar
from jobs.release import release
from jobs.staging import DATA_KINDS, Staged, renewed, stage
from jobs.step import write_json

PUBLISHED_FILE = "published.json"
SPACE = "space"
Entries = dict[str, dict[str, Any]]  # kind → repository, revision, address and more


@dataclass(frozen=True)
class Wish:
    """What is asked of a publishing; `space` is OWNER/NAME of the page, empty for none."""

    kinds: Sequence[str]
    private: bool = False
    replace: bool = False
    major: bool = False
    space: str = ""


def send(run: Run, wish: Wish, earlier: Entries, folder: Path) -> dict[str, Any]:
    """Publish these kinds, tag what stands then, deploy the page; cards and `published.json` are left in `folder`.

    `earlier` is what was published before and stands. Returns the figures of the step: `page_failed` says why there is
    no page, since what was published beside it is to be recorded all the same.
    """
    verified = run.verified
    page = {SPACE: earlier[SPACE]} if SPACE in earlier else {}
    earlier = {kind: entry for kind, entry in earlier.items() if kind != SPACE}
    if wish.space:
        _check_page(run, wish, earlier)
    staged = [stage(run, kind, _checked(run, kind, folder), folder / kind) for kind in wish.kinds]
    for each in staged:
        if not wish.replace and each.kind not in earlier:
            check_ours(each.repository, each.repo_type, TAG)
    _validate(SpaceCard, render_space(run, dict.fromkeys({*wish.kinds, *earlier}, "0" * 40)), SPACE)
    published, tag = _publish(run, wish, staged, earlier, folder)
    made, failed = _deploy(run, wish.space, published, tag) if wish.space else ({}, "")
    if made:
        tag = release(published | made, earlier={})
    published = {kind: entry | {"tag": tag} for kind, entry in (published | made).items()}
    write_json(folder / PUBLISHED_FILE, page | published)
    shown = {kind: published[kind] for kind in (*wish.kinds, *made)}
    return {"published": shown, "tag": tag, "verified": asdict(verified), "page_failed": failed}


def _checked(run: Run, kind: str, folder: Path) -> str:
    """The card as it is before anything is known of the others, once the Hub has checked it."""
    card = render_card(run, kind)
    _write_card(folder, kind, card)
    _validate(DatasetCard if kind in DATA_KINDS else ModelCard, card, kind)
    return card


def _publish(run: Run, wish: Wish, staged: Sequence[Staged], earlier: Entries, folder: Path) -> tuple[Entries, str]:
    """Commit all but the page, and tag it; the page's card is left in `folder` too."""
    published = earlier | commit_all(run, staged, earlier, private=wish.private, folder=folder)
    tag = release(published, earlier=earlier, major=wish.major)
    card = render_space(run, {kind: entry["revision"] for kind, entry in published.items()})
    _write_card(folder, SPACE, card)
    return published, tag


def commit_all(run: Run, staged: Sequence[Staged], earlier: Entries, *, private: bool, folder: Path) -> Entries:
    """Commit each repository, its card naming the commits of those before it; says by kind where each stands now."""
    published: Entries = {}
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


def _before(kind: str, published: Entries) -> dict[str, str]:
    """The revisions of what goes out before this kind: a card that named a later one would never come to rest."""
    return {each: published[each]["revision"] for each in KINDS[: KINDS.index(kind)] if each in published}


def _commit(staged: Staged, private: bool, published: Entries) -> dict[str, Any]:
    title = f"Publish {staged.repository.split('/')[1]}"
    try:
        return asdict(commit_files(staged.repository, staged.repo_type, staged.files, private=private, title=title))
    except UserError as error:
        raise UserError(f"{error}{_stands(published)}") from None


def _stands(published: Mapping[str, Mapping[str, Any]]) -> str:
    names = ", ".join(entry["repository"] for entry in published.values())
    return f"; published before it, and whole: {names}" if names else ""


def _check_page(run: Run, wish: Wish, earlier: Entries) -> None:
    from jobs import space_deploy

    space_deploy.check(run, wish.space, wish.kinds, earlier, private=wish.private, replace=wish.replace)


def _deploy(run: Run, page: str, published: Entries, tag: str) -> tuple[Entries, str]:
    """The page's entry; where it cannot be made there is none, but what to say of it."""
    from jobs import space_deploy

    try:
        return {SPACE: space_deploy.deploy(run, page, published)}, ""
    except UserError as error:
        return {}, f"{error}; all else is published, as {tag}"


def earlier_of(run: Run, published: Entries) -> Entries:
    """What was published before under the same names on the same Hub: it stands while only some kinds are published.

    So does the page that serves these models.
    """
    here = {kind: each for kind, each in published.items() if each["address"].startswith(f"{constants.ENDPOINT}/")}
    same = {kind: each for kind, each in here.items() if each["repository"] == getattr(run.names, kind, "")}
    return same | {kind: each for kind, each in here.items() if kind == SPACE and "gguf" in same}


def _write_card(folder: Path, kind: str, card: str) -> None:
    (folder / kind).mkdir(exist_ok=True)
    (folder / kind / "README.md").write_text(card, encoding="utf-8")


def _validate(card_class: type[ModelCard], card: str, kind: str) -> None:
    """Let the Hub itself check the card; a card that it refuses is a fault of the templates, and is left to rise."""
    try:
        card_class(card).validate()
    except HUB_ERRORS as error:
        raise explain(error, f"the check of the card of {kind}") from None
