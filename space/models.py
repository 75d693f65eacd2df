"""What the page serves, pulled and loaded behind it: the server is up first, and says how far the models are."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from qa.artifacts import (
    BASE_VARIABLE,
    DATA_VARIABLE,
    MODEL_VARIABLE,
    ArtifactError,
    Progress,
    Reference,
    pull_gguf,
    pull_metrics,
    pull_rows,
)
from qa.engine import Engine, ModelFileError
from qa.records import Question
from space.credits import Credit, credit_of
from space.settings import Settings

N_CTX = 2048  # tokens of question and answer; 75 MB of KV cache on the 3B
Role = Literal["tuned", "base", "data"]
Phase = Literal["waiting", "downloading", "loading", "ready", "failed"]
ORDER: tuple[Role, ...] = ("tuned", "data", "base")  # the Ask tab needs the first alone

log = logging.getLogger(__name__)


class NotReadyError(Exception):
    """Something the visitor asked for is not there yet, or will not come: one line for the visitor."""


@dataclass(frozen=True)
class Part:
    """How far one of the three things is. `done` and `total` are bytes, 0 where unknown; `problem` is one line."""

    title: str
    reference: Reference
    variable: str
    phase: Phase = "waiting"
    done: int = 0
    total: int = 0
    problem: str = ""


class Models:
    """Both engines, the test questions and the published figures. `start` returns at once; `parts` tells the rest."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engines: dict[str, Engine] = {}
        self.credits: dict[str, Credit] = {}
        self.published: dict[str, Any] | None = None
        self.unpublished = "they are being fetched"  # why `published` is None
        self._questions: list[Question] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._parts: dict[Role, Part] = {
            "tuned": Part("Fine-tuned model", settings.model, MODEL_VARIABLE),
            "base": Part("Base model", settings.base, BASE_VARIABLE),
            "data": Part("Test questions", settings.data, DATA_VARIABLE),
        }

    def start(self) -> None:
        """Begin to load what is not there, unless that is under way; called again, it tries what failed anew."""
        with self._lock:
            if self._thread and self._thread.is_alive():
                return
            for role, part in self._parts.items():
                if part.phase == "failed":
                    self._parts[role] = replace(part, phase="waiting", done=0, total=0, problem="")
            self._thread = threading.Thread(target=self._load_all, daemon=True, name="models")
            self._thread.start()

    def parts(self) -> list[Part]:
        """Where each of the three stands, in the order they are loaded."""
        return [self._parts[role] for role in ORDER]

    @property
    def settled(self) -> bool:
        """Whether nothing more will happen by itself."""
        return all(part.phase in ("ready", "failed") for part in self._parts.values())

    def engine(self, role: Literal["tuned", "base"]) -> Engine:
        """The engine of one model. Raises `NotReadyError`."""
        self._check(role)
        return self.engines[role]

    def questions(self) -> list[Question]:
        """The published multiple-choice test questions. Raises `NotReadyError`."""
        self._check("data")
        return self._questions

    def _check(self, role: Role) -> None:
        part = self._parts[role]
        what = part.title.lower()
        if part.phase == "failed":
            raise NotReadyError(f"The {what} cannot be used. {part.problem}")
        if part.phase != "ready":
            raise NotReadyError(f"The {what} is still {part.phase}; ask again when the page says it is ready.")

    def _load_all(self) -> None:
        loaders: dict[Role, Callable[[Role, Part], None]] = {
            "tuned": self._load_engine,
            "base": self._load_engine,
            "data": self._load_data,
        }
        for role in ORDER:
            if self._parts[role].phase != "ready":
                self._load(role, loaders[role])

    def _load(self, role: Role, loader: Callable[[Role, Part], None]) -> None:
        try:
            loader(role, self._parts[role])
        except ArtifactError as error:
            self._set(role, phase="failed", problem=str(error))
        except Exception as error:  # the thread's end: a fault of ours is logged in full and shown as one
            log.exception("loading %s failed", self._parts[role].reference)
            problem = f"It failed to load ({type(error).__name__}); see the server's log."
            self._set(role, phase="failed", problem=problem)
        else:
            self._set(role, phase="ready")

    def _load_engine(self, role: Role, part: Part) -> None:
        """Pull a model and load it: last of all, so that nothing can fail after it and leave its memory taken."""
        self._set(role, phase="downloading")
        path = self._pull(role, part)
        credit = credit_of(part.title, part.reference, path)
        if role == "tuned":
            self._load_published(part)
        self._set(role, phase="loading")
        try:
            self.engines[role] = Engine.load(path, n_ctx=N_CTX)
        except ModelFileError as error:
            reason = str(error).removeprefix(f"{path}: ")
            raise ArtifactError(f"{part.reference}: {reason}; set {part.variable} to another one") from None
        self.credits[role] = credit

    def _pull(self, role: Role, part: Part) -> Path:
        reference, progress = part.reference, self._progress(role)
        return pull_gguf(
            reference.repository,
            filename=reference.filename,
            revision=reference.revision,
            progress=progress,
            variable=part.variable,
        )

    def _load_published(self, part: Part) -> None:
        """The figures published with the model; a model without them is still served, and the page says so."""
        try:
            self.published = pull_metrics(part.reference.repository, revision=part.reference.revision)
        except ArtifactError as error:
            self.unpublished = str(error)

    def _load_data(self, role: Role, part: Part) -> None:
        self._set(role, phase="downloading")
        rows = pull_rows(part.reference.repository, revision=part.reference.revision)
        self._questions = [row for row in rows if row.choices]
        if not self._questions:
            raise ArtifactError(f"{part.reference}: no multiple-choice questions; set {part.variable} to another one")

    def _progress(self, role: Role) -> Progress:
        return lambda done, total: self._set(role, done=done, total=total)

    def _set(self, role: Role, **changes: Any) -> None:
        with self._lock:  # the Hub's client tells its progress from threads of its own
            self._parts[role] = replace(self._parts[role], **changes)
