"""The two ways to serve one file to many: our scheduler over our engine, and llama.cpp's own llama-server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path

from benchmarks.export_against_llama_cpp import LLAMA_CPP
from benchmarks.serve_visitors import ANSWER, Ask
from jobs.errors import UserError
from qa.engine import Engine
from qa.llama import Model
from qa.prompts import Message
from qa.scheduler import Limits, Part, Scheduler

WINDOW = 1024  # tokens of one visitor's prompt and answer, on both sides
STARTS_WITHIN = 120.0  # seconds


def tool(name: str) -> Path:
    """One of llama.cpp's own programs. Raises `UserError` where it is not there."""
    path = LLAMA_CPP / "bin" / f"llama-{name}"
    if not path.exists():
        raise UserError(f"{path}: not there; run `make llama-tools`, which builds llama.cpp's own")
    return path


@contextmanager
def our_side(path: Path, parallel: int, *, repack: bool, threads: int) -> Iterator[Ask]:
    """The scheduler of the page, in this process, with one engine."""
    with Engine.load(path, n_ctx=WINDOW, n_threads=threads, parallel=parallel, repack=repack) as engine:
        scheduler = Scheduler({"tuned": engine}, Limits(parallel=parallel))
        scheduler.start()

        def ask(visitor: str, messages: Sequence[Message]) -> Iterator[int]:
            for news in scheduler.submit(visitor, [Part("tuned", messages, ANSWER)]):
                if news.finish:
                    raise RuntimeError(f"{visitor}: {news.finish}")
                yield news.chunk.tokens if news.chunk else 0

        try:
            yield ask
        finally:
            scheduler.close()


@contextmanager
def llama_server(path: Path, slots: int, *, repack: bool, threads: int) -> Iterator[Ask]:
    """llama-server with so many slots and its own defaults; it is sent the token ids that we compute ourselves."""
    port = free_port()
    command = [str(tool("server")), "--model", str(path), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--threads", str(threads), "--parallel", str(slots), "--ctx-size", str(slots * WINDOW)]
    command += ["--no-webui", *([] if repack else ["--no-repack"])]
    address, model = f"http://127.0.0.1:{port}", Model(path)
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "NO_PROXY": "127.0.0.1"})
        try:
            _wait(address, server)
            yield lambda _, messages: _stream(address, model.encoder.prompt(messages))
        finally:
            server.terminate()
            server.wait(20)
            model.close()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait(address: str, server: subprocess.Popen) -> None:
    end = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < end and server.poll() is None:
        try:
            fetch(f"{address}/health").close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("llama-server did not start")


def _stream(address: str, prompt: list[int]) -> Iterator[int]:
    """Tokens written so far, once for every token."""
    asked = {"prompt": prompt, "n_predict": ANSWER.max_tokens, "stream": True}
    asked |= {"samplers": ["top_k"], "top_k": 1, "temperature": 0}  # the likeliest token, found as cheaply as by us
    with fetch(f"{address}/completion", json.dumps(asked).encode()) as answer:
        written = 0
        for line in answer:
            if line.startswith(b"data: "):
                said = json.loads(line[6:])
                written = said.get("tokens_predicted", 0) if said.get("stop") else written + 1
                yield written


def fetch(url: str, body: bytes | None = None) -> HTTPResponse:
    """What a server of this machine answers, whatever proxy the environment names; `body` is sent as JSON."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 (loopback)
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=600)
