"""The app in a process of its own, with what it logs in a file. Not a test."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.api_client import state_of

ROOT = Path(__file__).parents[1]


class App(NamedTuple):
    """Where it listens, and its process."""

    address: str
    process: subprocess.Popen


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def running(module: str, environment: dict[str, str], log: Path) -> Iterator[App]:
    """Start `python -m module` on a free port; it answers when this yields, and its models may still be loading."""
    port = free_port()
    environment = {**os.environ, **environment, "FOOTNOTE_PORT": str(port)}
    with log.open("wb") as out:
        command = [sys.executable, "-m", module]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
    app = App(f"http://127.0.0.1:{port}", process)
    try:
        _wait_for(app, log)
        yield app
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_for(app: App, log: Path) -> None:
    for _ in range(600):
        assert app.process.poll() is None, log.read_text()
        try:
            state_of(app.address)
            return
        except (OSError, ValueError):
            time.sleep(0.1)
    raise AssertionError("the app did not answer within a minute")
