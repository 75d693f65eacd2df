"""Checkpoints of a training run: only whole ones count, and what is loaded is what was saved."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from jobs.step import write_json

WHOLE = "whole.json"  # written after everything else of a checkpoint: without it the checkpoint is torn
ADAPTER = "adapter_model.safetensors"


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in a folder; torn ones are removed."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        if (path / WHOLE).is_file():
            whole.append(path)
        else:
            shutil.rmtree(path)
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


class MarkWhole(TrainerCallback):
    """Marks each checkpoint once all of it is on disk."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        path = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        write_json(path / WHOLE, {"step": state.global_step})


class CheckResumed(TrainerCallback):
    """Asserts that the adapter in memory is the saved one: elsewhere a resume silently began from a random one."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        import torch
        from peft import get_peft_model_state_dict
        from safetensors.torch import load_file

        saved = load_file(self.checkpoint / ADAPTER)
        held = get_peft_model_state_dict(kwargs["model"])
        differing = [name for name in saved if name not in held or not torch.equal(saved[name], held[name].cpu())]
        if differing or len(saved) != len(held):
            raise RuntimeError(f"{self.checkpoint}: resumed adapter differs from the saved one in {differing[:3]}")
