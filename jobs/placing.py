"""Moves a step's folder to its place. A mounted bucket may have no locks, no renames of folders and no flushing.

Where a folder cannot be renamed it is copied file by file, `step.json` last, and removed when the copy is whole. A kill
may come between any two calls: what is left bears a mark of ours, and the next start goes on from it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Collection
from pathlib import Path

from jobs.errors import UserError

STEP_FILE = "step.json"
CLAIM_FILE = "claim.json"  # in a partial folder: for which arguments and inputs the work in it is; in one being copied
CHECKPOINTS = "checkpoints"  # in the partial folder: kept over a kill, removed when the step is whole
MARKS = (CLAIM_FILE, STEP_FILE)
UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
NO_LOCK = UNSUPPORTED | {errno.ENOLCK, errno.EINVAL}
NO_RENAME = UNSUPPORTED | {errno.EXDEV, errno.EPERM}
NO_FLUSH = UNSUPPORTED | {errno.EINVAL}


def beside(out: Path, suffix: str) -> Path:
    return out.with_name(f"{out.name}.{suffix}")


def files(folder: Path) -> list[str]:
    """The names of all files below a folder, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def lock(handle: int, folder: Path) -> None:
    """Take the folder for this process; it is given back when `handle` is closed, also by a kill."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"{folder}: another process is at work in it; wait for it, or name another folder") from None
    except OSError as error:
        if error.errno not in NO_LOCK:
            raise
        print(f"{folder}: the file system has no locks; start no second process here", file=sys.stderr)


def flush(handle: int) -> None:
    """Let a file's bytes reach the disk, where the file system can say so."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_FLUSH:
            raise


def place(partial: Path, out: Path) -> None:
    """Put a sealed folder in its place; the last result goes when the new one is there."""
    shutil.rmtree(partial / CHECKPOINTS, ignore_errors=True)
    (partial / CLAIM_FILE).unlink(missing_ok=True)
    old = beside(out, "old")
    if (old / STEP_FILE).is_file():
        remove(old)  # left by a kill between the two renames
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()
    try:
        if out.exists():
            out.rename(old)
        partial.rename(out)
    except OSError as error:
        if error.errno not in NO_RENAME:
            raise
        _copy(partial, out)
    if (old / STEP_FILE).is_file():
        remove(old)


def _copy(partial: Path, out: Path) -> None:
    out.mkdir(exist_ok=True)
    (out / CLAIM_FILE).write_text("{}", encoding="utf-8")  # its files are a step's, while no record says so
    (out / STEP_FILE).unlink(missing_ok=True)  # before what it vouches for
    clear(out, keep=(CLAIM_FILE,))
    names = files(partial)
    for name in sorted(names, key=lambda name: name == STEP_FILE):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        with (partial / name).open("rb") as source, (out / name).open("wb") as target:
            shutil.copyfileobj(source, target)
            target.flush()
            flush(target.fileno())
    (out / CLAIM_FILE).unlink()
    remove(partial)


def tidy(partial: Path, out: Path) -> None:
    """Delete what a kill after the placing of `out` left: the rest of a copy's source, or of the last result."""
    for folder in (partial, beside(out, "old")):
        if folder.is_dir() and ((folder / STEP_FILE).is_file() or not any(folder.iterdir())):
            remove(folder)


def remove(folder: Path) -> None:
    """Delete a step's folder, its marks last: killed half-way, the rest is still known for a step's."""
    clear(folder)
    folder.rmdir()


def clear(folder: Path, keep: Collection[str] = ()) -> None:
    """Delete what is in a step's folder, its marks last."""
    paths = [path for path in folder.iterdir() if path.name not in keep]
    for path in sorted(paths, key=lambda path: path.name in MARKS):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
