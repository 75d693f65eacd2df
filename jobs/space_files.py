"""What a Space is made of: the app, `qa/`, `space/`, its requirements with the wheel that a run built, and its card."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import constants

from jobs.card_facts import Run
from jobs.cards import render_space
from jobs.errors import UserError
from jobs.hub import Content
from jobs.staging import WHEEL, WHEELS
from jobs.step import StepRecord, finished
from jobs.wheel_name import PACKAGE, wheel_name

ROOT = Path(__file__).parents[1]
ROOMS, SUFFIXES = ("qa", "space"), (".py", ".css", ".js", ".svg")
JOBS_ONLY = ROOT / "qa" / "metrics"  # built on `evaluate`, which a Space does not install
SYSTEM_PACKAGES = b"libgomp1\n"  # the wheel's libraries need it beside what Python itself needs


def wheel_of(run: Path) -> tuple[str, str]:
    """Name and SHA-256 of the wheel that a run built. Raises `UserError` where a Space could not install it."""
    record: StepRecord | None = finished(run / WHEEL)
    if record is None:
        raise UserError(
            f"{run / WHEEL}: no wheel of {PACKAGE}, and a Space has no time to compile it: "
            f"python -m jobs.build_wheel --out {run / WHEEL}"
        )
    name, line = str(record.figures["file"]), pinned()
    if name != (wanted := wheel_name(line.partition("==")[2])):
        raise UserError(f"{run / WHEEL}: {name} is not {wanted}; run python -m jobs.build_wheel again")
    return name, str(record.outputs[name]["sha256"])


def sources() -> dict[str, Content]:
    """Path in the Space → the file of the checkout that stands there. Raises `UserError` where one is absent."""
    files: dict[str, Content] = {name: ROOT / name for name in ("app.py", "LICENSE")}
    for room in ROOMS:
        files |= {path.relative_to(ROOT).as_posix(): path for path in sorted((ROOT / room).rglob("*")) if _goes(path)}
    needed = [
        ROOT / name for name in ("app.py", "LICENSE", "requirements.txt", *(f"{room}/__init__.py" for room in ROOMS))
    ]
    if absent := [path for path in needed if not path.is_file()]:
        raise UserError(f"{absent[0]}: not there; deploy the Space from a whole checkout")
    return files


def space_files(run: Run, revisions: dict[str, str]) -> dict[str, Content]:
    """Path in the Space → its content, at these revisions of what it serves. Raises `UserError`."""
    files = sources()
    files["requirements.txt"] = requirements(run, revisions["gguf"]).encode()
    files["packages.txt"] = SYSTEM_PACKAGES
    files["README.md"] = render_space(run, revisions).encode()
    return files


def _goes(path: Path) -> bool:
    return path.is_file() and path.suffix in SUFFIXES and JOBS_ONLY not in path.parents


def requirements(run: Run, revision: str) -> str:
    """The project's requirements, with llama.cpp's binding as the wheel beside the GGUF files at this revision.

    Gradio's line is left out: the card's `sdk_version` installs it, and the Hub wants it named once.
    """
    name, sha256 = wheel_of(run.folder)
    address = f"{constants.ENDPOINT}/{run.names.gguf}/resolve/{revision}/{WHEELS}/{name}#sha256={sha256}"
    kept = [line for line in _lines() if not line.startswith("gradio==")]
    return "\n".join(f"{PACKAGE} @ {address}" if line == pinned() else line for line in kept) + "\n"


def pinned() -> str:
    """The line of the project's requirements that names llama.cpp's binding."""
    return next(line for line in _lines() if line.startswith(f"{PACKAGE}=="))


def _lines() -> list[str]:
    return [line for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines() if "==" in line]
