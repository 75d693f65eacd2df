"""Where a written answer ends: before the first of its stop strings."""

from __future__ import annotations

from collections.abc import Sequence


def cut(text: str, stops: Sequence[str]) -> str:
    """The text before the earliest of the stop strings; all of it where there is none."""
    return text[: min((text.find(stop) for stop in stops if stop in text), default=len(text))]
