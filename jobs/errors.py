"""Errors a user can mend, and the one place where they end a command."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Callable

from jobs import stopping

# How libraries tell of a full disk: Python's and C's words, Rust's, SQLite's, and two of torch.save.
FULL = ("No space left", "os error 28", "disk is full", "inline_container.cc", "iostream error")


class UserError(Exception):
    """One line that names the file, key or repository at fault and what to do about it."""


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its type's name where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _not_the_codes_fault(error: BaseException) -> str | None:
    """What the machine refused, in one line: a full disk, also where a library hides it, or a missing right."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or any(words in str(error) for words in FULL):
        return f"{getattr(error, 'filename', None) or 'the disk'}: no space left; free some and run again"
    if isinstance(error, OSError) and error.errno in (errno.EFBIG, errno.EROFS, errno.EIO):
        return f"{error.filename or 'a file'}: cannot be written ({error.strerror}); use another folder or disk"
    if isinstance(error, PermissionError):
        return f"{error.filename}: no right to read or write it; check its owner, or use another folder"
    return None


def _reason(error: BaseException) -> str | None:
    """What ends a command with one line; None for a bug."""
    from qa.records import RecordError

    if isinstance(error, UserError | RecordError):
        return str(error)
    return _not_the_codes_fault(error)


def _show(error: BaseException) -> None:
    if reason := _reason(error):
        print(f"error: {reason}", file=sys.stderr)
    elif isinstance(error, Exception):
        traceback.print_exception(error)


def run_main(main: Callable[[], None]) -> None:
    """Run a command's `main`: a user's mistake is one line on stderr and exit code 2, anything else is left to rise."""
    from jobs.failures import overhear

    try:
        with overhear(), stopping.listen():
            try:
                main()
            except stopping.Interrupted as signal:
                stopping.leave(str(signal))
            except BaseException as error:
                if not stopping.asked():
                    raise
                _show(error)  # the signal, as a library has turned it into an error of its own
                stopping.leave()
    except Exception as error:
        if (reason := _reason(error)) is None:
            raise
        print(f"error: {reason}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        raise SystemExit(130) from None
