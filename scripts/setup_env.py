"""Make the project's environment: `python scripts/setup_env.py [--venv .venv] [--wheels DIR]`. Standard library only.

PyTorch first and pinned, so that nothing later pulls another build. Then llama-cpp-python, which the package index has
as source only: its core alone is compiled, on every core, and pip keeps the wheel for the next environment.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import threading
import time
import venv
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
INPUTS = ("requirements.txt", "constraints.txt", "pyproject.toml", "scripts/llama-core.cmake")
COMPILE_MINUTES = 1.7  # measured on two cores: 1 min 44 s, 2 min 55 s of processor time
LLAMA_BUILD = {
    # The binding opens libllama and libggml alone; the multimodal and common libraries are most of the compilation.
    "CMAKE_ARGS": f"-DLLAVA_BUILD=OFF -DCMAKE_PROJECT_llama.cpp_INCLUDE={ROOT / 'scripts' / 'llama-core.cmake'}",
    "SKBUILD_BUILD_TARGETS": "llama",
    "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1),
}


def stop(message: str) -> NoReturn:
    """What is wrong and what to do, in one line; exit code 2."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def pinned(package: str) -> str:
    """`package==version` from the constraints."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(package)}==\S+$", text, re.MULTILINE | re.IGNORECASE)
    if found is None:
        stop(f"constraints.txt does not pin {package}; add a line {package}==VERSION")
    return found[0]


def pip(python: Path, what: str, *words: str, wheels: str, environment: dict[str, str] | None = None) -> None:
    """Run pip install with the constraints, saying what goes on and for how long; show its words if it fails."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words]
    command += ["--constraint", str(ROOT / "constraints.txt")]
    if wheels:
        command += ["--find-links", wheels]
    result = watch(command, what, environment)
    if result.returncode:
        print(result.stdout)
        stop(f"{what} failed (above: pip's own words)")


def watch(command: list[str], what: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command, saying what goes on and for how long; its words (stdout and stderr) are in the result."""
    begun = time.monotonic()
    done = threading.Event()
    ticker = threading.Thread(target=_tick, args=(what, begun, done), daemon=True)
    ticker.start()
    try:
        result = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    finally:
        done.set()
        ticker.join()
    if not result.returncode:
        print(f"\r{what}: {time.monotonic() - begun:.0f} s".ljust(78), flush=True)
    return result


def _tick(what: str, begun: float, done: threading.Event) -> None:
    """A line that moves on a terminal, a line a minute in a log."""
    every = 1.0 if sys.stdout.isatty() else 60.0
    while not done.wait(every):
        print(f"\r{what}: {time.monotonic() - begun:.0f} s", end="" if sys.stdout.isatty() else "\n", flush=True)


def install(folder: Path, wheels: str) -> None:
    """Install everything into the environment `folder`, making it where it is missing."""
    if not (folder / "bin" / "python").exists():
        venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip(python, "pip", "--upgrade", "pip", "setuptools", "wheel", wheels=wheels)
    pip(python, "PyTorch", pinned("torch"), wheels=wheels)
    llama = (
        f"llama.cpp's core, compiled on {os.cpu_count()} cores where no wheel is at hand "
        f"(about {COMPILE_MINUTES} min on two)"
    )
    pip(python, llama, pinned("llama_cpp_python"), wheels=wheels, environment=LLAMA_BUILD)
    pip(python, "the other packages", "--no-build-isolation", "--editable", ".[jobs,dev]", wheels=wheels)


def stamp() -> str:
    """What the environment was made from."""
    return hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in INPUTS)).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    parser.add_argument("--wheels", default=os.environ.get("WHEELS", ""), help="folder of ready wheels")
    options = parser.parse_args()
    if sys.version_info[:2] not in ((3, 11), (3, 12)):
        stop(f"Python 3.11 or 3.12 is needed, this is {sys.version.split()[0]}; set PYTHON=python3.11")
    if options.wheels and not Path(options.wheels).is_dir():
        stop(f"WHEELS={options.wheels} is not a folder")
    ready = options.venv / ".ready"
    if not ready.is_file() or ready.read_text() != stamp():
        print(f"making {options.venv} (once; PyTorch and its companions are about 1.5 GB on disk)", flush=True)
        install(options.venv.resolve(), str(Path(options.wheels).resolve()) if options.wheels else "")
    ready.write_text(stamp())


if __name__ == "__main__":
    main()
