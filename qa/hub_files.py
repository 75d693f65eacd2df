"""Files of repositories on the Hub, through the Hub's own client and its cache; every failure is one line.

With the Hub down, what was fetched before at that revision is used.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import (
    _CACHED_NO_EXIST,
    HfApi,
    constants,
    hf_hub_download,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm import tqdm

from qa.artifacts import ArtifactError, MissingFileError, Reference
from qa.redaction import redact

Progress = Callable[[int, int], None]  # bytes done, bytes in all


def list_files(repository: str, revision: str, variable: str) -> list[str]:
    """Names of a repository's files; with the Hub down, of those that were pulled before."""
    try:
        found = HfApi().model_info(repository, revision=revision)  # one request: a listing is repeated for 23 s
        return [entry.rfilename for entry in found.siblings or []]
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, httpx2.HTTPError) as error:
        if _is_answer(error):
            raise ArtifactError(_explain(error, Reference(repository, revision), variable)) from None
        return _cached_files(repository, revision, variable, error)


def _cached_files(repository: str, revision: str, variable: str, error: Exception) -> list[str]:
    try:
        folder = snapshot_download(repository, revision=revision, local_files_only=True)
    except IncompleteSnapshotError as partial:
        folder = partial.snapshot_path
    except LocalEntryNotFoundError:
        raise ArtifactError(_explain(error, Reference(repository, revision), variable)) from None
    return [path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()]


def fetch(
    reference: Reference, kind: str, variable: str, progress: Progress | None = None, *, again: bool = False
) -> Path:
    """The path of one file in the cache. Raises `ArtifactError`; `MissingFileError` where the repository has none."""
    try:
        path = hf_hub_download(
            reference.repository,
            reference.filename or "",
            revision=reference.revision,
            repo_type=kind,
            force_download=again,
            tqdm_class=_bar(progress) if progress else None,
        )
    except (HfHubHTTPError, HFValidationError, httpx2.HTTPError, OSError) as error:
        kind_of_error = MissingFileError if _is_absent(error, reference, kind) else ArtifactError
        raise kind_of_error(_explain(error, reference, variable)) from None
    return Path(path)


def fetch_folder(
    reference: Reference, kind: str, variable: str, patterns: Sequence[str], *, again: bool = False
) -> Path:
    """The folder in the cache that holds the files of these names. Raises `ArtifactError`."""
    try:
        folder = snapshot_download(
            reference.repository,
            revision=reference.revision,
            repo_type=kind,
            allow_patterns=list(patterns),
            force_download=again,
            tqdm_class=_bar(lambda done, total: None),
        )
    except (HfHubHTTPError, HFValidationError, httpx2.HTTPError, OSError) as error:
        raise ArtifactError(_explain(error, reference, variable)) from None
    return Path(folder)


def _is_absent(error: Exception, reference: Reference, kind: str) -> bool:
    """Whether the Hub says, or said when it was last asked, that the repository has no such file."""
    if not isinstance(error, LocalEntryNotFoundError):
        return isinstance(error, RemoteEntryNotFoundError)
    name = reference.filename or ""
    known = try_to_load_from_cache(reference.repository, name, revision=reference.revision, repo_type=kind)
    return known is _CACHED_NO_EXIST


def _is_answer(error: Exception) -> bool:
    """Whether the Hub said no (no such thing, or no right to it), rather than being out of reach or failing."""
    if not isinstance(error, HfHubHTTPError):
        return isinstance(error, HFValidationError)
    return error.response.status_code < 500 and error.response.status_code not in (408, 429)


def _explain(error: Exception, reference: Reference, variable: str) -> str:
    """One line for any failure of the Hub's client, without what was secret in the request or the Hub's address."""
    return " ".join(redact(_reason(error, reference, variable)).split())


def _reason(error: Exception, reference: Reference, variable: str) -> str:
    """The order matters, since some classes are kinds of others."""
    hub = constants.ENDPOINT
    match error:
        case GatedRepoError():
            return f"{reference}: gated on {hub}; ask for access there and set HF_TOKEN, or set {variable} to another"
        case RepositoryNotFoundError():
            return f"{reference}: no such repository on {hub}, or a private one; set {variable}, or HF_TOKEN to read it"
        case RevisionNotFoundError():
            return f"{reference}: the repository has no such revision; set {variable}_REVISION"
        case RemoteEntryNotFoundError():
            return f"{reference}: the repository has no such file; set {variable} or {variable}_REVISION to others"
        case HFValidationError():
            return f"{reference}: not a repository's name; set {variable} to NAMESPACE/NAME"
        case HfHubHTTPError():
            status, said = error.response.status_code, error.server_message or "no reason given"
            return f"{reference}: {hub} answered {status} ({said}); try again later"
        case LocalEntryNotFoundError() | OfflineModeIsEnabled() | httpx2.HTTPError():
            return f"{reference}: {hub} cannot be reached and no copy is here; check the network or HF_ENDPOINT"
    why = getattr(error, "strerror", None) or type(error).__name__  # without paths: the page shows it
    return f"{reference}: cannot be stored here ({why}); check the disk and HF_HOME"


def _bar(progress: Progress) -> type[tqdm]:
    """A silent bar that hands on what it is told; `huggingface_hub` makes one for each download."""

    class Bar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": False, "file": io.StringIO()})
            progress(int(self.n), int(self.total or 0))

        def update(self, n: float | None = 1) -> bool | None:
            moved = super().update(n)
            progress(int(self.n), int(self.total or 0))
            return moved

        def display(self, *_: Any, **__: Any) -> bool:
            return True

    return Bar
