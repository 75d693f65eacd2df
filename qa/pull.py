"""Pulling from the Hub what the page serves: models, figures, test questions, examples and the passage index.

What is pulled is checked, and the last good copy stays: with the Hub down, what was pulled before at that revision is
used. Every failure is one `ArtifactError` that names the repository, the revision, the file, and the environment
variable that chose them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from qa.artifacts import (
    ABOUT_FILE,
    DATA_VARIABLE,
    EXAMPLES_FILE,
    INDEX_VARIABLE,
    ITEMS_FILE,
    METRICS_FILE,
    MODEL_VARIABLE,
    QUESTIONS_FILE,
    ArtifactError,
    MissingFileError,
    Reference,
    pick_gguf,
)
from qa.gguf_file import GgufError, check_gguf
from qa.hub_files import Progress, fetch, fetch_folder, list_files
from qa.published_files import Examples, PublishedItem
from qa.records import Question, Record, RecordError, parse_record, read_records
from qa.retrieval import FILES, MANIFEST

_refused: set[Path] = set()  # files, by their commits, that were damaged when downloaded a second time too

MOST_ABOUT, MOST_EXAMPLES, MOST_ITEMS = 65_536, 262_144, 16 * 2**20  # bytes

R = TypeVar("R", bound=Record)


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
    damaged on this disk is downloaded again, once for each commit.
    """
    filename = filename or pick_gguf(list_files(repository, revision, variable), variable)
    reference = Reference(repository, revision, filename)
    path = fetch(reference, "model", variable, progress)
    if path not in _refused and _damage(path):
        path = fetch(reference, "model", variable, progress, again=True)
    if damage := _damage(path):
        _refused.add(path)
        raise ArtifactError(f"{reference}: {damage}; publish it again, or set {variable} to another one")
    if progress:
        progress(path.stat().st_size, path.stat().st_size)
    return path


def _damage(path: Path) -> str:
    """What is wrong with a GGUF file; empty where it is whole."""
    try:
        check_gguf(path)
    except GgufError as error:
        return str(error).removeprefix(f"{path}: ")
    return ""


def pull_rows(
    repository: str, *, revision: str = "main", filename: str = QUESTIONS_FILE, variable: str = DATA_VARIABLE
) -> list[Question]:
    """The published test questions of a data set, in their order."""
    reference = Reference(repository, revision, filename)
    return _records(reference, fetch(reference, "dataset", variable), Question, variable)


def pull_metrics(repository: str, *, revision: str = "main", variable: str = MODEL_VARIABLE) -> dict[str, Any]:
    """The published figures of a model (evaluation's `metrics.json`)."""
    reference = Reference(repository, revision, METRICS_FILE)
    try:
        metrics = json.loads(fetch(reference, "model", variable).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{reference}: not JSON ({error}); set {variable} to another repository") from None
    if not isinstance(metrics, dict) or "models" not in metrics:
        raise ArtifactError(f"{reference}: holds no figures of models; set {variable} to another repository")
    return metrics


def pull_text(
    repository: str,
    filename: str,
    *,
    most: int,
    revision: str = "main",
    kind: str = "model",
    variable: str = MODEL_VARIABLE,
) -> str | None:
    """A text file of a repository, at most `most` bytes; None where the repository has none."""
    reference = Reference(repository, revision, filename)
    if not (path := _pull_small(reference, kind, variable, most)):
        return None
    try:
        return path.read_text(encoding="utf-8")
    except ValueError:
        raise ArtifactError(f"{reference}: not UTF-8; publish it again") from None


def pull_about(repository: str, *, revision: str = "main", variable: str = MODEL_VARIABLE) -> str:
    """What a model's repository says of it to visitors, as Markdown; empty where it says nothing."""
    return pull_text(repository, ABOUT_FILE, most=MOST_ABOUT, revision=revision, variable=variable) or ""


def pull_examples(repository: str, *, revision: str = "main", variable: str = MODEL_VARIABLE) -> Examples | None:
    """The published answers to example questions; None where there are none. `Examples.match` tells whose they are."""
    text = pull_text(repository, EXAMPLES_FILE, most=MOST_EXAMPLES, revision=revision, variable=variable)
    if text is None:
        return None
    where = f"{repository}@{revision}:{EXAMPLES_FILE}"
    try:
        return parse_record(json.loads(text), Examples, where)
    except ValueError as error:  # not JSON, or not the record
        reason = str(error).removeprefix(f"{where}: ")
        raise ArtifactError(f"{where}: {reason}; publish it again") from None


def pull_items(repository: str, *, revision: str = "main", variable: str = MODEL_VARIABLE) -> list[PublishedItem]:
    """What base and published model picked for every test question; empty where that is not published."""
    reference = Reference(repository, revision, ITEMS_FILE)
    path = _pull_small(reference, "model", variable, MOST_ITEMS)
    return _records(reference, path, PublishedItem, variable) if path else []


def pull_index(repository: str, *, revision: str = "main", variable: str = INDEX_VARIABLE, again: bool = False) -> Path:
    """The folder of a published passage index, for `qa.retrieval.Index.load`; `again` for a copy damaged here."""
    reference = Reference(repository, revision)
    folder = fetch_folder(reference, "dataset", variable, [MANIFEST, *FILES], again=again)
    if not (folder / MANIFEST).is_file():
        raise ArtifactError(f"{reference}: holds no index ({MANIFEST} is not there); set {variable} to one")
    return folder


def _pull_small(reference: Reference, kind: str, variable: str, most: int) -> Path | None:
    """A file that a repository may lack, bounded in bytes."""
    try:
        path = fetch(reference, kind, variable)
    except MissingFileError:
        return None
    if (size := path.stat().st_size) > most:
        raise ArtifactError(f"{reference}: {size:,} bytes, at most {most:,} are read; publish a smaller one")
    return path


def _records(reference: Reference, path: Path, kind: type[R], variable: str) -> list[R]:
    try:
        return list(read_records(path, kind))
    except RecordError as error:
        reason = str(error).removeprefix(str(path)).lstrip(":, ")
        raise ArtifactError(f"{reference}: {reason}; set {variable} to another one") from None
