"""Whole checkpoints: a mark, written last, that holds what each file is and which training it belongs to.

A folder without its mark, or with a file that is not as the mark says, is torn and never used. It counts for the same
training only where configuration, data set, base and code are the same, each by its hash.
"""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from jobs.errors import UserError
from jobs.placing import flush
from jobs.step import CHECKPOINTS, CLAIM_FILE, file_sha256, write_json

SCHEMA = 1
WHOLE = "whole.json"
PREFIX = "checkpoint-"
KEPT = 2  # the newest, and the one before in case the newest turns out to be damaged
# A pickle that nothing here reads, and TRL's automatic card.
NOT_KEPT = ("training_args.bin", "README.md")

Claim = Mapping[str, str]


def claim_of(step: Mapping[str, Any]) -> dict[str, str]:
    """What a checkpoint is for, from the claim of the step: a hash each of configuration, data set, base and code."""
    arguments, inputs = step["arguments"], step["inputs"]
    configuration = json.dumps([arguments[name] for name in ("settings", "max_length", "seed")], sort_keys=True)
    base = inputs.get("base") or f"{arguments['base']}@{arguments['revision']}"
    return {
        "configuration": hashlib.sha256(configuration.encode()).hexdigest(),
        "data set": inputs["dataset"],
        "base": base,
        "code": arguments["code"],
    }


def code_sha256(*modules: ModuleType) -> str:
    """SHA-256 of modules without their comments and docstrings, alike in each version of Python that is supported."""
    return hashlib.sha256("\n".join(map(_code, modules)).encode()).hexdigest()


def _code(module: ModuleType) -> str:
    tree = ast.parse(Path(str(module.__file__)).read_bytes())
    for node in ast.walk(tree):
        vars(node).pop("type_params", None)  # from Python 3.12 on
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            del node.body[0]
    return ast.dump(tree)


def mark_whole(folder: Path, step: int, claim: Claim) -> None:
    """Flush a checkpoint's files to disk and vouch for them."""
    files = {name: _entry(folder / name) for name in files_of(folder)}
    write_json(folder / WHOLE, {"schema": SCHEMA, "step": step, "claim": dict(claim), "files": files})


def files_of(folder: Path) -> list[str]:
    """Files of a checkpoint but its mark, relative to it."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if name != WHOLE)


def read_mark(path: Path) -> dict[str, Any] | None:
    """A mark; None where there is none that this version can read."""
    try:
        mark = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    known = isinstance(mark, dict) and mark.get("schema") == SCHEMA and isinstance(mark.get("step"), int)
    return mark if known and isinstance(mark.get("files"), dict) and isinstance(mark.get("claim"), dict) else None


def flaw(folder: Path, mark: Mapping[str, Any]) -> str | None:
    """Which file of a checkpoint is not as its mark says, in words; None where all are."""
    for name, entry in mark["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != entry["bytes"] or file_sha256(path) != entry["sha256"]:
            return f"{name} is not what was saved"
    extra = set(files_of(folder)) - set(mark["files"])
    return f"{min(extra)} was not saved with it" if extra else None


def differences(mark: Mapping[str, Any], claim: Claim) -> str:
    """What a checkpoint has other than this training: "data set and base"; empty where it belongs to it."""
    return " and ".join(name for name, value in claim.items() if mark["claim"].get(name) != value)


def goes_on(folder: Path, step: Mapping[str, Any]) -> bool:
    """Whether a step's folder holds checkpoints for this claim of the step.

    Raises `UserError` where they are of another training: hours that are paid for would be lost.
    """
    newest = newest_marked(folder / CHECKPOINTS)
    if newest is None:
        return False
    mark = read_mark(newest / WHOLE) or {"claim": {}}
    if other := differences(mark, claim_of(step)):
        if changed := _changed(_settings(arguments_in(folder)), _settings(step["arguments"])):
            other = other.replace("configuration", changed)
        what = f"step {step_of(newest)} of a training with another {other}"
        raise UserError(f"{folder}: holds {what}, which would be lost; delete that folder, or name another --out")
    return True


def arguments_in(folder: Path) -> dict[str, Any]:
    """The arguments that a step's folder was claimed with; none where a kill left no whole claim."""
    try:
        return json.loads((folder / CLAIM_FILE).read_bytes()).get("arguments", {})
    except (FileNotFoundError, ValueError):
        return {}


def _settings(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a step's arguments say of the configuration, by its keys."""
    keys = {"dataset.max_length": arguments.get("max_length"), "seed": arguments.get("seed")}
    return {**{f"train.{name}": value for name, value in arguments.get("settings", {}).items()}, **keys}


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    return ", ".join(name for name, value in now.items() if before.get(name, value) != value)


def newest_marked(checkpoints: Path) -> Path | None:
    """The newest checkpoint that has a mark, whatever became of it since."""
    return max((path for path in _checkpoints(checkpoints) if (path / WHOLE).is_file()), key=step_of, default=None)


def newest_checkpoint(folder: Path, claim: Claim) -> Path | None:
    """The newest whole checkpoint in a folder; torn ones are told of and removed, another training's is refused."""
    for path in sorted(_checkpoints(folder), key=step_of, reverse=True):
        mark = read_mark(path / WHOLE)
        reason = flaw(path, mark) if mark else f"{WHOLE} is missing"
        if mark and not reason:
            if other := differences(mark, claim):
                raise UserError(f"{path}: is of a training with another {other}; delete it, or name another --out")
            return path
        print(f"{path}: torn ({reason}); passed over", file=sys.stderr)
        shutil.rmtree(path)
    return None


def remove_older(folder: Path, needed: Path | None) -> None:
    """Keep the newest checkpoints, and the one that is needed still. The newest is whole when this is called."""
    for path in sorted(_checkpoints(folder), key=step_of)[:-KEPT]:
        if path != needed:
            shutil.rmtree(path)


def step_of(checkpoint: Path) -> int:
    """After which optimiser step a checkpoint was saved."""
    return int(checkpoint.name.removeprefix(PREFIX))


def saved_at(args: Any, state: Any) -> Path:
    """The folder that the trainer saved this step's checkpoint in."""
    return Path(args.output_dir) / f"{PREFIX}{state.global_step}"


def _checkpoints(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdecimal())


def _entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        flush(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": file.tell(), "sha256": digest}
