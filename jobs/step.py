"""The contract of a step: one folder, whose `step.json` is written last, so that its presence means completeness.

A step works in `<out>.partial/` and the folder is renamed to `<out>/` when it is whole: nothing half-written ever
stands under a final name. Killed, it leaves `<out>.partial/`; started again with the same arguments and inputs it finds
its checkpoints there, with others it starts from nothing. Done, it is not done again while arguments, inputs and
outputs are the same (outputs by hash, those over 64 MiB by size).
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from jobs.claims import claim_in, differences
from jobs.errors import UserError
from jobs.failures import forget, note
from jobs.placing import (
    CHECKPOINTS,
    CLAIM_FILE,
    MARKS,
    STEP_FILE,
    alone,
    beside,
    clear,
    files,
    final,
    flush,
    place,
    remove,
    tidy,
    write_json,
)
from jobs.provenance import command_line, git_commit, hardware, versions
from jobs.stopping import Interrupted

SCHEMA = 1
SOURCES = (".py", ".j2")
HASHED_UP_TO = 64 * 2**20  # bytes: hashing 6 GB of weights at every start would take longer than most steps


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
    again: bool = False,
    goes_on: Callable[[Path, Mapping[str, Any]], bool] | None = None,
) -> tuple[StepRecord, bool]:
    """Do `work(folder)` unless `out` already holds its result; returns the record and whether work was done.

    `work` writes its artefact into the folder it is given, keeps what it wants to find after a kill under
    `checkpoints/`, and returns its figures (plain JSON values). Arguments are plain JSON values too. `again` does it
    even where it is done: for what can change outside of the folder. `goes_on(folder, claim)` says whether checkpoints
    under another claim serve this one too; it may raise rather than have them cleared.
    """
    record = StepRecord(name, _plain(arguments), {key: fingerprint(path) for key, path in inputs.items()})
    out = out.resolve() if out.is_symlink() else out  # a link to a larger disk stays one
    _refuse_foreign(name, out, inputs)
    partial = beside(out, "partial")
    left = partial.exists() or beside(out, "old").exists()
    if not again and not left and (done := _made(out, record)):
        return done, False
    with alone(partial):
        if whole := _made(partial, record):  # killed after its last byte, before its place
            place(partial, out, finished)
            forget(out)
            return whole, True
        if not again and (done := _made(out, record)):
            with alone(out):  # another process may still be at the end of placing it
                tidy(partial, out)
            return done, False
        with _claimed(partial, record, goes_on):
            _make(partial, record, work, command or command_line())
            place(partial, out, finished)
        forget(out)
    return record, True


def _make(folder: Path, record: StepRecord, work: Callable[[Path], dict[str, Any]], command: str) -> None:
    record.started, begun = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    record.figures = _plain(work(folder))
    record.seconds = round(time.monotonic() - begun, 3)
    record.command = command
    record.git_commit, record.versions, record.hardware = git_commit(), versions(), hardware()
    _seal(folder, record)


def _refuse_foreign(step: str, out: Path, inputs: Mapping[str, Path]) -> None:
    """Raise `UserError` rather than write over what this step did not make, or over what it is to read."""
    if not out.name or out.name == "..":
        raise UserError(f"--out {str(out)!r}: name a new folder for the step's result")
    if out.is_mount():
        raise UserError(f"{out}: is a mount point, which cannot be replaced as a whole; name a folder in it")
    for folder in (out, beside(out, "partial"), beside(out, "old")):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: a file stands there; name a new folder")
        if folder.is_dir() and any(folder.iterdir()) and not any((folder / mark).is_file() for mark in MARKS):
            raise UserError(f"{folder}: holds files that no step made, which would be lost; name a new folder")
    if (out / STEP_FILE).is_file() and (made_by := read_step(out).step) != step:
        raise UserError(f"{out}: holds the result of the step {made_by}, which would be lost; name another folder")
    for name, path in inputs.items():
        if out.resolve() in (path.resolve(), *path.resolve().parents):
            raise UserError(f"{out}: is or holds the {name} that the step reads ({path}); name another folder")


def read_step(folder: Path) -> StepRecord:
    """Read the record of a finished step; a missing or foreign one is an error that says what to do."""
    path = folder / STEP_FILE
    try:
        return StepRecord(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        reason = f"no {STEP_FILE}, so the step that makes it has not finished; run it first"
        raise UserError(f"{folder}: {reason}") from None
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path}: not a record of a finished step ({error}); delete it and run the step again"
        ) from None


def finished(out: Path) -> StepRecord | None:
    """The record of `out` if it is whole: every output there, as it was recorded."""
    if not (out / STEP_FILE).is_file():
        return None
    record = read_step(out)
    return record if all(_is_as_recorded(out / name, entry) for name, entry in record.outputs.items()) else None


def _made(out: Path, record: StepRecord) -> StepRecord | None:
    known = (out / STEP_FILE).is_file() and read_step(out).claim == record.claim
    return finished(out) if known else None


def _is_as_recorded(path: Path, entry: dict[str, Any]) -> bool:
    if not path.is_file() or path.stat().st_size != entry["bytes"]:
        return False
    return entry["bytes"] > HASHED_UP_TO or file_sha256(path) == entry["sha256"]


def fingerprint(path: Path) -> str:
    """SHA-256 of an input: of a step's recorded outputs, of a folder's files and names, or of a file."""
    if (path / STEP_FILE).is_file():
        outputs = read_step(path).outputs
        return _digest(json.dumps({name: entry["sha256"] for name, entry in outputs.items()}, sort_keys=True))
    if path.is_dir():
        return _digest("\n".join(f"{name} {file_sha256(path / name)}" for name in files(path)))
    if path.is_file():
        return file_sha256(path)
    raise UserError(f"{path}: no such file or folder; check the path")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_sha256(*modules: ModuleType) -> str:
    """SHA-256 over the source of modules and packages: among a step's arguments, it makes changed code run again."""
    files: list[Path] = []
    for module in modules:
        path = Path(str(module.__file__))
        package = path.name == "__init__.py"
        files += sorted(p for p in path.parent.rglob("*") if p.suffix in SOURCES) if package else [path]
    return _digest("\n".join(file_sha256(path) for path in files))


@contextmanager
def _claimed(
    partial: Path, record: StepRecord, goes_on: Callable[[Path, Mapping[str, Any]], bool] | None
) -> Iterator[None]:
    """The partial folder, for this claim; only checkpoints that serve the claim stay in it."""
    before = claim_in(partial)
    same = before == record.claim or (goes_on is not None and goes_on(partial, record.claim))
    if not same and any(partial.iterdir()):
        if before and (partial / CHECKPOINTS).is_dir():
            other = differences(before, record.claim)
            print(f"{final(partial)}: begun anew: it was begun with another {other}", file=sys.stderr)
        write_json(partial / CLAIM_FILE, {})  # killed while it is cleared, the rest belongs to nobody
    clear(partial, keep=(CLAIM_FILE, CHECKPOINTS) if same else (CLAIM_FILE,))
    if before != record.claim:
        write_json(partial / CLAIM_FILE, record.claim)
    try:
        yield
    except (Exception, Interrupted) as error:
        if not (partial / CHECKPOINTS).is_dir() and not (partial / STEP_FILE).is_file():
            remove(partial)  # nothing in it that a next start could go on from
        note(final(partial), error)
        raise


def _seal(partial: Path, record: StepRecord) -> None:
    """Hash what was made and write `step.json`; only then are the means of going on removed."""
    kept = [name for name in files(partial) if name != CLAIM_FILE and not name.startswith(f"{CHECKPOINTS}/")]
    for name in kept:
        with (partial / name).open("rb") as file:
            flush(file.fileno())  # before a record vouches for it
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            record.outputs[name] = {"bytes": file.tell(), "sha256": digest}
    write_json(partial / STEP_FILE, asdict(record))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """Through JSON and back, so that what is compared is what was written (tuples become lists, paths text)."""
    return json.loads(json.dumps(value, default=str))
