"""Two commands run in turn, several times: medians of their CPU seconds, peak memory, and the ratio of each pair."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Usage:
    """What one process took: CPU seconds of user and system together, and its peak resident memory in bytes."""

    cpu_seconds: float
    peak_bytes: int


def measure(code: str, *arguments: str) -> Usage:
    """Run Python code in a process of its own and wait for it."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        if os.waitstatus_to_exitcode(status):
            errors.seek(0)
            raise RuntimeError(errors.read().decode()[-2000:])
    return Usage(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def compare(title: str, ours: tuple[str, list[str]], theirs: tuple[str, list[str]], *, rounds: int = 5) -> None:
    """Measure both in turn and print medians and the median of the paired ratios (ours over theirs)."""
    pairs = [(measure(ours[0], *ours[1]), measure(theirs[0], *theirs[1])) for _ in range(rounds)]
    table = Table(title=f"{title}, {rounds} rounds on {os.cpu_count()} cores", title_justify="left", box=None)
    for column in ("", "ours", "theirs", "ours / theirs (lowest–highest)"):
        table.add_column(column)
    for name, unit, scale in (("cpu_seconds", "CPU s", 1.0), ("peak_bytes", "peak MB", 1e6)):
        left = [getattr(a, name) / scale for a, _ in pairs]
        right = [getattr(b, name) / scale for _, b in pairs]
        ratios = [a / b for a, b in zip(left, right, strict=True)]
        table.add_row(
            unit, f"{statistics.median(left):.2f}", f"{statistics.median(right):.2f}",
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})",
        )  # fmt: skip
    Console().print(table)
