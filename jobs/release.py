"""Release tags `v1`, `v1.1`, …: the same one on the published commit of every repository, or a new one on each.

Nothing changed, nothing is tagged. A release that was cut short, with its tag on some repositories, is completed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from huggingface_hub import HfApi

from jobs.errors import UserError
from jobs.hub import explain
from jobs.hub_errors import HUB_ERRORS

Entry = Mapping[str, Any]  # repository, kind, revision, perhaps tag: as `published.json` has it
Version = tuple[int, int]
_TAG = re.compile(r"v([1-9]\d*)(?:\.([1-9]\d*))?")


def release(published: Mapping[str, Entry], *, earlier: Mapping[str, Entry], major: bool = False) -> str:
    """The tag under which these revisions stand now, on every one of the repositories; `major` starts v2.

    `earlier` is what was known of the last publishing. Raises `UserError` where a tag of ours was moved since.
    """
    tags = {kind: _tags(entry) for kind, entry in published.items()}
    for kind, entry in earlier.items():
        if kind in tags:
            _check_unmoved(entry, tags[kind])
    newest = max((version for found in tags.values() for version in found), default=None)
    changed = any(tags[kind].get(newest, entry["revision"]) != entry["revision"] for kind, entry in published.items())
    version = (1, 0) if newest is None else _next(newest, changed, major)
    for kind, entry in published.items():
        if version not in tags[kind]:
            _put(entry, version)
    return name_of(version)


def is_tagged(entry: Entry) -> bool:
    """Whether the tag of the last publishing is there. Raises `UserError` where it stands at another commit."""
    tags = _tags(entry)
    _check_unmoved(entry, tags)
    return entry.get("tag", "") in map(name_of, tags)


def name_of(version: Version) -> str:
    """`v1` of (1, 0), `v1.2` of (1, 2)."""
    major, minor = version
    return f"v{major}.{minor}" if minor else f"v{major}"


def _next(newest: Version, changed: bool, major: bool) -> Version:
    if major and (changed or newest[1]):
        return newest[0] + 1, 0
    return (newest[0], newest[1] + 1) if changed else newest


def _tags(entry: Entry) -> dict[Version, str]:
    """Version → the commit that it stands for; tags in other forms are nobody's business here."""
    try:
        refs = HfApi().list_repo_refs(entry["repository"], repo_type=entry["kind"])
    except HUB_ERRORS as error:
        raise _failed(error, entry) from None
    matches = ((_TAG.fullmatch(tag.name), tag.target_commit) for tag in refs.tags)
    return {(int(match[1]), int(match[2] or 0)): commit for match, commit in matches if match}


def _check_unmoved(entry: Entry, tags: Mapping[Version, str]) -> None:
    """Raise `UserError` where the tag of the last publishing stands at another commit than it was put on."""
    match = _TAG.fullmatch(entry.get("tag", ""))
    there = tags.get((int(match[1]), int(match[2] or 0)), entry["revision"]) if match else entry["revision"]
    if there != entry["revision"]:
        raise UserError(
            f"{entry['repository']}: its tag {entry['tag']} was put on {entry['revision'][:12]} and stands at "
            f"{there[:12]} now; delete the tag there, and run the same command again"
        )


def _put(entry: Entry, version: Version) -> None:
    repository, kind, tag = entry["repository"], entry["kind"], name_of(version)
    try:
        HfApi().create_tag(repository, tag=tag, revision=entry["revision"], repo_type=kind)
    except HUB_ERRORS as error:
        there = _tags(entry).get(version)  # its answer may be lost, or another run may have been quicker
        if there is None:
            raise _failed(error, entry) from None
        if there != entry["revision"]:
            raise UserError(
                f"{repository}: somebody has just put the tag {tag} on {there[:12]}, which is not what was published "
                f"({entry['revision'][:12]}); delete it there, and run the same command again"
            ) from None


def _failed(error: Exception, entry: Entry) -> UserError:
    said = explain(error, f"the tag of {entry['repository']}")
    return UserError(f"{said}; the files are published, and the same command completes the tags")
