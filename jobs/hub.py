"""The only writer to the Hub: rights are checked before the first byte, and a repository changes in one commit or not.

A commit whose answer is lost may have landed all the same (huggingface_hub does not repeat it), so after any error the
head is read again and compared, file by file, with what was to be published.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from jobs.errors import UserError
from jobs.step import file_sha256
from qa.redaction import redact

Kind = Literal["model", "dataset"]
Content = Path | bytes
KEPT = ".gitattributes"  # made by the Hub itself with the repository
# RuntimeError wraps the failure of one large file; ValueError is what the Hub says against storing it (its quota).
UPLOAD_ERRORS = (HfHubHTTPError, httpx2.HTTPError, ConnectionError, RuntimeError, ValueError)


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


def check_rights(namespace: str) -> None:
    """Raise `UserError` unless there is a token, the Hub knows it, and it may write to the namespace."""
    if not get_token():
        raise UserError(f"no token for {constants.ENDPOINT}: run `hf auth login`, or set HF_TOKEN to a write token")
    try:
        user = HfApi().whoami()
    except (HfHubHTTPError, httpx2.HTTPError) as error:
        raise explain(error, constants.ENDPOINT) from None
    organisations = {entry["name"]: entry.get("roleInOrg") for entry in user.get("orgs", [])}
    token = user.get("auth", {}).get("accessToken", {})
    if token.get("role") == "read" or not _may_write(token, namespace):
        raise UserError(f"the token of {user['name']} may not write to {namespace}: set HF_TOKEN to a write token")
    if namespace != user["name"] and namespace not in organisations:
        mine = ", ".join([user["name"], *organisations])
        raise UserError(f"no right to the namespace {namespace}: the token is for {mine}; pass one with --namespace")
    if organisations.get(namespace) == "read":
        raise UserError(f"{user['name']} may only read in {namespace}: ask an administrator there for the role `write`")


def commit_files(repository: str, kind: Kind, files: Mapping[str, Content], *, private: bool, title: str) -> Published:
    """Make the repository hold exactly these files, in one commit; none where it does so already."""
    api, address = HfApi(), f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{repository}"
    try:
        head = _claim(api, repository, kind, private)
        operations = _difference(files, _tree(api, repository, kind, head))
    except (HfHubHTTPError, HFValidationError, httpx2.HTTPError) as error:
        raise explain(error, repository) from None
    size = sum(_size(content) for content in files.values())
    if operations:
        head = _commit(api, repository, kind, operations, files=files, head=head, title=title)
    return Published(repository, kind, head, address, len(files), size, bool(operations))


def check_ours(repository: str, kind: Kind, tag: str) -> None:
    """Raise `UserError` where a repository of that name holds something whose card lacks our tag: it would be lost."""
    try:
        info = HfApi().repo_info(repository, repo_type=kind)
    except RepositoryNotFoundError:
        return
    except (HfHubHTTPError, HFValidationError, httpx2.HTTPError) as error:
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
    except (HfHubHTTPError, httpx2.HTTPError) as error:
        raise explain(error, repository) from None


def commit_of(model: str, revision: str, subject: str = "") -> str:
    """The commit that a branch or tag of a model stands for now. Raises `UserError` where the Hub does not say.

    `subject` is what the error begins with, by default that it is a base model.
    """
    try:
        return HfApi().model_info(model, revision=revision).sha or revision
    except (HfHubHTTPError, HFValidationError, httpx2.HTTPError, ConnectionError) as error:
        raise explain(error, subject or f"base model {model}") from None


def explain(error: BaseException | None, subject: str) -> UserError:
    """What an error of the Hub's client means for who runs the command."""
    hub = constants.ENDPOINT
    if not isinstance(error, HfHubHTTPError):
        if isinstance(error, HFValidationError):
            return UserError(f"{subject}: not a repository's name ({error}); choose others with --namespace and --name")
        if isinstance(error, ValueError):
            return UserError(f"{subject}: {hub} does not take it ({' '.join(str(error).split())}); nothing was changed")
        return UserError(f"{subject}: the Hub at {hub} cannot be reached ({error}); check the network or HF_ENDPOINT")
    status, said = error.response.status_code, redact(error.server_message or "no reason given")
    advice = {
        401: "the token is not known there; run `hf auth login` or set HF_TOKEN",
        402: "a paid plan is needed there",
        403: "the token has no right to this; set HF_TOKEN to a token that may write there",
        404: "no such repository there, or a private one; check the name and the token's rights",
        409: "another commit is in progress; run the same command again",
        412: "somebody else committed meanwhile; run the same command again",
    }.get(status, "try again later: what is already there is not sent again")
    return UserError(f"{subject}: {hub} answered {status} ({said}): {advice}")


def _may_write(token: dict[str, Any], namespace: str) -> bool:
    """Whether a fine-grained token names the namespace with the right to write; other tokens are not so limited."""
    if token.get("role") != "fineGrained":
        return True
    scopes = token.get("fineGrained", {}).get("scoped", [])
    return any(
        scope.get("entity", {}).get("name") == namespace and "repo.write" in scope.get("permissions", [])
        for scope in scopes
    )


def _claim(api: HfApi, repository: str, kind: Kind, private: bool) -> str:
    """Create the repository unless it is there, and return its head. Never makes public what was to be private."""
    api.create_repo(repository, repo_type=kind, private=private, exist_ok=True)
    info = api.repo_info(repository, repo_type=kind)
    if private and not info.private:
        raise UserError(f"{repository}: is public, but --private was asked; make it private there or change --name")
    return info.sha


def _tree(api: HfApi, repository: str, kind: Kind, revision: str) -> dict[str, tuple[int, str]]:
    """Path → size and identity: SHA-256 of what is stored as LFS, git's SHA-1 of the rest."""
    entries = api.list_repo_tree(repository, recursive=True, revision=revision, repo_type=kind)
    return {
        entry.path: (entry.size, entry.lfs.sha256 if entry.lfs else entry.blob_id)
        for entry in entries
        if isinstance(entry, RepoFile)
    }


def _difference(
    files: Mapping[str, Content], there: Mapping[str, tuple[int, str]]
) -> list[CommitOperationAdd | CommitOperationDelete]:
    stale = [path for path in there if path not in files and path != KEPT]
    changed = [path for path, content in files.items() if not (path in there and _same(content, *there[path]))]
    return [
        *(CommitOperationAdd(path_in_repo=path, path_or_fileobj=files[path]) for path in sorted(changed)),
        *(CommitOperationDelete(path_in_repo=path) for path in sorted(stale)),
    ]


def _commit(
    api: HfApi,
    repository: str,
    kind: Kind,
    operations: list[CommitOperationAdd | CommitOperationDelete],
    *,
    files: Mapping[str, Content],
    head: str,
    title: str,
) -> str:
    try:
        done = api.create_commit(repository, operations, commit_message=title, parent_commit=head, repo_type=kind)
    except UPLOAD_ERRORS as error:
        with suppress(HfHubHTTPError, httpx2.HTTPError):  # the first error is the one to tell of
            now = api.repo_info(repository, repo_type=kind).sha
            if now != head and not _difference(files, _tree(api, repository, kind, now)):
                return now
        raise explain(error.__cause__ if isinstance(error, RuntimeError) else error, repository) from None
    return done.oid


def _same(content: Content, size: int, identity: str) -> bool:
    if _size(content) != size:
        return False
    return identity == (_git_sha1(content, size) if len(identity) == 40 else _sha256(content))


def _size(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _sha256(content: Content) -> str:
    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else file_sha256(content)


def _git_sha1(content: Content, size: int) -> str:
    data = content if isinstance(content, bytes) else content.read_bytes()
    return hashlib.sha1(f"blob {size}\0".encode() + data, usedforsecurity=False).hexdigest()
