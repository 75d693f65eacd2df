"""An exported folder as cards and repositories see it: its files, the served one, and what the gate found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.errors import UserError
from jobs.step import StepRecord
from qa.artifacts import ArtifactError, pick_gguf


def gguf_type(name: str) -> str:
    """`footnote-tiny-Q4_K_M.gguf` → `Q4_K_M`, as llama.cpp and Ollama name it."""
    return Path(name).stem.rpartition("-")[2].upper()


def gguf_files(step: StepRecord) -> list[dict[str, Any]]:
    """Name, type, size and SHA-256 of the models in GGUF that a step made."""
    models = step.figures["files"].values()
    return [
        {"name": name, "type": gguf_type(name), **entry}
        for name, entry in sorted(step.outputs.items())
        if name in models
    ]


def served_file(folder: Path, step: StepRecord) -> str:
    """The file that is served of those that a step made. Raises `UserError` where that is not clear."""
    try:
        return pick_gguf([file["name"] for file in gguf_files(step)])
    except ArtifactError as error:
        reason = str(error).partition(";")[0]
        raise UserError(f"{folder}: {reason}; set export.types so that there is one, and export") from None


def verdicts(folder: Path, step: StepRecord) -> dict[str, dict[str, Any]]:
    """What the gate found of each file by type. Raises `UserError` where it was not asked, or of fewer files."""
    found = step.figures.get("verified") or {}
    files = step.figures["files"]
    if not files or any(kind not in found or found[kind]["passed"] is not True for kind in files):
        raise UserError(f"{folder}: its files were not verified; export them again with a data set (--dataset)")
    return dict(found)
