"""Where what can be had again is kept between runs: below XDG_CACHE_HOME, or ~/.cache."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache(name: str, folder: str = "") -> Path:
    """The folder given, or `footnote/<name>` below the user's cache folder. It need not exist."""
    if folder:
        return Path(folder)
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "footnote" / name
