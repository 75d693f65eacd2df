"""The contract of a step: one folder, whose `step.json` is written last, so that its presence means completeness.

A step works in `<out>.partial/` and the folder is renamed to `<out>/` when it is whole: nothing half-written ever
stands under a final name. Killed, it leaves `<out>.partial/`; started again with the same arguments and inputs it finds
its checkpoints there, with others it starts from nothing. Done, it is not done again while arguments, inputs and the
hashes of its outputs are the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from jobs.errors import UserError

SCHEMA = 1
STEP_FILE = "step.json"
CLAIM_FILE = "claim.json"  # in the partial folder: for which arguments and inputs the work in it is
CHECKPOINTS = "checkpoints"  # in the partial folder: kept over a kill, removed when the step is whole
PACKAGES = (
    "torch transformers trl peft datasets accelerate bitsandbytes huggingface_hub llama_cpp_python gguf evaluate"
).split()


@dataclass
class StepRecord:
    """What `step.json` holds. `inputs` and `outputs` map a name to its SHA-256 and size; `seconds` are wall time."""

    step: str
    arguments: dict[str, Any]
    inputs: dict[str, str]
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    started: str = ""
    seconds: float = 0.0
    git_commit: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def claim(self) -> dict[str, Any]:
        """What decides whether the step must run again."""
        return {"schema": self.schema, "step": self.step, "arguments": self.arguments, "inputs": self.inputs}


def run_step(
    name: str,
    out: Path,
    *,
    arguments: Mapping[str, Any],
    inputs: Mapping[str, Path],
    work: Callable[[Path], dict[str, Any]],
    command: str | None = None,
) -> tuple[StepRecord, bool]:
    """Do `work(folder)` unless `out` already holds its result; returns the record and whether work was done.

    `work` writes its artefact into the folder it is given, keeps what it wants to find after a kill under
    `checkpoints/`, and returns its figures (plain JSON values). Arguments are plain JSON values too.
    """
    record = StepRecord(name, _plain(arguments), {key: fingerprint(path) for key, path in inputs.items()})
    if (done := finished(out)) and done.claim == record.claim:
        return done, False
    partial = _claim_partial(out, record)
    record.started, begun = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    record.figures = _plain(work(partial))
    record.seconds = round(time.monotonic() - begun, 3)
    record.command = command or command_line()
    record.git_commit, record.versions, record.hardware = git_commit(), versions(), hardware()
    _seal(partial, out, record)
    return record, True


def read_step(folder: Path) -> StepRecord:
    """Read the record of a finished step; a missing or foreign one is an error that says what to do."""
    path = folder / STEP_FILE
    try:
        return StepRecord(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        reason = f"no {STEP_FILE}, so the step that makes it has not finished; run it first"
        raise UserError(f"{folder}: {reason}") from None
    except (json.JSONDecodeError, TypeError) as error:
        raise UserError(
            f"{path}: not a record of a finished step ({error}); delete it and run the step again"
        ) from None


def finished(out: Path) -> StepRecord | None:
    """The record of `out` if it is whole: every output there, with the size that was recorded."""
    if not (out / STEP_FILE).is_file():
        return None
    record = read_step(out)
    for name, entry in record.outputs.items():
        path = out / name
        if not path.is_file() or path.stat().st_size != entry["bytes"]:
            return None
    return record


def fingerprint(path: Path) -> str:
    """SHA-256 of an input: of a step's recorded outputs, of a folder's files and names, or of a file."""
    if (path / STEP_FILE).is_file():
        outputs = read_step(path).outputs
        return _digest(json.dumps({name: entry["sha256"] for name, entry in outputs.items()}, sort_keys=True))
    if path.is_dir():
        return _digest("\n".join(f"{name} {file_sha256(path / name)}" for name in _files(path)))
    if path.is_file():
        return file_sha256(path)
    raise UserError(f"{path}: no such file or folder; check the path")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: temporary file, flushed to disk, then renamed."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, ensure_ascii=False, sort_keys=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _claim_partial(out: Path, record: StepRecord) -> Path:
    partial = out.with_name(out.name + ".partial")
    claim = partial / CLAIM_FILE
    if partial.exists() and (not claim.is_file() or claim.read_text(encoding="utf-8") != _json(record.claim)):
        shutil.rmtree(partial)
    partial.mkdir(parents=True, exist_ok=True)
    claim.write_text(_json(record.claim), encoding="utf-8")
    return partial


def _seal(partial: Path, out: Path, record: StepRecord) -> None:
    """Hash what was made, write `step.json`, and put the folder in its place in one rename."""
    shutil.rmtree(partial / CHECKPOINTS, ignore_errors=True)
    (partial / CLAIM_FILE).unlink()
    for name in _files(partial):
        path = partial / name
        record.outputs[name] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
    write_json(partial / STEP_FILE, asdict(record))
    old = out.with_name(out.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    partial.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """Through JSON and back, so that what is compared is what was written (tuples become lists, paths text)."""
    return json.loads(json.dumps(value, default=str))


def command_line() -> str:
    """This process's command as it can be typed again: a step called by the pipeline is made again by the pipeline."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = ["-m", spec.name.removesuffix(".__main__")] if spec else [sys.argv[0]]
    return shlex.join(["python", *program, *sys.argv[1:]])


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
