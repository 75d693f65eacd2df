"""What a step that failed leaves beside its folder: `<out>.failed.txt`, with the command to go on and its last words.

Only where a command runs (`jobs.errors.run_main`), and never of a mistake or a signal that left nothing to go on from.
Of several processes that fail the first writes it. Secrets are taken out. The step's next success deletes it.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from jobs.errors import UserError
from jobs.placing import CHECKPOINTS, beside
from jobs.provenance import command_line
from jobs.stopping import Interrupted
from qa.redaction import redact

CHARACTERS = 8192  # of what was printed last
LINES = 40


class _Command:
    """The command that runs in this process, if one does: whether it is listened to, since when, its last words."""

    listening = False
    since = 0.0
    words = ""


class _Overheard:
    """A stream whose words are kept for a while."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        _Command.words = (_Command.words + text)[-CHARACTERS:]
        return self._stream.write(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


@contextmanager
def overhear() -> Iterator[None]:
    """Keep what is printed inside the block, and note failures."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Overheard(sys.stdout), _Overheard(sys.stderr)
    _Command.listening, _Command.since, _Command.words = True, time.time(), ""
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        _Command.listening = False


def note(out: Path, error: BaseException) -> None:
    """Write down how the step of this folder failed, and say on stderr where and how to go on."""
    kept = (beside(out, "partial") / CHECKPOINTS).is_dir()
    if not _Command.listening or (isinstance(error, UserError | Interrupted) and not kept):
        return
    path = beside(out, "failed.txt")
    try:
        if _noted_by_another(path):
            return
        path.write_text(redact(_text(error)), encoding="utf-8")
    except OSError:  # the disk may be what failed: its own error is the one to show
        return
    if not isinstance(error, Interrupted):
        print(f"{path}: what happened; to go on where it was: {redact(_again())}", file=sys.stderr)


def forget(out: Path) -> None:
    """Delete the note of a step that has succeeded since."""
    beside(out, "failed.txt").unlink(missing_ok=True)


def _noted_by_another(path: Path) -> bool:
    """Whether a process that was started with this one has failed before: what followed is not the reason."""
    return _world() > 1 and path.is_file() and path.stat().st_mtime > _Command.since


def _world() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _again() -> str:
    return command_line() + (" (and what else the launcher was given)" if _world() > 1 else "")


def _text(error: BaseException) -> str:
    own = isinstance(error, UserError | Interrupted)
    told = f"{type(error).__name__}: {error}\n" if own else "".join(traceback.format_exception(error))
    last = [line.rstrip("\r").rpartition("\r")[2] for line in _Command.words.rstrip("\n").split("\n")]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return f"{now}\nto go on: {_again()}\n\n{told}\nlast lines:\n" + "".join(f"{line}\n" for line in last[-LINES:])
