"""llama-cpp-python's own OpenAI-compatible server on loopback, with a GGUF file. Not a test: test modules import it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.app_process import free_port

STARTS_WITHIN = 60.0  # seconds; it imports FastAPI and opens the model


@contextmanager
def running_llama_server(model: Path, log: Path, *, context: int = 1024) -> Iterator[str]:
    """The address, ending in /v1, of a server that answers until the block ends. What it says is in `log`."""
    port = str(free_port())
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(model), "--host", "127.0.0.1", "--port", port]
    command += ["--n_ctx", str(context), "--n_threads", "1", "--n_threads_batch", "1"]
    environment = {name: value for name, value in os.environ.items() if name not in ("HOST", "PORT", "CONFIG_FILE")}
    with log.open("wb") as file:
        server = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
    try:
        address = f"http://127.0.0.1:{port}/v1"
        _wait(server, int(port), log)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait(server: subprocess.Popen, port: int, log: Path) -> None:
    end = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()  # it listens once the model is open
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"the server did not start: {log.read_text(errors='replace')[-800:]}")
