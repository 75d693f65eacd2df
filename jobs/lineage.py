"""Whether the steps of a run belong together: each was made from what stands beside it now, not from an older one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jobs.errors import UserError
from jobs.step import StepRecord, fingerprint

MADE_FROM = {  # step → name of its input → the folder that was that input
    "index": {"passages": "passages"},
    "questions": {"passages": "passages"},
    "base": {"passages": "passages"},
    "dataset": {"questions": "questions", "passages": "passages"},
    "adapter": {"dataset": "dataset", "base": "base"},
    "merged": {"base": "base", "adapter": "adapter"},
    "gguf": {"merged": "merged", "dataset": "dataset"},
    "base_gguf": {"merged": "base", "dataset": "dataset"},
    "adapter_gguf": {name: name for name in ("base", "adapter", "base_gguf", "merged", "dataset")},
    "ladder": {"gguf": "gguf", "dataset": "dataset", "passages": "passages"},
    "examples": {"gguf": "gguf"},
    "evaluation": {"dataset": "dataset"},
}
EVALUATED = ("base", "adapter", "merged")  # folders among an evaluation's models; of `gguf` it is one file


def check_lineage(run: Path, steps: Mapping[str, StepRecord]) -> None:
    """Raise `UserError` naming the first step that was made from something else than the run's own folder.

    An input without a folder in the run is not compared: a base model on the Hub has none.
    """
    for step, inputs in MADE_FROM.items():
        for name, folder in inputs.items():
            if step in steps and folder in steps and steps[step].inputs.get(name) != fingerprint(run / folder):
                raise _foreign(run / step, folder)
    evaluated = steps["evaluation"].inputs
    for model in EVALUATED:
        if model in steps and model in evaluated and evaluated[model] != fingerprint(run / model):
            raise _foreign(run / "evaluation", model)
    files = {entry["sha256"] for entry in steps["gguf"].outputs.values()}
    if "gguf" in evaluated and evaluated["gguf"] not in files:
        raise _foreign(run / "evaluation", "gguf")


def _foreign(step: Path, source: str) -> UserError:
    return UserError(f"{step}: made from another {source}; run it again")
