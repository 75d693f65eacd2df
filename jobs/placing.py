"""Moves a step's folder to its place. A mounted bucket may have no locks, no renames of folders and no flushing.

Where a folder cannot be renamed it is copied file by file, `step.json` last, and removed when the copy is whole. A kill
may come between any two calls: what is left bears a mark of ours, and the next start goes on from it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobs.errors import UserError

STEP_FILE = "step.json"
CLAIM_FILE = "claim.json"  # in a partial folder: for which arguments and inputs the work in it is; in one being copied
CHECKPOINTS = "checkpoints"  # in the partial folder: kept over a kill, removed when the step is whole
MARKS = (CLAIM_FILE, f"{CLAIM_FILE}.partial", STEP_FILE)
UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
NO_LOCK = UNSUPPORTED | {errno.ENOLCK, errno.EINVAL}
NO_RENAME = UNSUPPORTED | {errno.EXDEV, errno.EPERM}
NO_FLUSH = UNSUPPORTED | {errno.EINVAL}


def beside(out: Path, suffix: str) -> Path:
    return out.with_name(f"{out.name}.{suffix}")


def final(folder: Path) -> Path:
    """The folder that the one which a step works in becomes."""
    return folder.with_name(folder.name.removesuffix(".partial"))


def files(folder: Path) -> list[str]:
    """The names of all files below a folder, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """The folder, made where it is missing, for this process alone; it is given back also by a kill."""
    handle = _taken(folder)
    try:
        yield
    finally:
        os.close(handle)


def _taken(folder: Path) -> int:
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder, os.O_RDONLY)
        except OSError as error:
            raise UserError(f"{folder}: cannot be made ({error.strerror}); name another folder") from None
        try:
            if not _lock(handle, folder) or _is_at(handle, folder):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int, folder: Path) -> bool:
    """Whether the lock was taken: it is not on a file system without locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"{folder}: another process is at work in it; wait for it, or name another folder") from None
    except OSError as error:
        if error.errno not in NO_LOCK:
            raise
        print(f"{folder}: the file system has no locks; start no second process here", file=sys.stderr)
        return False
    return True


def _is_at(handle: int, folder: Path) -> bool:
    """Whether the folder is still the one that was opened: who had the lock before may have put it in its place."""
    try:
        return os.path.samestat(os.fstat(handle), folder.stat())
    except FileNotFoundError:
        return False


def flush(handle: int) -> None:
    """Let a file's bytes reach the disk, where the file system can say so."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_FLUSH:
            raise


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: temporary file, flushed to disk, then renamed."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, ensure_ascii=False, sort_keys=True)
        file.write("\n")
        file.flush()
        flush(file.fileno())
    partial.replace(path)


def place(partial: Path, out: Path, is_whole: Callable[[Path], object]) -> None:
    """Put a sealed folder in its place; the last result goes when the new one is there.

    Where it has to be copied, it is kept until `is_whole` says so of the copy.
    """
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
        _copy(partial, out, is_whole)
    if (old / STEP_FILE).is_file():
        remove(old)


def _copy(partial: Path, out: Path, is_whole: Callable[[Path], object]) -> None:
    out.mkdir(exist_ok=True)
    (out / CLAIM_FILE).write_text("{}", encoding="utf-8")  # its files are a step's, while no record says so
    (out / STEP_FILE).unlink(missing_ok=True)  # before what it vouches for
    clear(out, keep=(CLAIM_FILE,))
    for name in files(partial):
        if name != STEP_FILE:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            _copy_file(partial / name, out / name)
    _copy_file(partial / STEP_FILE, beside(out / STEP_FILE, "partial"))
    beside(out / STEP_FILE, "partial").replace(out / STEP_FILE)  # no other start reads a part of it
    if not is_whole(out):
        raise UserError(f"{out}: is not what was copied from {partial}; run again, or use another disk")
    (out / CLAIM_FILE).unlink()
    remove(partial)


def _copy_file(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("wb") as written:
        shutil.copyfileobj(read, written)
        written.flush()
        flush(written.fileno())


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
