"""What this process may use of its machine: cores and memory, by Linux and by the limits of its container."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")  # a container sees its own limits here
MEMORY = Path("/proc/meminfo")
UNLIMITED = 1 << 62


def cores() -> int:
    """Cores that can compute at once: those allowed, or what the container's share of processor time is enough for."""
    quota, period = _numbers("cpu.max") or _numbers("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us") or (-1, 1)
    allowed = len(os.sched_getaffinity(0))
    return min(allowed, math.ceil(quota / period)) if quota > 0 else allowed


def free_memory() -> int:
    """Bytes that Linux could give out and the container may take; `UNLIMITED` where neither says."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", MEMORY.read_text(encoding="utf-8")) if MEMORY.exists() else None
    return min(int(found[1]) * 1024 if found else UNLIMITED, _left_to_container())


def _left_to_container() -> int:
    for folder, limit, used in (
        ("", "memory.max", "memory.current"),
        ("memory/", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        if found := _numbers(folder + limit, folder + used):
            return max(found[0] - found[1] + _reclaimable(folder + "memory.stat"), 0)
    return UNLIMITED


def _reclaimable(name: str) -> int:
    """Bytes of files that were read long ago: a model that was just downloaded counts as used, and gives way."""
    path = CGROUP / name
    found = re.search(r"^inactive_file (\d+)$", path.read_text(), re.MULTILINE) if path.exists() else None
    return int(found[1]) if found else 0


def _numbers(*names: str) -> tuple[int, int] | None:
    """The two numbers of one file, or of two; None where one is absent or says "max"."""
    paths = [CGROUP / name for name in names]
    if not all(path.exists() for path in paths):
        return None
    words = " ".join(path.read_text() for path in paths).split()
    return (int(words[0]), int(words[1])) if "max" not in words else None
