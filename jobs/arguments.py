"""Types of command-line arguments that argparse has not."""

from __future__ import annotations

import argparse
from pathlib import Path


def path_argument(text: str) -> Path:
    """A path that was named: an empty one, as from an unset shell variable, would mean the whole current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("an empty path was given")
    return Path(text)
