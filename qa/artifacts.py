"""Repositories on the Hub: the names under which a run is published, and how a setting refers to one."""

from __future__ import annotations

import re
from dataclasses import dataclass

MODEL_VARIABLE, BASE_VARIABLE, DATA_VARIABLE = "FOOTNOTE_MODEL", "FOOTNOTE_BASE", "FOOTNOTE_DATA"
INDEX_VARIABLE = "FOOTNOTE_INDEX"
QUESTIONS_FILE = "space/test_questions.jsonl"  # in the data set's repository: the page reads no Parquet
METRICS_FILE = "evaluation/metrics.json"  # in the repositories of adapter, merged weights and GGUF
ABOUT_FILE, EXAMPLES_FILE = "space/about.md", "space/examples.json"  # in the GGUF's repository, as is the next
ITEMS_FILE = "space/items.jsonl"
DEFAULT_TYPE = "Q4_K_M"

_REFERENCE = re.compile(
    r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?(:(?P<filename>[\w./ -]+\.gguf))?"
)
_SPLIT = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


class ArtifactError(Exception):
    """One line: which repository, revision and file cannot be had, and what to do about it."""


class MissingFileError(ArtifactError):
    """The repository is there, and has no such file at that revision."""


@dataclass(frozen=True)
class Repositories:
    """The names under which one run is published: NAMESPACE/NAME-lora and its siblings."""

    namespace: str
    name: str

    @property
    def dataset(self) -> str:
        return f"{self.namespace}/{self.name}-qa"

    @property
    def index(self) -> str:
        return f"{self.namespace}/{self.name}-index"

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


def pick_gguf(names: list[str], variable: str = MODEL_VARIABLE) -> str:
    """The one Q4_K_M file among the files of a repository, or its only GGUF. Raises `ArtifactError` naming all."""
    found = sorted(name for name in names if name.endswith(".gguf") and "imatrix" not in name)
    wanted = [name for name in found if DEFAULT_TYPE.lower() in name.lower() and not _SPLIT.search(name)]
    choice = wanted or found
    if len(choice) != 1:
        listed = f"these: {', '.join(found)}" if found else "no GGUF file at all"
        raise ArtifactError(f"expected one {DEFAULT_TYPE} file, found {listed}; name one in {variable} as NAME:FILE")
    return choice[0]
