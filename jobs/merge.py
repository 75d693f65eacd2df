# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#   "huggingface-hub==2.4.0", "numpy==2.4.6", "pydantic==2.14.3", "safetensors==0.8.0", "torch==2.13.0", "tqdm==4.70.1",
# ]
# [tool.uv]
# exclude-newer = "2026-11-23T00:00:00Z"
# [tool.hf-jobs]  # written by scripts/job_headers.py
# flavor = "cpu-upgrade"
# timeout = "2h"
# secrets = ["HF_TOKEN"]
# volumes = ["./qa:/app/qa", "./jobs:/app/jobs", "./data_cards:/app/data_cards"]
# env.PYTHONPATH = "/app"
# env.PYTHONSAFEPATH = "1"
# env.UV_WORKING_DIR = "/app"
# ///

"""Merge an adapter into its base: `python -m jobs.merge BASE ADAPTER --out DIR`.

LoRA, rank-stabilised LoRA and DoRA on any linear layer, computed in float32 and rounded once to the base's own type
(`jobs.lora`), block by block from disk to disk: the model is never in memory, and never merged into quantised weights.
On a CPU with one thread the result is that of peft's `merge_and_unload()`, bit for bit.
"""

from __future__ import annotations

import argparse
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.adapters import base_of, check_base_of
from jobs.arguments import path_argument
from jobs.disk import check_room
from jobs.errors import UserError, first_line, run_main
from jobs.lora import Deltas, Update
from jobs.model_folder import INDEX, check_tokenizer, read_model_folder
from jobs.progress import bar
from jobs.safetensors_stream import Entry, is_finite, read_blocks, read_into, write_file
from jobs.step import StepRecord, run_step, write_json
from jobs.threads import one_thread

if TYPE_CHECKING:
    import numpy as np
    import torch
    from tqdm import tqdm

CARRIED = (
    "config.json generation_config.json tokenizer.json tokenizer_config.json vocab.json merges.txt added_tokens.json "
    "special_tokens_map.json chat_template.jinja"
).split()
MAX_SHARD = 5 * 10**9  # bytes of one file
HEADER_BYTES = 256  # and more of a tensor's line in the header and the index together
# At once: as float32 (1 MB) they stay in the cache between product, sum and rounding. They are done before a second
# thread has met the first: 22M weights take 0.025 s on one, 0.04 on two free cores and 0.7 on two busy ones.
BLOCK_WEIGHTS = 1 << 18


def merge(
    base: str, adapter: Path, out: Path, *, revision: str | None = None, max_shard: int = MAX_SHARD
) -> tuple[StepRecord, bool]:
    """Merge `adapter` into `base` (Hub id or folder); `out` is a transformers folder with the base's tokenizer.

    `revision` of a Hub id: by default the one that the adapter was trained on; any other is refused. `figures`
    of the record: `tensors`, `merged_tensors`, `shards`, `bytes` of the weights, and `kind` (lora or dora).
    """
    revision = revision or base_of(adapter)[1]
    check_base_of(adapter, base, revision)
    folder = base_folder(base, revision)
    return run_step(
        "merge",
        out,
        arguments={"base": base, "revision": revision, "max_shard": max_shard},
        inputs={"base": folder, "adapter": adapter},
        work=lambda work: _work(folder, adapter, work, max_shard),
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


def _work(base: Path, adapter: Path, out: Path, max_shard: int) -> dict[str, Any]:
    model, deltas = read_model_folder(base), Deltas(adapter)
    check_tokenizer(model)
    weights = model.tensors
    deltas.check(weights, tied=model.architecture.tied)
    for stale in out.glob("*.safetensors"):
        stale.unlink()  # of a start that was killed: room to write in
    carried = [base / name for name in CARRIED if (base / name).is_file()]
    size = sum(entry.size for entry in weights.values())
    room = size + len(weights) * HEADER_BYTES + sum(path.stat().st_size for path in carried)
    check_room(out, room, "the merged weights")
    with one_thread(), bar(size, "merge", unit="B", unit_scale=True) as shown:
        shards = _write(out, weights, deltas, max_shard, shown)
    for path in carried:
        shutil.copy(path, out / path.name)
    merged = len(deltas.targets)
    return {"tensors": len(weights), "merged_tensors": merged, "shards": shards, "bytes": size, "kind": deltas.kind}


def _write(out: Path, weights: dict[str, Entry], deltas: Deltas, max_shard: int, shown: tqdm) -> int:
    """The merged weights in files of at most `max_shard` bytes (one tensor is never cut), and their index."""
    from huggingface_hub import split_state_dict_into_shards_factory

    plan = split_state_dict_into_shards_factory(
        weights,
        get_storage_size=lambda entry: entry.size,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=max_shard,
    )

    def blocks(name: str) -> Iterator[np.ndarray]:
        for block in _merged(weights[name], name, deltas):
            yield block
            shown.update(len(block))

    for file, names in plan.filename_to_tensors.items():
        write_file(out / file, {name: weights[name] for name in names}, blocks)
    if plan.is_sharded:
        count = sum(math.prod(entry.shape) for entry in weights.values())
        metadata = {"total_parameters": count, **plan.metadata}
        write_json(out / INDEX, {"metadata": metadata, "weight_map": plan.tensor_to_filename})
    return len(plan.filename_to_tensors)


def _merged(entry: Entry, name: str, deltas: Deltas) -> Iterator[np.ndarray]:
    """A base tensor's bytes with its update, block by block; without an update they are the base's own."""
    blocks = _updated(entry, deltas.update(name)) if name in deltas.targets else read_blocks(entry)
    for block in blocks:
        if not is_finite(block, entry.dtype):
            raise UserError(_not_finite(entry, name, deltas))
        yield block


def _updated(entry: Entry, update: Update) -> Iterator[np.ndarray]:
    import torch

    rows, columns = entry.shape
    dtype = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}[entry.dtype]
    count = -(-rows * columns // BLOCK_WEIGHTS)  # blocks of about equal size, as BLAS may sum a lone row otherwise
    most = -(-rows // count)
    buffer, scratch = torch.empty(most, columns, dtype=dtype), torch.empty(most, columns)
    with entry.path.open("rb", buffering=0) as file:
        for number in range(count):
            first, last = rows * number // count, rows * (number + 1) // count
            weight = buffer[: last - first]
            read_into(file.fileno(), _bytes(weight), entry.start + first * columns * dtype.itemsize)
            update.apply_(weight, first, scratch)
            yield _bytes(weight)


def _bytes(tensor: torch.Tensor) -> np.ndarray:
    import torch

    return tensor.view(torch.uint8).flatten().numpy()


def _not_finite(entry: Entry, name: str, deltas: Deltas) -> str:
    if all(is_finite(block, entry.dtype) for block in read_blocks(entry)):
        return f"{deltas.adapter}: {name} holds NaN or infinity after merging; the training has diverged"
    return f"{entry.path}: {name} holds NaN or infinity; get the base model again"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m jobs.merge", description=__doc__.split("\n\n")[0])
    parser.add_argument("base", help="base model: Hub id or folder")
    parser.add_argument("adapter", type=path_argument, help="folder that train made")
    parser.add_argument("--revision", help="of the base on the Hub (default: the one the adapter was trained on)")
    parser.add_argument("--out", type=path_argument, required=True)
    options = parser.parse_args()
    if options.revision and Path(options.base).is_dir():
        raise UserError(f"--revision {options.revision}: {options.base} is a folder, which has none; leave it out")
    record, new = merge(options.base, options.adapter, options.out, revision=options.revision)
    print(f"{options.out}: {record.figures['merged_tensors']} tensors merged{'' if new else ' (was done)'}")


if __name__ == "__main__":
    run_main(main)
