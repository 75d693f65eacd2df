"""Types of command-line arguments that argparse has not."""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path


def path_argument(text: str) -> Path:
    """A path that was named: an empty one, as from an unset shell variable, would mean the whole current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("an empty path was given")
    return Path(text)


def date_argument(text: str) -> date:
    """A day as ISO 8601 writes it."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; expected one as 2024-09-30") from None
