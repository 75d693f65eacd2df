"""Draws by hash: the same for the same parts on every machine and in any order, so that what is drawn can be shown."""

from __future__ import annotations

import hashlib


def number(*parts: object) -> int:
    """A whole number below 2^64 that depends on the parts alone, evenly spread."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:8])


def share(*parts: object) -> float:
    """A number from 0 to 1 that depends on the parts alone, evenly spread."""
    return number(*parts) / 2**64
