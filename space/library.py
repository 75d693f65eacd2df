"""The papers behind the page: the published passage index, pulled and checked in the background, then searched."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Literal

from qa.artifacts import INDEX_VARIABLE, ArtifactError
from qa.ask_settings import QUESTION_CHARACTERS
from qa.pull import pull_index
from qa.redaction import redact
from qa.retrieval import Hit, Index, RetrievalError
from space.attempts import Attempts
from space.settings import Settings

DEFAULT_HITS, MOST_HITS = 5, 20
Phase = Literal["waiting", "downloading", "loading", "ready", "failed"]

log = logging.getLogger(__name__)


class SearchError(Exception):
    """A search that cannot be made: one line for the visitor."""


class Library:
    """Passages of the published index. `start` returns at once; `phase` and `problem` (one line) tell the rest."""

    def __init__(self, settings: Settings) -> None:
        self.reference = settings.index
        self.phase: Phase = "waiting"
        self.problem = ""
        self._index: Index | None = None
        self._attempts = Attempts()
        self._refused: set[Path] = set()  # copies, by their commits, that were damaged when pulled a second time too
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> str:
        """Begin to load the index; called again after a failure, it tries anew, or tells in one line why not yet."""
        with self._lock:
            if self.phase == "ready" or (self._thread and self._thread.is_alive()):
                return ""
            if wait := self._attempts.not_yet():
                return wait
            self.phase, self.problem = "waiting", ""
            self._thread = threading.Thread(target=self._load, daemon=True, name="library")
            self._thread.start()
        return ""

    @property
    def settled(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.phase in ("ready", "failed")

    @property
    def index(self) -> Index | None:
        """The index, once it is loaded."""
        return self._index

    def search(self, query: str, k: int = DEFAULT_HITS) -> list[Hit]:
        """At most `k` passages that share a word with the query, best first. Raises `SearchError`."""
        if not isinstance(query, str) or not query.strip():
            raise SearchError("Say what to look for, in a few words.")
        if len(query) > QUESTION_CHARACTERS:
            raise SearchError(f"A search has at most {QUESTION_CHARACTERS} characters; yours has {len(query):,}.")
        if isinstance(k, bool) or not isinstance(k, int | float) or k not in range(1, MOST_HITS + 1):
            raise SearchError(f"The number of passages is a whole number from 1 to {MOST_HITS}.")
        if self._index is None:
            raise SearchError(self._why_not())
        return self._index.search(query, int(k))

    def _why_not(self) -> str:
        if self.phase == "failed":
            return f"The papers cannot be searched. {self.problem}"
        return f"The papers are still {self.phase}; search again in a while."

    def _load(self) -> None:
        try:
            self._index = self._pull_and_check()
        except (ArtifactError, RetrievalError) as error:
            self.problem, self.phase = redact(str(error)), "failed"
        except Exception as error:  # the thread's end: a fault of ours is logged in full and shown as one
            log.exception("loading %s failed", self.reference)
            self.problem = f"{self.reference}: it failed to load ({type(error).__name__}); see the server's log"
            self.phase = "failed"
        else:
            self.phase = "ready"
        self._attempts.ended()

    def _pull_and_check(self) -> Index:
        """A copy that was damaged on this disk is pulled again, once; one that was published so is refused."""
        folder = self._pull()
        try:
            return self._open(folder)
        except RetrievalError:
            if folder in self._refused:
                raise
        folder = self._pull(again=True)
        try:
            return self._open(folder)
        except RetrievalError:
            self._refused.add(folder)
            raise

    def _pull(self, *, again: bool = False) -> Path:
        self.phase = "downloading"
        return pull_index(self.reference.repository, revision=self.reference.revision, again=again)

    def _open(self, folder: Path) -> Index:
        self.phase = "loading"
        try:
            return Index.load(folder)
        except RetrievalError as error:
            reason = str(error).removeprefix(f"{folder}/").replace(f"{folder}: ", "").split(";")[0]
            raise RetrievalError(f"{self.reference}: {reason}; publish it again, or set {INDEX_VARIABLE}") from None
