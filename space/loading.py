"""From a repository's name to an engine that answers: pulled, checked, measured once, loaded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from qa.artifacts import ArtifactError, Reference
from qa.chat_template import TemplateError, check_template
from qa.engine import Engine, ModelFileError, threads_for
from qa.published_files import Examples, PublishedItem
from qa.pull import Progress, pull_about, pull_examples, pull_gguf, pull_items, pull_metrics
from qa.repack_probe import Choice, Speeds, choose
from space.credits import Credit, commit_of
from space.secrecy import redact
from space.settings import Settings
from space.text import megabytes

N_CTX = 1024  # tokens of question and answer: 38 MB of KV cache on a 3B, for each answer that is written
Phase = Literal["waiting", "downloading", "measuring", "loading", "ready", "failed"]
T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """How far one of the three things is. `done` and `total` are bytes, 0 where unknown; `problem` is one line.

    `notice` is one line too: which earlier copy is served instead of the wanted one, and why.
    """

    title: str
    reference: Reference
    variable: str
    phase: Phase = "waiting"
    done: int = 0
    total: int = 0
    problem: str = ""
    notice: str = ""


@dataclass(frozen=True)
class Found:
    """A model file that was pulled, and where it stands on the Hub: repository, commit, file."""

    path: Path
    reference: Reference


@dataclass(frozen=True)
class Published:
    """What a model's repository publishes beside it; `problem` is why there are no figures, `unsaid` why no words."""

    figures: dict[str, Any] | None = None
    problem: str = ""
    about: str = ""
    unsaid: str = ""
    examples: Examples | None = None
    items: list[PublishedItem] = field(default_factory=list)


@dataclass(frozen=True)
class Opened:
    """An engine, the file it was made from, and what is known of it."""

    engine: Engine
    path: Path
    reference: Reference
    credit: Credit
    published: Published | None = None


def pull_model(reference: Reference, variable: str, progress: Progress) -> Found:
    """A model file of a repository. Raises `ArtifactError`."""
    place = {"filename": reference.filename, "revision": reference.revision, "variable": variable}
    path = pull_gguf(reference.repository, **place, progress=progress)
    return Found(path, _exactly(reference, path))


class Loader:
    """Loads models under a copy's settings; whether weights are repacked is measured with the first of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._choice: Choice | None = None

    def load(self, found: Found, variable: str, tell: Callable[[Phase], None]) -> Engine:
        """The engine of a model file. Raises `ArtifactError`, which says why there can be none."""
        path = found.path
        try:
            repack = self._repack(path, tell)
            tell("loading")
            threads, parallel = self._settings.threads, self._settings.parallel
            engine = Engine.load(path, n_ctx=N_CTX, n_threads=threads, parallel=parallel, repack=repack)
            try:
                check_template(path, engine.parse, engine.encoder)
            except BaseException:  # whatever it is, nobody else has the engine
                engine.close()
                raise
        except (ModelFileError, TemplateError) as error:
            reason = str(error).removeprefix(f"{path}: ")
            raise ArtifactError(f"{found.reference}: {reason}; set {variable} to another one") from None
        return engine

    def _repack(self, path: Path, tell: Callable[[Phase], None]) -> bool:
        if self._settings.repack != "auto":
            return self._settings.repack == "on"
        if self._choice is None:
            tell("measuring")
            self._choice = choose(path, n_threads=self._settings.threads or threads_for(path))
        return self._choice.repack

    def facts(self, paths: list[Path]) -> list[tuple[str, str]]:
        """How models are computed, as name and value; nothing before the first is loaded."""
        if not paths:
            return []
        threads = max(self._settings.threads or threads_for(path) for path in paths)
        return [
            ("Threads", str(threads)),
            ("Weights", self._weights()),
            ("Answers at once", str(self._settings.parallel)),
        ]

    def _weights(self) -> str:
        choice = self._choice
        if choice is None:
            how = "repacked" if self._settings.repack == "on" else "as stored"
            return f"{how}, as FOOTNOTE_REPACK={self._settings.repack} says"
        how = "repacked" if choice.repack else "as stored"
        if choice.plain is None:
            return f"{how}; nothing was measured"
        other = _pace(choice.repacked) if choice.repacked else "not timed, for the machine is slow or busy"
        figures = f"as stored {_pace(choice.plain)}, repacked {other}"
        return f"{how}; measured in {choice.seconds:.1f} s: {figures}"


def _pace(speeds: Speeds) -> str:
    return f"{speeds.prompt:.0f} read and {speeds.generation:.1f} written tokens per second"


def described(opened: Opened) -> str:
    """Which file answers, in one line."""
    where = opened.reference
    size = megabytes(opened.path.stat().st_size)
    return f"{where.repository} · {where.filename} · revision {opened.credit.revision[:7]} · {size}"


def pull_published(found: Found, variable: str) -> Published:
    """What is published with a model, at its commit; whatever is missing or cannot be read, the model is served."""
    place = {"repository": found.reference.repository, "revision": found.reference.revision, "variable": variable}
    figures, problem = _pulled(pull_metrics, place, None)
    about, unsaid = _pulled(pull_about, place, "")
    examples, _ = _pulled(pull_examples, place, None)
    items, _ = _pulled(pull_items, place, [])
    return Published(
        figures=figures,
        problem=problem,
        about=about,
        unsaid=unsaid,
        examples=examples if examples and examples.match(found.path) else None,
        items=items,
    )


def _pulled(pull: Callable[..., T], place: dict[str, str], otherwise: T) -> tuple[T, str]:
    """What is pulled, or else `otherwise` and why in one line."""
    try:
        return pull(**place), ""
    except ArtifactError as error:
        log.warning("%s", error)
        return otherwise, redact(str(error))


def _exactly(reference: Reference, path: Path) -> Reference:
    """The reference with commit and file, as the Hub's cache names them."""
    commit = commit_of(path)
    if commit is None:
        return Reference(reference.repository, reference.revision, reference.filename or path.name)
    return Reference(reference.repository, commit, path.as_posix().partition(f"/snapshots/{commit}/")[2])
