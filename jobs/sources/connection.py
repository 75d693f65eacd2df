"""The connection of one request: known by its peer's address before anything is sent, cut when its time is over."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Timer
from typing import Any

from jobs.sources.store import RefusedError

SECONDS = 120.0  # for one request
OPENED = "connection.connect_tcp.complete"


class Connection:
    """A context manager around one request, whose `trace` extension is `trace`.

    `accept` is given the peer's address and may raise. A limit of time between two bytes, as clients have it, never
    ends for a server that sends one at a time: this one is for all of them, from the name's look-up to the last byte.
    """

    def __init__(self, accept: Callable[[str], None]) -> None:
        self.accept = accept
        self.late = False
        self.sockets: list[socket.socket] = []
        self.timer = Timer(SECONDS, self._cut)
        self.timer.daemon = True

    def __enter__(self) -> Connection:
        self.timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.timer.cancel()
        self.timer.join()
        for opened in self.sockets:
            opened.close()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """What the client tells of itself."""
        if event != OPENED:
            return
        stream = info["return_value"]
        try:
            self.sockets.append(stream.get_extra_info("socket").dup())  # TLS takes the socket over, not its copy
            self.accept(str(stream.get_extra_info("server_addr")[0]))
        except BaseException as error:
            stream.close()
            if isinstance(error, OSError):  # it hung up already
                raise _connect_error(error) from None
            raise
        if self.late:
            self._cut()

    def refuse_late(self) -> None:
        """Raises `RefusedError` if it was cut."""
        if self.late:
            raise RefusedError(f"slower than {SECONDS:.0f} s", lasting=False)

    def _cut(self) -> None:
        self.late = True
        for opened in tuple(self.sockets):
            with suppress(OSError):  # the other side was quicker
                opened.shutdown(socket.SHUT_RDWR)


def _connect_error(error: OSError) -> Exception:
    import httpx2

    return httpx2.ConnectError(str(error))
