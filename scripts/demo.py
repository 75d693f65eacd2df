"""The offline loop and its page: `python scripts/demo.py [--no-page] [--seed DIR] [pipeline arguments…]`.

Starts the loopback Hub, runs `jobs.pipeline` against it (by default on the embedded world of jobs/configs/tiny.yaml),
and opens the Space on what was published, pinned by revision. Everything it writes is under runs/. Standard library
only: the clients of the Hub read HF_ENDPOINT when they are imported, so each part is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
RUNS = Path("runs")
HUB = RUNS / "hub"
USER = "demo"


def environment(endpoint: str, token: str) -> dict[str, str]:
    """What every client of the loopback Hub needs: nothing leaves this machine."""
    return {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_TOKEN": token,
        "HF_HOME": str((RUNS / "hf-home").resolve()),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "TOKENIZERS_PARALLELISM": "false",
        "NO_PROXY": "127.0.0.1,localhost",
    }


@contextmanager
def running_hub(port: int, seeds: list[Path]) -> Iterator[tuple[str, str]]:
    """The loopback Hub as a child process: yields its address and a token that may write."""
    HUB.mkdir(parents=True, exist_ok=True)
    module = [sys.executable, "-m", "local_hub"]
    asked = [*module, "token", "--root", str(HUB), "--user", USER, "--role", "write"]
    token = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    seeded = [word for seed in seeds for word in ("--seed", str(seed))]
    command = [*module, "--root", str(HUB), "--port", str(port), *seeded]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as hub:
        try:
            ready = hub.stdout.readline().strip()
            if not ready:
                raise SystemExit(hub.wait())
            print(ready, flush=True)
            yield f"http://127.0.0.1:{port}", token
        finally:
            hub.terminate()


def stop(message: str) -> NoReturn:
    """A user's mistake: one line, exit code 2."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def check_free(port: int) -> None:
    """Said before the loop, not after it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            stop(f"port {port}: {error.strerror}; choose others with --port and --hub-port")


def run(command: list[str], env: dict[str, str]) -> int:
    """Run a command to its end; whatever ends this process ends it too."""
    with subprocess.Popen(command, env=env) as child:
        try:
            return child.wait()
        except BaseException:
            child.terminate()
            raise


def run_loop(words: list[str], env: dict[str, str]) -> None:
    """Run the pipeline; what it does not find done already it does."""
    command = [sys.executable, "-m", "jobs.pipeline", *words]
    if code := run(command, env):
        raise SystemExit(code)


def run_page(folder: Path, port: int, env: dict[str, str]) -> int:
    """Open the Space on the repositories that the run was published to, at those revisions."""
    published = json.loads((folder / "cards" / "published.json").read_text(encoding="utf-8"))
    for variable, kind in (("MODEL", "gguf"), ("BASE", "base_gguf"), ("DATA", "dataset"), ("INDEX", "index")):
        if kind in published:
            env[f"FOOTNOTE_{variable}"] = published[kind]["repository"]
            env[f"FOOTNOTE_{variable}_REVISION"] = published[kind]["revision"]
    env["FOOTNOTE_PORT"] = str(port)
    print(f"\nthe page: http://127.0.0.1:{port}\nthe Hub:  {env['HF_ENDPOINT']}\nCtrl-C stops both.\n", flush=True)
    return run([sys.executable, "app.py"], env)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--no-page", action="store_true", help="stop after the loop")
    parser.add_argument("--port", type=int, default=7860, help="of the page")
    parser.add_argument("--hub-port", type=int, default=7861, help="of the loopback Hub")
    parser.add_argument("--seed", type=Path, action="append", default=[], help="folder of repositories OWNER/NAME/…")
    parser.add_argument("--run", type=Path, default=RUNS / "tiny", help="folder of the run")
    options, words = parser.parse_known_args()
    if Path.cwd() != ROOT:
        stop(f"start it in the project's folder, so that paths mean the same to every part: cd {ROOT}")
    for port in (options.port, options.hub_port):
        if not 1 <= port <= 65535:
            stop(f"port {port}: expected a number from 1 to 65535")
    for port in [options.hub_port] if options.no_page else [options.hub_port, options.port]:
        check_free(port)
    if "--config" not in words:
        words = ["--config", "jobs/configs/tiny.yaml", *words]
    with running_hub(options.hub_port, options.seed) as (endpoint, token):
        env = environment(endpoint, token)
        run_loop([*words, "--run", str(options.run), "--namespace", USER], env)
        if not options.no_page:
            raise SystemExit(run_page(options.run, options.port, env))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(0) from None
