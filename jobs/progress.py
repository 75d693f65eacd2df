"""One progress bar for every step: what, how far, how long still."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")
DELAY = 1.0  # seconds before a bar shows: what is over by then needs none
LOG_INTERVAL = 15.0  # seconds between lines where stderr is a file: a bar redrawn ten times a second fills a log


def progress(items: Iterable[T], what: str, *, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """Iterate with a bar on stderr that shows the time left."""
    return iter(tqdm(items, desc=_label(what), total=total, unit=unit, **_style()))


def bar(total: int | None, what: str, *, unit: str = "it", **options: bool) -> tqdm:
    """A bar that is moved by hand (`update(n)`); use it as a context manager."""
    return tqdm(total=total, desc=_label(what), unit=unit, **_style(), **options)


def _label(what: str) -> str:
    return f"{what:<18}"


def _style() -> dict[str, float | bool]:
    interval = 0.2 if sys.stderr.isatty() else LOG_INTERVAL
    return {"dynamic_ncols": True, "smoothing": 0.1, "delay": DELAY, "mininterval": interval}
