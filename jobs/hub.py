"""The only writer to the Hub: rights are checked before the first byte, and a repository changes in one commit or not.

How a commit is made once, whatever happens on the way, stands in `jobs.hub_commit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import RepositoryNotFoundError

from jobs.errors import UserError
from jobs.hub_commit import Target, commit
from jobs.hub_errors import HUB_ERRORS, explain
from jobs.hub_files import KEPT, Content, Kind, Local, difference, tree

PREFIXES: dict[Kind, str] = {"model": "", "dataset": "datasets/", "space": "spaces/"}  # of a repository's address
__all__ = [
    "Content", "Kind", "Published", "check_ours", "check_rights", "commit_files", "commit_of", "explain", "head_of",
]  # fmt: skip


@dataclass(frozen=True)
class Published:
    """A repository as it stands on the Hub; `committed` is false where it already held the same files."""

    repository: str
    kind: Kind
    revision: str
    address: str
    files: int
    bytes: int
    committed: bool
    private: bool = False


def check_rights(namespace: str, option: str = "--namespace") -> None:
    """Raise `UserError` unless there is a token, the Hub knows it, and it may write to the namespace of this option."""
    if not get_token():
        raise UserError(f"no token for {constants.ENDPOINT}: run `hf auth login`, or set HF_TOKEN to a write token")
    try:
        user = HfApi().whoami()
    except HUB_ERRORS as error:
        raise explain(error, constants.ENDPOINT) from None
    organisations = {entry["name"]: entry.get("roleInOrg") for entry in user.get("orgs", [])}
    token = user.get("auth", {}).get("accessToken", {})
    if token.get("role") == "read" or not _may_write(token, namespace):
        raise UserError(f"the token of {user['name']} may not write to {namespace}: set HF_TOKEN to a write token")
    if namespace != user["name"] and namespace not in organisations:
        mine = ", ".join([user["name"], *organisations])
        raise UserError(f"no right to the namespace {namespace}: the token is for {mine}; give {option} one of these")
    if organisations.get(namespace) == "read":
        raise UserError(f"{user['name']} may only read in {namespace}: ask an administrator there for the role `write`")


def commit_files(
    repository: str,
    kind: Kind,
    files: Mapping[str, Content],
    *,
    private: bool,
    title: str,
    variables: Mapping[str, str] | None = None,
) -> Published:
    """Make the repository hold exactly these files, in one commit; none where it does so already.

    `variables` are a new Space's; those of one that is there stay as they are.
    """
    api, here = HfApi(), {path: Local(content) for path, content in files.items()}
    try:
        head, is_private = _claim(api, repository, kind, private, variables or {})
        operations = difference(here, tree(api, repository, kind, head))
    except HUB_ERRORS as error:
        raise UserError(f"{explain(error, repository, kind)}; nothing was changed there") from None
    if operations:
        head = commit(Target(api, repository, kind, here, head), operations, title)
    size = sum(local.size for local in here.values())
    return Published(repository, kind, head, _address(repository, kind), len(files), size, bool(operations), is_private)


def check_ours(repository: str, kind: Kind, tag: str) -> None:
    """Raise `UserError` where a repository of that name holds something whose card lacks our tag: it would be lost."""
    try:
        info = HfApi().repo_info(repository, repo_type=kind)
    except RepositoryNotFoundError:
        return
    except HUB_ERRORS as error:
        raise explain(error, repository) from None
    foreign = sorted({entry.rfilename for entry in info.siblings or []} - {KEPT, "README.md"})
    if foreign and tag not in (info.tags or []):
        raise UserError(
            f"{repository}: holds {foreign[0]} and was not published from here; change --name, or pass --replace to "
            "delete what is there"
        )


def head_of(repository: str, kind: Kind) -> str | None:
    """The newest commit of a repository; None where there is no such repository."""
    try:
        return HfApi().repo_info(repository, repo_type=kind).sha
    except RepositoryNotFoundError:
        return None
    except HUB_ERRORS as error:
        raise explain(error, repository) from None


def commit_of(model: str, revision: str, subject: str = "") -> str:
    """The commit that a branch or tag of a model stands for now. Raises `UserError` where the Hub does not say.

    `subject` is what the error begins with, by default that it is a base model.
    """
    try:
        return HfApi().model_info(model, revision=revision).sha or revision
    except (*HUB_ERRORS, ConnectionError) as error:
        raise explain(error, subject or f"base model {model}") from None


def _may_write(token: dict[str, Any], namespace: str) -> bool:
    """Whether a fine-grained token names the namespace with the right to write; other tokens are not so limited."""
    if token.get("role") != "fineGrained":
        return True
    scopes = token.get("fineGrained", {}).get("scoped", [])
    return any(
        scope.get("entity", {}).get("name") == namespace and "repo.write" in scope.get("permissions", [])
        for scope in scopes
    )


def _address(repository: str, kind: Kind) -> str:
    return f"{constants.ENDPOINT}/{PREFIXES[kind]}{repository}"


def _claim(api: HfApi, repository: str, kind: Kind, private: bool, variables: Mapping[str, str]) -> tuple[str, bool]:
    """Create the repository unless it is there; its head, and whether it is private. None is made public here."""
    given = [{"key": key, "value": value} for key, value in variables.items()]
    space: dict[str, Any] = {"space_sdk": "gradio", "space_variables": given} if kind == "space" else {}
    api.create_repo(repository, repo_type=kind, private=private, exist_ok=True, **space)
    info = api.repo_info(repository, repo_type=kind)
    if private and not info.private:
        raise UserError(f"{repository}: is public, but --private was asked; make it private there or change --name")
    return info.sha, bool(info.private)
