"""Merge an adapter into its base: `python -m jobs.merge BASE ADAPTER --out DIR`.

W + (alpha / r) · B A (Hu et al. 2021), computed in float32 and rounded once to the base's own type, one tensor at a
time from disk to disk: the model is never in memory, and never merged into quantised weights.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.adapters import base_of, check_base_of
from jobs.arguments import path_argument
from jobs.errors import UserError, first_line, run_main
from jobs.progress import bar
from jobs.safetensors_stream import read_header, write_stream
from jobs.step import StepRecord, run_step

if TYPE_CHECKING:
    import torch

PREFIX = "base_model.model."
CARRIED = (
    "config.json generation_config.json tokenizer.json tokenizer_config.json vocab.json merges.txt added_tokens.json "
    "special_tokens_map.json chat_template.jinja model.safetensors.index.json"
).split()


def merge(base: str, adapter: Path, out: Path, *, revision: str | None = None) -> tuple[StepRecord, bool]:
    """Merge `adapter` into `base` (Hub id or folder); `out` is a transformers folder with the base's tokenizer.

    `revision` of a Hub id: by default the one that the adapter was trained on; any other is refused.
    """
    revision = revision or base_of(adapter)[1]
    check_base_of(adapter, base, revision)
    folder = base_folder(base, revision)
    return run_step(
        "merge",
        out,
        arguments={"base": base, "revision": revision},
        inputs={"base": folder, "adapter": adapter},
        work=lambda work: _work(folder, adapter, work),
    )


def base_folder(base: str, revision: str) -> Path:
    """The folder of a base model: itself, or a snapshot from the Hub (safetensors and tokenizer only)."""
    if Path(base).is_dir():
        return Path(base)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        wanted = ["*.safetensors", "*.json", "*.txt", "*.jinja"]
        found = snapshot_download(base, revision=revision, allow_patterns=wanted)
    except (HfHubHTTPError, LocalEntryNotFoundError, ValueError) as error:
        raise UserError(f"base model {base!r} at {revision!r}: {first_line(error)}") from None
    return Path(found)


def _work(base: Path, adapter: Path, out: Path) -> dict[str, Any]:
    deltas = Deltas(adapter)
    shards = sorted(base.glob("*.safetensors"))
    if not shards:
        raise UserError(f"{base}: no .safetensors file; the base model's weights are needed to merge into")
    headers = {shard: read_header(shard) for shard in shards}
    names = {name for header in headers.values() for name in header if name != "__metadata__"}
    if foreign := sorted(deltas.targets - names):
        raise UserError(f"{adapter}: made for another base: {foreign[0]} is not in {base}")
    with bar(len(names), "merge", unit="tensor") as shown:
        for shard, header in headers.items():
            write_stream(out / shard.name, header, _merged(shard, header, deltas, shown))
    for name in CARRIED:
        if (base / name).is_file():
            shutil.copy(base / name, out / name)
    return {"tensors": len(names), "merged_tensors": len(deltas.targets), "shards": len(shards)}


def _merged(shard: Path, header: dict[str, Any], deltas: Deltas, shown: Any) -> Iterator[tuple[str, torch.Tensor]]:
    from safetensors import safe_open

    with safe_open(shard, framework="pt") as tensors:
        for name in header:
            if name != "__metadata__":
                yield name, deltas.apply(name, tensors.get_tensor(name))
                shown.update()


class Deltas:
    """The low-rank updates of an adapter, by the name of the base tensor each belongs to."""

    def __init__(self, adapter: Path) -> None:
        from safetensors import SafetensorError, safe_open

        self.adapter = adapter
        self.config = _read_config(adapter)
        try:
            self.tensors = safe_open(adapter / "adapter_model.safetensors", framework="pt")
        except (OSError, SafetensorError) as error:
            raise UserError(f"{adapter}/adapter_model.safetensors: cannot be read ({error}); run train again") from None
        names = set(self.tensors.keys())
        self.targets = {_target(name) for name in names if name.endswith(".lora_A.weight")}
        expected = {f"{PREFIX}{_module(t)}.lora_{side}.weight" for t in self.targets for side in "AB"}
        if odd := sorted(names ^ expected):
            raise UserError(f"{adapter}: {odd[0]} is missing or not a LoRA tensor, so the adapter cannot be merged")

    def apply(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """The base tensor with its update, in the base tensor's type; untouched where there is none."""
        import torch

        if name not in self.targets:
            return weight
        module = _module(name)
        low = self.tensors.get_tensor(f"{PREFIX}{module}.lora_A.weight").float()  # (r, in)
        high = self.tensors.get_tensor(f"{PREFIX}{module}.lora_B.weight").float()  # (out, r)
        if (high.shape[0], low.shape[1]) != tuple(weight.shape):
            shape = (high.shape[0], low.shape[1])
            raise UserError(f"{self.adapter}: made for another base: {name} is {tuple(weight.shape)}, update {shape}")
        merged = weight.float() + self.scale(module, low.shape[0]) * (high @ low)
        if not torch.isfinite(merged).all():
            raise UserError(f"{self.adapter}: {name} holds NaN or infinity after merging; the training has diverged")
        return merged.to(weight.dtype)

    def scale(self, module: str, rank: int) -> float:
        """alpha / r, or alpha / √r for rank-stabilised LoRA, with peft's per-module alphas."""
        alpha = self.config["lora_alpha"]
        for pattern, value in (self.config.get("alpha_pattern") or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                alpha = value
                break
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)


def _read_config(adapter: Path) -> dict[str, Any]:
    path = adapter / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); expected a peft adapter") from None
    if config.get("peft_type") != "LORA":
        raise UserError(f"{path}: peft_type {config.get('peft_type')} is not supported, only LORA")
    unsupported = [key for key in ("use_dora", "modules_to_save", "lora_bias", "fan_in_fan_out") if config.get(key)]
    if config.get("bias", "none") != "none":
        unsupported.append("bias")
    if unsupported:
        raise UserError(f"{path}: {', '.join(unsupported)} cannot be merged; train without it")
    return config


def _target(name: str) -> str:
    return name.removeprefix(PREFIX).removesuffix(".lora_A.weight") + ".weight"


def _module(target: str) -> str:
    return target.removesuffix(".weight")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m jobs.merge", description=__doc__.split("\n\n")[0])
    parser.add_argument("base", help="base model: Hub id or folder")
    parser.add_argument("adapter", type=path_argument, help="folder that train made")
    parser.add_argument("--revision", help="of the base on the Hub (default: the one the adapter was trained on)")
    parser.add_argument("--out", type=path_argument, required=True)
    options = parser.parse_args()
    record, new = merge(options.base, options.adapter, options.out, revision=options.revision)
    print(f"{options.out}: {record.figures['merged_tensors']} tensors merged", "" if new else "(was done)")


if __name__ == "__main__":
    run_main(main)
