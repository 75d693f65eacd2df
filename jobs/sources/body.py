"""The body of an answer, piece by piece, within the bounds of size and time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jobs.readers import LARGEST
from jobs.sources.connection import Connection
from jobs.sources.store import RefusedError

if TYPE_CHECKING:
    from httpx2 import Response

PACKED = ("", "identity", "gzip")  # one layer, as asked for: each further one may be a thousand times larger


def pieces(answer: Response, most: int, connection: Connection) -> Iterator[bytes]:
    """The body, unpacked, or its first bytes (`most`; 0: all). Raises `RefusedError` where it is too large or slow."""
    if (packed := answer.headers.get("content-encoding", "").strip().lower()) not in PACKED:
        raise RefusedError(f"packed in a way that was not asked for ({packed})", lasting=True)
    stated, left = answer.headers.get("content-length", ""), most or LARGEST
    if stated.isdecimal() and int(stated) > LARGEST and not most:
        raise _too_large(f" ({int(stated) / 1_000_000:.0f} MB)")
    for piece in answer.iter_bytes():
        if len(piece) > left and not most:
            raise _too_large()
        yield piece[:left]
        left -= len(piece)
        if left <= 0 and most:
            break
    connection.refuse_late()  # a cut body may look whole


def _too_large(by: str = "") -> RefusedError:
    return RefusedError(f"larger than {LARGEST // 1_000_000} MB{by}", lasting=True)
