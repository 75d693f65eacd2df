"""Rows on their way to a private data set of the Hub: kept in a folder, pushed every five minutes and at the end."""

from __future__ import annotations

import atexit
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import CommitScheduler, HfApi, constants, set_client_factory
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils._http import default_client_factory

MINUTES = 5.0  # between two pushes, and between two attempts to reach the data set
FILE_BYTES = 2**20  # a file is pushed whole whenever it has grown, so a new one is begun then
PAST_FILES, PAST_BYTES = 1000, 50 * 2**20  # what is read, at most, of what the data set holds already
LAST_PUSH = 6.0  # seconds that the end of the process waits for it; containers are killed after 10
SILENCE = 20.0  # seconds without a byte from the Hub; the library's own client would wait for ever
TROUBLE = (HfHubHTTPError, httpx2.HTTPError, OSError)

log = logging.getLogger(__name__)
Row = dict[str, Any]


class _Pusher(CommitScheduler):
    """The library's scheduler; a push that fails leaves its rows to the next one and reports why.

    It pushes in threads that a Hub which hangs cannot make the process wait for; the library's pool would be waited
    for, as would its push at the very end, in whose place `Store.close` has one.
    """

    def __init__(self, report: Callable[[str], None], **options: Any) -> None:
        self._report, self._turn = report, threading.Lock()  # before the library's thread begins to push
        super().__init__(**options)
        atexit.unregister(self._push_to_hub)

    def trigger(self) -> None:
        """Push here and now; one push at a time, so that no older file lands upon a newer one."""
        with self._turn:
            self._push_to_hub()

    def push_to_hub(self) -> Any:
        try:
            if not self.api.repo_info(self.repo_id, repo_type="dataset").private:
                self._report(f"{self.repo_id} is public, so nothing is sent there; make it private")
                return None
            pushed = super().push_to_hub()
        except Exception as error:  # the thread's end: the next push tries again
            self._report(reason(error, self.repo_id))
            return None
        self._report("")
        return pushed


class Store:
    """Appends rows to files of random names; nothing that happens on the Hub reaches whoever appends.

    `problem` is one line, empty while all is well. `past` is given, once, the rows that the data set held when it was
    first reached. What could not be pushed stays in the folder, and goes with a later push or a later process.
    """

    def __init__(self, repository: str, past: Callable[[Iterator[Row]], None]) -> None:
        self.repository, self.problem = repository, ""
        self.folder = Path(constants.HF_HOME) / "footnote-feedback" / repository.replace("/", "--")
        self._past: Callable[[Iterator[Row]], None] | None = past
        self._own: list[Path] = []
        self._rows = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._pusher: _Pusher | None = None
        set_client_factory(_impatient_client)
        self._thread = threading.Thread(target=self._reach, daemon=True, name="feedback")
        self._thread.start()

    def append(self, row: Row) -> bool:
        """Keep one row; False where the disk does not take it."""
        line = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()
        with self._lock:
            try:
                self._write(line)
            except OSError as error:
                self._report(f"feedback cannot be written to {self.folder} ({error.strerror})")
                return False
        return True

    def _write(self, line: bytes) -> None:
        if not self._own or self._own[-1].stat().st_size + len(line) > FILE_BYTES:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._own.append(self.folder / f"{uuid.uuid4().hex}.jsonl")
        with self._own[-1].open("ab", buffering=0) as file:  # one write: a push meanwhile reads whole lines
            file.write(line)
        # A count for a time: two rows within one tick of the clock would look unchanged to the scheduler, and the
        # folder does not tell when somebody voted.
        self._rows += 1
        os.utime(self._own[-1], ns=(self._rows * 10**9, self._rows * 10**9))

    def close(self) -> None:
        """Push what is there, and stop; a Hub that hangs is left after `LAST_PUSH` seconds."""
        until = time.monotonic() + LAST_PUSH
        self._ended.set()
        self._thread.join(LAST_PUSH)
        last = threading.Thread(target=self._push, daemon=True, name="last push")
        last.start()
        last.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive() or last.is_alive():
            log.warning("%s: the Hub hangs; feedback stays in %s", self.repository, self.folder)

    def _push(self) -> None:
        if self._pusher:
            self._pusher.trigger()
            self._pusher.stop()

    def _reach(self) -> None:
        """Until the data set is there: only then is anything pushed."""
        while not self._pusher:
            try:
                self._connect()
            except Exception as error:  # the thread's end: visitors are told that their rows are kept
                self._report(reason(error, self.repository))
            if self._ended.wait(0 if self._pusher else 60 * MINUTES):
                return

    def _connect(self) -> None:
        api = HfApi()
        api.create_repo(self.repository, repo_type="dataset", private=True, exist_ok=True)
        if self._past:
            self._past(self._read(api))
            self._past = None
        self._pusher = _Pusher(
            self._report,
            repo_id=self.repository,
            repo_type="dataset",
            private=True,
            folder_path=self.folder,
            allow_patterns="*.jsonl",
            every=MINUTES,
            hf_api=api,
        )

    def _read(self, api: HfApi) -> Iterator[Row]:
        """The rows of the data set and of earlier processes' files, of which the local copy is the longer one."""
        names, room = [], PAST_BYTES
        for entry in api.list_repo_tree(self.repository, repo_type="dataset"):
            size = getattr(entry, "size", PAST_BYTES + 1)  # folders have none
            if entry.path.endswith(".jsonl") and size <= room and len(names) < PAST_FILES:
                names, room = [*names, entry.path], room - size
        # One by one: the threads of a snapshot's download are waited for at the end of the process, whatever hangs.
        files = {name: Path(api.hf_hub_download(self.repository, name, repo_type="dataset")) for name in names}
        files |= {path.name: path for path in self.folder.glob("*.jsonl")}
        for path in files.values():
            if path not in self._own:
                yield from _rows(path)

    def _report(self, problem: str) -> None:
        if problem and problem != self.problem:
            log.warning("%s", problem)
        self.problem = problem


def _impatient_client() -> httpx2.Client:
    client = default_client_factory()
    client.timeout = SILENCE
    return client


def reason(error: Exception, repository: str) -> str:
    """Why the Hub could not be used, in a line of our own words: its own could repeat what was sent to it."""
    if not isinstance(error, TROUBLE):
        log.error("feedback for %s", repository, exc_info=error)
        return f"{repository}: feedback cannot be sent ({type(error).__name__}); see the server's log"
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status in (401, 403, 404):
        return f"{repository}: the Hub refuses this copy ({status}); set HF_TOKEN to a token that may write there"
    if isinstance(error, OSError) and not isinstance(error, HfHubHTTPError | ConnectionError | TimeoutError):
        return f"{repository}: feedback cannot be kept here ({error.strerror}); check the disk and HF_HOME"
    answer = f"answered {status}" if status else f"could not be reached ({type(error).__name__})"
    return f"{repository}: the Hub {answer}; feedback is kept here and sent later"


def _rows(path: Path) -> Iterator[Row]:
    """The rows of one file. Lines of anybody else's making are no rows."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            yield row
