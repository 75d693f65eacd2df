"""What the page takes of its machine: memory with both models, seconds to its first answer, idle CPU; each measured."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from benchmarks.paired import ROOT, Usage, measure

IDLE = 10.0  # seconds
SERVED = """
import sys
from pathlib import Path
from qa.ask_settings import AskSettings
from qa.engine import Engine
from qa.prompts import ask_messages
files, repack, threads = [Path(name) for name in sys.argv[1:3]], sys.argv[3] == "1", int(sys.argv[4])
engines = [Engine.load(path, n_ctx=1024, n_threads=threads, parallel=4, repack=repack) for path in files]
for engine in engines:
    for number in range(4):
        engine.begin(ask_messages(f"What is number {number}? " + "And why? " * 60), **AskSettings.greedy(4).as_dict())
    while engine.busy:
        engine.step()
    prompt = engine.encoder.prompt(ask_messages("Which is it? " * 100))
    engine.option_logprobs(prompt, [engine.encoder.tokenize(text) for text in ("one", "two words", "three of them")])
"""


def both_models(path: Path, *, repack: bool, threads: int) -> Usage:
    """Both models answer four visitors each and score a question, in one process.

    The second is a copy of the file: the same file twice would be in memory once.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        twin = Path(shutil.copy(path, folder))
        return measure(SERVED, str(path), str(twin), str(int(repack)), str(threads))


@dataclass(frozen=True)
class Start:
    """Seconds to the first answer and to the page itself; resident bytes and share of a core while nobody is there."""

    first_answer: float
    page: float
    resident: int
    idle: float


def start_of_the_page() -> Start:
    """`python app.py` with a Hub that is not there, so that no model comes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "FOOTNOTE_PORT": str(port), "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": home}
        begun = time.perf_counter()
        app = subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            first = _answered(port, begun, b"")
            page = _answered(port, begun, b"window.gradio_config")
            time.sleep(5)
            busy = _ticks(app.pid)
            time.sleep(IDLE)
            idle = (_ticks(app.pid) - busy) / os.sysconf("SC_CLK_TCK") / IDLE
            return Start(first, page, _resident(app.pid), idle)
        finally:
            app.terminate()
            app.wait(20)


def _answered(port: int, begun: float, words: bytes) -> float:
    """Seconds since `begun` when the address answers with these words in it."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.perf_counter() - begun < 120:
        try:
            with opener.open(f"http://127.0.0.1:{port}/", timeout=30) as answer:
                if words in answer.read():
                    return time.perf_counter() - begun
        except OSError:
            pass
        time.sleep(0.01)
    raise RuntimeError("the page did not answer within two minutes")


def _ticks(pid: int) -> int:
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[11:13]))


def _resident(pid: int) -> int:
    return 1024 * int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])
