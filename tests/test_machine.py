"""Cores and memory: what Linux allows, or a container's limits where they are narrower."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qa import machine
from qa.llama_model import SMALL_FILE, threads_for


@pytest.fixture(autouse=True)
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the container's limits are read; eight cores and 8,000 MB are there."""
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(machine, "MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    write(tmp_path, "meminfo", "MemTotal:       9000000 kB\nMemAvailable:    8000000 kB\n")
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("told", "cores"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("10000 100000\n", 1),
        ("max 100000\n", 8),
        ("3200000 100000\n", 8),
    ],
)
def test_a_share_of_processor_time_bounds_the_cores(told: str, cores: int, group: Path) -> None:
    assert machine.cores() == 8
    write(group, "cpu.max", told)
    assert machine.cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("250000\n", 3), ("-1\n", 8)])
def test_the_older_files_of_a_share_are_read_too(quota: str, cores: int, group: Path) -> None:
    write(group, "cpu/cpu.cfs_quota_us", quota)
    assert machine.cores() == 8
    write(group, "cpu/cpu.cfs_period_us", "100000\n")
    assert machine.cores() == cores


def test_a_large_file_has_a_thread_for_each_core_and_a_small_one_has_one(group: Path) -> None:
    write(group, "cpu.max", "200000 100000\n")
    large, small = group / "large.gguf", group / "small.gguf"
    for path, size in ((large, SMALL_FILE), (small, SMALL_FILE - 1)):
        path.touch()
        os.truncate(path, size)
    assert (threads_for(large), threads_for(small)) == (2, 1)


def test_free_memory_is_what_linux_says_where_there_is_no_limit(group: Path) -> None:
    assert machine.free_memory() == 8_000_000 * 1024
    write(group, "memory.max", "max\n")
    write(group, "memory.current", "1000\n")
    assert machine.free_memory() == 8_000_000 * 1024
    (group / "meminfo").unlink()
    assert machine.free_memory() == machine.UNLIMITED


@pytest.mark.parametrize(
    ("limit", "used", "stat"),
    [
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ],
)
def test_a_limit_bounds_free_memory_and_old_files_give_way(limit: str, used: str, stat: str, group: Path) -> None:
    write(group, limit, "4000000000\n")
    write(group, used, "3000000000\n")
    assert machine.free_memory() == 1_000_000_000
    write(group, stat, "anon 900000000\ninactive_file 1900000000\nactive_file 7\ntotal_inactive_file 1900000000\n")
    assert machine.free_memory() == 2_900_000_000
    write(group, limit, "1000000000\n")
    assert machine.free_memory() == 0
    write(group, limit, "9223372036854771712\n")  # how the older files say that there is none
    assert machine.free_memory() == 8_000_000 * 1024


def test_this_machine_has_cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert 1 <= machine.cores() <= len(os.sched_getaffinity(0))
    assert 1 << 20 < machine.free_memory() < 1 << 50
