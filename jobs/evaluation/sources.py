"""Where a model is: a file or folder here, or a repository on the Hub at the commit that it is evaluated at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from jobs.adapters import CONFIG_FILE, base_of, check_base_of
from jobs.errors import UserError
from jobs.hub import commit_of, explain

Kind = Literal["transformers", "adapter", "gguf"]
ADAPTER_FILES = (CONFIG_FILE, "adapter_model.safetensors")  # no pickle, and no record of a step on another machine
_ON_HUB = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:/([\w./-]+\.gguf))?(?:@([\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Source:
    """Where a model is: a path, or `owner/name@commit`, for a GGUF file `owner/name/file.gguf@commit`.

    `base` is that of an adapter, in the same form.
    """

    kind: Kind
    location: str
    base: str = ""

    @property
    def path(self) -> Path | None:
        """The file or folder, None for a repository."""
        path = Path(self.location)
        return path if path.exists() else None

    @property
    def shown(self) -> str:
        """What reports call it: the repository with its commit, or the last part of a path."""
        if _COMMIT.fullmatch(self.location.rpartition("@")[2]) and _ON_HUB.fullmatch(self.location):
            return self.location
        return Path(self.location).absolute().name


def find_source(name: str, location: Path | str, base: Path | str | None) -> Source:
    """Tell what kind of model stands at a place, and at which commit. Raises `UserError` where there is none."""
    path = Path(location)
    if not path.exists():
        return _find_on_hub(name, str(location), base)
    if path.suffix == ".gguf" and path.is_file():
        return Source("gguf", str(path))
    if (path / CONFIG_FILE).is_file():
        return Source("adapter", str(path), _base_of(name, path, base))
    if (path / "config.json").is_file():
        return Source("transformers", str(path))
    raise UserError(f"model {name}: {path} holds neither config.json nor adapter_config.json; name the .gguf itself")


def local_files(name: str, source: Source) -> Path:
    """A source's file or folder on this machine; from the Hub it is downloaded once. Not for whole models there."""
    if source.path:
        return source.path
    repository, file, commit = _ON_HUB.fullmatch(source.location).groups()
    with _hub_errors(f"model {name}: {repository}"):
        if file:
            return Path(hf_hub_download(repository, file, revision=commit))
        return Path(snapshot_download(repository, revision=commit, allow_patterns=list(ADAPTER_FILES)))


def split_revision(location: str) -> tuple[str, str]:
    """A repository and its revision from `NAMESPACE/NAME@revision`; a folder is itself, whatever its name."""
    if Path(location).exists():
        return location, "main"
    place, _, revision = location.partition("@")
    return place, revision or "main"


def _find_on_hub(name: str, location: str, base: Path | str | None) -> Source:
    found = _ON_HUB.fullmatch(location)
    repository, file, revision = found.groups() if found else ("", None, None)
    if location.endswith(".gguf") and not file:
        raise UserError(f"model {name}: {location}: no such file")
    if not repository:
        raise UserError(f"model {name}: {location} is neither a file or folder here nor a repository's name")
    commit = _commit(name, repository, revision or "main")
    if file:
        if not _holds(name, repository, file, commit):
            raise UserError(f"model {name}: {repository} holds no {file} at {commit}, and there is no such file here")
        return Source("gguf", f"{repository}/{file}@{commit}")
    location = f"{repository}@{commit}"
    if not _holds(name, repository, CONFIG_FILE, commit):
        return Source("transformers", location)
    folder = local_files(name, Source("adapter", location))
    return Source("adapter", location, _base_of(name, folder, base))


def _base_of(name: str, adapter: Path, base: Path | str | None) -> str:
    """The base to put an adapter on: the one given, if it is the one it was trained on, else that."""
    trained_on, at = base_of(adapter)
    place, revision = (trained_on, at) if base is None else split_revision(str(base))
    check_base_of(adapter, place, revision)
    if Path(place).exists():
        return place
    found = _ON_HUB.fullmatch(place)
    if found is None:
        raise UserError(f"model {name}: its base {place} is not here; give its place with --base")
    return f"{place}@{_commit(name, place, revision)}"


def _commit(name: str, repository: str, revision: str) -> str:
    """The commit that a revision stands for now; the Hub is not asked for what is one already."""
    subject = f"model {name}: {repository} is not a folder here, and on the Hub"
    return revision if _COMMIT.fullmatch(revision) else commit_of(repository, revision, subject)


def _holds(name: str, repository: str, file: str, commit: str) -> bool:
    """Whether a repository has a file; offline, whether it was downloaded."""
    if constants.HF_HUB_OFFLINE:
        return isinstance(try_to_load_from_cache(repository, file, revision=commit), str)
    with _hub_errors(f"model {name}: {repository}"):
        return HfApi().file_exists(repository, file, revision=commit)


@contextmanager
def _hub_errors(subject: str) -> Iterator[None]:
    try:
        yield
    except (HfHubHTTPError, httpx2.HTTPError, ConnectionError, LocalEntryNotFoundError) as error:
        raise explain(error, subject) from None
