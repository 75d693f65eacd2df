"""What the page takes of its machine: memory with both models, seconds to its first answer, idle CPU; each measured."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.paired import ROOT, Usage, measure
from benchmarks.serve_sides import fetch, free_port

IDLE = 10.0  # seconds
MODELS = ("Fine-tuned model", "Base model")
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
    """Seconds: to import the app, to its first answer, to the page itself, to both models.

    Then what it takes with both models in memory and nobody there: resident bytes, and the share of a core.
    """

    imported: float
    first_answer: float
    page: float
    models: float
    resident: int
    idle: float


def start_of_the_page(path: Path) -> Start:
    """`python app.py`, whose two models come from a Hub on loopback meanwhile."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, _hub(path, Path(folder)) as environment:
        begun = time.perf_counter()
        measure("from space.serving import Serving")
        imported, port = time.perf_counter() - begun, int(environment["FOOTNOTE_PORT"])
        with (Path(folder) / "log").open("wb") as log:
            begun = time.perf_counter()
            app = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=log, stderr=log)
            try:
                first = _answered(port, begun, b"")
                page = _answered(port, begun, b"window.gradio_config")
                models = _settled(port, begun)
                busy = _ticks(app.pid)
                time.sleep(IDLE)
                idle = (_ticks(app.pid) - busy) / os.sysconf("SC_CLK_TCK") / IDLE
                return Start(imported, first, page, models, _resident(app.pid), idle)
            finally:
                app.terminate()
                app.wait(60)


@contextmanager
def _hub(path: Path, folder: Path) -> Iterator[dict[str, str]]:
    """A Hub on loopback with the file and a copy of it, and the environment of an app that serves them."""
    names, (port, hub_port) = (
        {"FOOTNOTE_MODEL": "bench/tuned", "FOOTNOTE_BASE": "bench/base"},
        (free_port(), free_port()),
    )
    for name in names.values():
        (folder / "seed" / name).mkdir(parents=True)
        os.link(path, folder / "seed" / name / "bench-Q4_K_M.gguf")
    command = [sys.executable, "-m", "local_hub", "--root", str(folder / "hub"), "--port", str(hub_port)]
    command += ["--seed", str(folder / "seed")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as hub:
        try:
            if not hub.stdout or not hub.stdout.readline():
                raise RuntimeError("the Hub on loopback did not start")
            own = {"FOOTNOTE_PORT": str(port), "HF_ENDPOINT": f"http://127.0.0.1:{hub_port}"}
            quiet = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(folder / "home")}
            yield {**os.environ, **names, **own, **quiet}
        finally:
            hub.terminate()


def _settled(port: int, begun: float) -> float:
    """Seconds since `begun` when both models are ready."""
    address = f"http://127.0.0.1:{port}/gradio_api/run/state"
    while time.perf_counter() - begun < 300:
        with fetch(address, b'{"data": []}') as answer:
            parts = json.load(answer)["data"][0]["parts"]
        if {part["phase"] for part in parts if part["title"] in MODELS} == {"ready"}:
            return time.perf_counter() - begun
        time.sleep(0.1)
    raise RuntimeError(f"the models did not come within five minutes: {parts}")


def _answered(port: int, begun: float, words: bytes) -> float:
    """Seconds since `begun` when the address answers with these words in it."""
    while time.perf_counter() - begun < 120:
        try:
            with fetch(f"http://127.0.0.1:{port}/") as answer:
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
