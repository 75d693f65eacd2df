"""Errors a user can mend, and the one place where they end a command."""

from __future__ import annotations

import sys
from collections.abc import Callable


class UserError(Exception):
    """One line that names the file, key or repository at fault and what to do about it."""


def run_main(main: Callable[[], None]) -> None:
    """Run a command's `main`: a user's mistake is one line on stderr and exit code 2, anything else is left to rise."""
    from qa.records import RecordError

    try:
        main()
    except (UserError, RecordError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        if error.errno != 28:  # ENOSPC
            raise
        print(f"error: {error.filename or 'the disk'}: no space left; free some and run again", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        raise SystemExit(130) from None
