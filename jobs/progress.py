"""One progress bar for every step: what, how far, how long still."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], what: str, *, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """Iterate with a bar on stderr that shows the time left."""
    return iter(tqdm(items, desc=f"{what:<28}", total=total, unit=unit, dynamic_ncols=True, smoothing=0.1))


def bar(total: int, what: str, *, unit: str = "it") -> tqdm:
    """A bar that is moved by hand (`update(n)`); use it as a context manager."""
    return tqdm(total=total, desc=f"{what:<28}", unit=unit, dynamic_ncols=True, smoothing=0.1)
