"""Where a result came from: the command, the commit, the versions and the machine, for `step.json`."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch transformers trl peft datasets accelerate bitsandbytes huggingface_hub llama_cpp_python gguf evaluate bm25s"
).split()


def command_line() -> str:
    """This process's command as it can be typed again: a step called by the pipeline is made again by the pipeline.

    Of a launcher's words it has the number of processes: neither its configuration nor the machines are known here.
    """
    module, world = main_module(), os.environ.get("WORLD_SIZE", "1")
    program = ["-m", module.removesuffix(".__main__")] if module else [sys.argv[0]]
    start = ["accelerate", "launch", "--num_processes", world] if int(world) > 1 else ["python"]
    return shlex.join([*start, *program, *sys.argv[1:]])


def main_module() -> str | None:
    """The name by which another process imports what runs here as `__main__`; None where it has none.

    A job starts a copy of a step's file in another folder, beside which nothing else of the project is.
    """
    main = sys.modules["__main__"]
    if spec := getattr(main, "__spec__", None):
        return spec.name
    script = Path(getattr(main, "__file__", None) or "-")
    step = Path(__file__).with_name(script.name)
    same = script.is_file() and step.is_file() and script.read_bytes() == step.read_bytes()
    return f"jobs.{step.stem}" if same else None


def git_commit() -> str | None:
    """The commit of the project's checkout, marked when files differ from it; None outside a checkout."""
    root = Path(__file__).parent.parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Processor, cores, memory in bytes, and GPUs where torch is loaded and sees some."""
    found: dict[str, Any] = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpus"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return found
