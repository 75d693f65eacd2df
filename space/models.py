"""What the page serves, pulled and loaded behind it: the server is up first, and says how far the models are."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from qa.artifacts import BASE_VARIABLE, DATA_VARIABLE, MODEL_VARIABLE, ArtifactError, Reference
from qa.engine import Engine
from qa.published_files import Examples, PublishedItem
from qa.pull import pull_rows
from qa.records import Question
from qa.scheduler import Aborted, Limits, Refused, Scheduler
from space.attempts import Attempts
from space.credits import Credit, credit_of
from space.last_good import last_good, remember
from space.loading import Loader, Opened, Part, described, pull_model, pull_published
from space.secrecy import redact
from space.settings import Settings

Role = Literal["tuned", "base", "data"]
Side = Literal["base", "tuned"]
SIDES: tuple[Side, Side] = ("base", "tuned")  # of a comparison, in the order in which they stand
ORDER: tuple[Role, ...] = ("tuned", "data", "base")  # the Ask tab needs the first alone
KEEPER = "the page itself"  # as the scheduler's visitor

log = logging.getLogger(__name__)


class NotReadyError(Exception):
    """Something the visitor asked for is not there yet, or will not come: one line for the visitor."""


class Models:
    """Both engines with their scheduler, the test questions, and what is published with the fine-tuned model.

    `start` returns at once; `parts` tells the rest.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engines: dict[str, Engine] = {}
        self.scheduler = Scheduler(self.engines, Limits(parallel=settings.parallel))
        self.credits: dict[str, Credit] = {}
        self.published: dict[str, Any] | None = None  # figures
        self.unpublished = "they are being fetched"  # why there are none
        self.about = ""  # Markdown
        self.unsaid = ""  # why there is none, where that is a failure
        self.examples: Examples | None = None
        self.items: list[PublishedItem] = []
        self._opened: dict[str, Opened] = {}
        self._loader = Loader(settings)
        self._questions: list[Question] = []
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._attempts = Attempts()
        self._parts: dict[Role, Part] = {
            "tuned": Part("Fine-tuned model", settings.model, MODEL_VARIABLE),
            "base": Part("Base model", settings.base, BASE_VARIABLE),
            "data": Part("Test questions", settings.data, DATA_VARIABLE),
        }

    def start(self) -> str:
        """Begin to load what is not there; called again, it tries what was refused anew, or tells why not yet."""
        with self._lock:
            if self._thread is None:
                self.scheduler.start()
            elif self._thread.is_alive() or not self.refused:
                return ""
            elif wait := self._attempts.not_yet():
                return wait
            for role, part in self._parts.items():
                if part.phase == "failed" or part.notice:
                    self._parts[role] = replace(part, phase="waiting", done=0, total=0, problem="", notice="")
            self._thread = threading.Thread(target=self._load_all, daemon=True, name="models")
            self._thread.start()
        return ""

    def close(self) -> None:
        """End the scheduler and free the engines."""
        self._closed.set()
        self.scheduler.close()
        for engine in self.engines.values():
            engine.close()

    def parts(self) -> list[Part]:
        """Where each of the three stands, in the order they are loaded."""
        return [self._parts[role] for role in ORDER]

    @property
    def settled(self) -> bool:
        """Whether nothing more will happen by itself."""
        return all(part.phase in ("ready", "failed") for part in self._parts.values())

    @property
    def refused(self) -> bool:
        """Whether something cannot be had, or is an earlier copy than the wanted one."""
        return any(part.phase == "failed" or part.notice for part in self._parts.values())

    def engine(self, role: Literal["tuned", "base"]) -> Engine:
        """The engine of one model, be it an earlier one while another is loaded. Raises `NotReadyError`."""
        if role not in self.engines:
            raise self._absence(role)
        return self.engines[role]

    def questions(self) -> list[Question]:
        """The published multiple-choice test questions. Raises `NotReadyError`."""
        if not self._questions:
            raise self._absence("data")
        return self._questions

    def facts(self) -> list[tuple[str, str]]:
        """What runs here, as name and value: a line for each model, then how they are computed."""
        opened = [(self._parts[role].title, self._opened[role]) for role in ORDER if role in self._opened]
        models = [(title, described(found)) for title, found in opened]
        return [*models, *self._loader.facts([found.path for _, found in opened])]

    def _absence(self, role: Role) -> NotReadyError:
        part = self._parts[role]
        what = part.title.lower()
        if part.phase == "failed":
            return NotReadyError(f"The {what} cannot be used. {part.problem}")
        verb = "are" if role == "data" else "is"
        return NotReadyError(f"The {what} {verb} still {part.phase}; ask again when the page says that all is ready.")

    def _load_all(self) -> None:
        loaders: dict[Role, Callable[[Role, Part], None]] = {
            "tuned": self._load_engine,
            "base": self._load_engine,
            "data": self._load_data,
        }
        for role in ORDER:
            if self._parts[role].phase != "ready":
                self._load(role, loaders[role])
        self._attempts.ended()

    def _load(self, role: Role, loader: Callable[[Role, Part], None]) -> None:
        try:
            loader(role, self._parts[role])
        except ArtifactError as error:
            self._fail(role, redact(str(error)))
        except Exception as error:  # the thread's end: a fault of ours is logged in full and shown as one
            log.exception("loading %s failed", self._parts[role].reference)
            self._fail(role, f"It failed to load ({type(error).__name__}); see the server's log.")
        else:
            self._set(role, phase="ready")

    def _fail(self, role: Role, problem: str) -> None:
        if role == "tuned" and self.published is None:
            self.unpublished = problem
        self._set(role, phase="failed", problem=problem)

    def _load_engine(self, role: Role, part: Part) -> None:
        """Open the model that is wanted, or else the last copy of it that was good, and take it into service."""
        notice = ""
        try:
            opened = self._open(role, part, part.reference)
        except ArtifactError as refused:
            opened = self._earlier(role, part, refused)
            notice = f"Serves revision {opened.credit.revision[:7]}, which loaded well before. Refused: {refused}"
        self._set(role, notice=redact(notice))
        if opened is not self._opened.get(role):
            self._serve(role, opened)
        if not notice:
            self._remember(role, opened.reference)

    def _remember(self, role: Role, reference: Reference) -> None:
        try:
            remember(role, reference)
        except OSError as error:  # it serves all the same
            log.warning("%s will not be known as good after a restart: %s", reference, error)

    def _open(self, role: Role, part: Part, reference: Reference) -> Opened:
        """A model of a repository, ready to answer. Raises `ArtifactError`."""
        self._set(role, phase="downloading")
        found = pull_model(reference, part.variable, lambda done, total: self._set(role, done=done, total=total))
        credit = credit_of(part.title, found.reference, found.path)
        published = pull_published(found, part.variable) if role == "tuned" else None
        engine = self._loader.load(found, part.variable, lambda phase: self._set(role, phase=phase))
        return Opened(engine, found.path, found.reference, credit, published)  # nothing can fail after the engine

    def _earlier(self, role: Role, part: Part, refused: ArtifactError) -> Opened:
        """What serves in place of a model that was refused. Raises the refusal where there is nothing."""
        if role in self._opened:
            return self._opened[role]
        reference = last_good(role, part.reference.repository)
        if reference is None:
            raise refused
        try:
            return self._open(role, part, reference)
        except ArtifactError:
            raise refused from None

    def _serve(self, role: Role, opened: Opened) -> None:
        """Take an engine into service, and free the one it replaces once that has answered."""
        old = self.engines.get(role)
        self.engines[role], self._opened[role], self.credits[role] = opened.engine, opened, opened.credit
        if (found := opened.published) is not None:
            self.published, self.unpublished = found.figures, found.problem
            self.about, self.unsaid, self.examples, self.items = found.about, found.unsaid, found.examples, found.items
        if old is not None:
            self._retire(old)

    def _retire(self, old: Engine) -> None:
        """Free a replaced engine once it has answered what it began; whatever is under way too long ends there."""
        until = time.monotonic() + self.scheduler.limits.deadline
        while not self._turned(until) and time.monotonic() < until:
            self._closed.wait(0.2)
        while old.busy and time.monotonic() < until:
            self._closed.wait(0.2)
        old.close()

    def _turned(self, until: float) -> bool:
        """Whether the scheduler has had a turn: what begins after it begins with the new engine."""
        cancel = threading.Event()
        try:
            for _ in self.scheduler.evaluate(KEEPER, [lambda _: None], cancel):
                if time.monotonic() >= until:
                    cancel.set()
        except (Refused, Aborted):  # too many wait, or the page closes
            return self._closed.is_set()
        return True

    def _load_data(self, role: Role, part: Part) -> None:
        self._set(role, phase="downloading")
        rows = pull_rows(part.reference.repository, revision=part.reference.revision)
        questions = [row for row in rows if row.choices]
        if not questions:
            raise ArtifactError(f"{part.reference}: no multiple-choice questions; set {part.variable} to another one")
        self._questions = questions

    def _set(self, role: Role, **changes: Any) -> None:
        with self._lock:  # the Hub's client tells its progress from threads of its own
            self._parts[role] = replace(self._parts[role], **changes)
