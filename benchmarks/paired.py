"""A command run in a process of its own: its wall and CPU seconds, its peak memory, what it wrote."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
INTERVAL = 0.02  # seconds between two looks at a process's memory


@dataclass(frozen=True)
class Usage:
    """What one process took: CPU seconds of user and system together, bytes of memory, bytes written.

    `peak_bytes` is the peak of resident memory, pages of mapped files included, and `anonymous_bytes` without them,
    both as seen every 20 ms; `written_bytes` are those that the kernel charges to it as written to a disk.
    """

    cpu_seconds: float
    peak_bytes: int
    wall_seconds: float = 0.0
    anonymous_bytes: int = 0
    written_bytes: int = 0


def measure(code: str, *arguments: str) -> Usage:
    """Run Python code in a process of its own and wait for it."""
    with tempfile.NamedTemporaryFile() as log:
        return measure_command([sys.executable, "-c", code, *arguments], Path(log.name))


def measure_command(command: Sequence[str], log: Path) -> Usage:
    """Run a command from the project's folder and wait for it; `log` gets what it says.

    Raises `RuntimeError` with its last words where it fails.
    """
    begun = time.perf_counter()
    with log.open("wb") as said:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT)
        resident, anonymous, written = _watch(process.pid)
        wall = time.perf_counter() - begun
        _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"{' '.join(command)[:200]}: {log.read_text(errors='replace')[-2000:]}")
    peak = resident or usage.ru_maxrss * 1024
    return Usage(usage.ru_utime + usage.ru_stime, peak, wall, anonymous, written)


def own_peak_bytes() -> int:
    """The peak of this process's resident memory. Linux's ru_maxrss is at least that of the process that started it."""
    return 1024 * (_figure("self", "status", "VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _watch(pid: int) -> tuple[int, int, int]:
    """Wait until the process ends, without burying it; its peaks of memory, and the bytes that it wrote."""
    resident, anonymous, ended = 0, 0, threading.Event()

    def look() -> None:
        nonlocal resident, anonymous
        while not ended.wait(INTERVAL):
            resident = max(resident, 1024 * _figure(pid, "status", "VmHWM"))
            anonymous = max(anonymous, 1024 * _figure(pid, "status", "RssAnon"))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    ended.set()
    looking.join()
    return resident, anonymous, _figure(pid, "io", "write_bytes")


def _figure(pid: int | str, file: str, name: str) -> int:
    """A number that Linux tells of a process; 0 where it tells none, on other systems too."""
    try:
        text = Path(f"/proc/{pid}/{file}").read_text()
    except OSError:
        return 0
    found = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0
