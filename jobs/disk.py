"""Is there room for what a step is about to write? Asked before its first byte."""

from __future__ import annotations

import shutil
from pathlib import Path

from jobs.errors import UserError

GB = 10**9


def check_room(folder: Path, needed: int, what: str) -> int:
    """The free bytes where `folder` is, or would be made. Raises `UserError` unless `needed` are free."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise UserError(
            f"{folder}: {_size(free)} free, {_size(needed)} needed for {what}; free some or name a folder elsewhere"
        )
    return free


def _size(count: int) -> str:
    return f"{count / GB:.1f} GB" if count >= GB else f"{count / 10**6:.1f} MB"
