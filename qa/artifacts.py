"""Repositories on the Hub: their names, and how the page pulls a model, its test questions and its figures.

What is pulled is checked, and the last good copy stays: with the Hub down, what was pulled before at that revision is
used. Every failure is one `ArtifactError` that names the repository, the revision, the file, and the environment
variable that chose them.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm import tqdm

from qa.gguf_file import GgufError, check_gguf
from qa.records import Question, RecordError, read_records

MODEL_VARIABLE, BASE_VARIABLE, DATA_VARIABLE = "FOOTNOTE_MODEL", "FOOTNOTE_BASE", "FOOTNOTE_DATA"
QUESTIONS_FILE = "space/test_questions.jsonl"  # in the data set's repository: the page reads no Parquet
METRICS_FILE = "evaluation/metrics.json"  # in the repositories of adapter, merged weights and GGUF
DEFAULT_TYPE = "Q4_K_M"

Progress = Callable[[int, int], None]  # bytes done, bytes in all
_REFERENCE = re.compile(
    r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?(:(?P<filename>[\w./ -]+\.gguf))?"
)
_SPLIT = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


class ArtifactError(Exception):
    """One line: which repository, revision and file cannot be had, and what to do about it."""


@dataclass(frozen=True)
class Repositories:
    """The names under which one run is published: NAMESPACE/NAME-lora and its siblings."""

    namespace: str
    name: str

    @property
    def dataset(self) -> str:
        return f"{self.namespace}/{self.name}-qa"

    @property
    def base(self) -> str:
        return f"{self.namespace}/{self.name}-base"

    @property
    def base_gguf(self) -> str:
        return f"{self.namespace}/{self.name}-base-GGUF"

    @property
    def adapter(self) -> str:
        return f"{self.namespace}/{self.name}-lora"

    @property
    def merged(self) -> str:
        return f"{self.namespace}/{self.name}-merged"

    @property
    def gguf(self) -> str:
        return f"{self.namespace}/{self.name}-GGUF"


@dataclass(frozen=True)
class Reference:
    """A repository at a revision, and perhaps one file of it."""

    repository: str
    revision: str = "main"
    filename: str | None = None

    def __str__(self) -> str:
        return f"{self.repository}@{self.revision}" + (f":{self.filename}" if self.filename else "")


def parse_reference(text: str, *, variable: str = MODEL_VARIABLE) -> Reference:
    """Read `NAMESPACE/NAME[@revision][:file.gguf]`. Raises `ArtifactError` naming the variable it came from."""
    if not (match := _REFERENCE.fullmatch(text.strip())):
        raise ArtifactError(f"{variable}={text!r} is not NAMESPACE/NAME[@revision][:file.gguf]; set it to a repository")
    return Reference(match["repository"], match["revision"] or "main", match["filename"])


def pull_gguf(
    repository: str,
    *,
    filename: str | None = None,
    revision: str = "main",
    progress: Progress | None = None,
    variable: str = MODEL_VARIABLE,
) -> Path:
    """The path of a whole GGUF file of a repository; without a name, of its one Q4_K_M file.

    `progress(done, total)` is called in bytes while it is downloaded, and once when it is there. A copy that was
    damaged on this disk is downloaded again.
    """
    reference = Reference(repository, revision, filename or pick_gguf(_files(repository, revision, variable), variable))
    path = _pull(reference, "model", variable, progress)
    try:
        check_gguf(path)
    except GgufError:
        path = _pull(reference, "model", variable, progress, again=True)
    try:
        check_gguf(path)
    except GgufError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise ArtifactError(f"{reference}: {reason}; publish it again, or set {variable} to another one") from None
    if progress:
        progress(path.stat().st_size, path.stat().st_size)
    return path


def pull_rows(
    repository: str, *, revision: str = "main", filename: str = QUESTIONS_FILE, variable: str = DATA_VARIABLE
) -> list[Question]:
    """The published test questions of a data set, in their order."""
    path = _pull(Reference(repository, revision, filename), "dataset", variable)
    try:
        return list(read_records(path, Question))
    except RecordError as error:
        reason = str(error).removeprefix(str(path)).lstrip(":, ")
        raise ArtifactError(f"{repository}@{revision}:{filename}: {reason}; set {variable} to another one") from None


def pull_metrics(repository: str, *, revision: str = "main", variable: str = MODEL_VARIABLE) -> dict[str, Any]:
    """The published figures of a model (evaluation's `metrics.json`)."""
    reference = Reference(repository, revision, METRICS_FILE)
    try:
        metrics = json.loads(_pull(reference, "model", variable).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{reference}: not JSON ({error}); set {variable} to another repository") from None
    if not isinstance(metrics, dict) or "models" not in metrics:
        raise ArtifactError(f"{reference}: holds no figures of models; set {variable} to another repository")
    return metrics


def pick_gguf(names: list[str], variable: str = MODEL_VARIABLE) -> str:
    """The one Q4_K_M file among the files of a repository, or its only GGUF. Raises `ArtifactError` naming all."""
    found = sorted(name for name in names if name.endswith(".gguf") and "imatrix" not in name)
    wanted = [name for name in found if DEFAULT_TYPE.lower() in name.lower() and not _SPLIT.search(name)]
    choice = wanted or found
    if len(choice) != 1:
        listed = f"these: {', '.join(found)}" if found else "no GGUF file at all"
        raise ArtifactError(f"expected one {DEFAULT_TYPE} file, found {listed}; name one in {variable} as NAME:FILE")
    return choice[0]


def _files(repository: str, revision: str, variable: str) -> list[str]:
    """Names of a repository's files; with the Hub down, of those that were pulled before."""
    try:
        found = HfApi().model_info(repository, revision=revision)  # one request: a listing is repeated for 23 s
        return [entry.rfilename for entry in found.siblings or []]
    except (HfHubHTTPError, HFValidationError, httpx2.HTTPError) as error:
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


def _pull(
    reference: Reference, kind: str, variable: str, progress: Progress | None = None, *, again: bool = False
) -> Path:
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
        raise ArtifactError(_explain(error, reference, variable)) from None
    return Path(path)


def _is_answer(error: Exception) -> bool:
    """Whether the Hub said no (no such thing, or no right to it), rather than being out of reach or failing."""
    if not isinstance(error, HfHubHTTPError):
        return isinstance(error, HFValidationError)
    return error.response.status_code < 500 and error.response.status_code not in (408, 429)


def _explain(error: Exception, reference: Reference, variable: str) -> str:
    """One line for any failure of the Hub's client; the order matters, since some classes are kinds of others."""
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
        case LocalEntryNotFoundError() | httpx2.HTTPError():
            return f"{reference}: {hub} cannot be reached and no copy is here; check the network or HF_ENDPOINT"
    return f"{reference}: cannot be stored here ({error}); check the disk and HF_HOME"


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
