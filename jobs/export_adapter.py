"""Export an adapter as GGUF: `python -m jobs.export_adapter ADAPTER --base DIR --base-gguf DIR --merged DIR …`.

One base in memory then serves both models: llama.cpp puts the adapter on the base's GGUF file (`--lora`). It is proved
as it is used: on the base's served file, it must give the merged model's log-probabilities within what that file's type
rounds away. Its factors are written in float32, so they are the trained ones themselves.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.arguments import path_argument
from jobs.disk import check_room
from jobs.errors import UserError, run_main
from jobs.gguf_export.metadata import Provenance
from jobs.gguf_export.names import adapter_name, check_name, kind_of
from jobs.step import StepRecord, read_step, run_step
from qa.artifacts import ArtifactError, pick_gguf

FLOAT32 = 2  # times the adapter's own bytes at most: it may be stored in 16 bits
METADATA_BYTES = 1 << 20


def export_adapter(
    adapter: Path,
    out: Path,
    *,
    base: Path,
    base_gguf: Path,
    merged: Path,
    dataset: Path,
    provenance: Provenance,
    seed: int = 17,
) -> tuple[StepRecord, bool]:
    """Write `<name>-lora.gguf` into `out`; `base` is the base's transformers folder, `base_gguf` its verified export.

    `figures` of the record: `file`, `bytes`, `tensors` and `verified` (numbers on the base's served file). Raises
    `UserError` where the adapter is of another base, of a kind that llama.cpp does not compute, or not proved.
    """
    check_name(provenance.name)
    served, weights = _served(base_gguf)
    return run_step(
        "export_adapter",
        out,
        arguments={"provenance": asdict(provenance), "seed": seed, "served": served.name},
        inputs={"adapter": adapter, "base": base, "base_gguf": base_gguf, "merged": merged, "dataset": dataset},
        work=lambda folder: _work(folder, adapter, base, served, weights, merged, dataset, provenance, seed),
    )


def _served(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The file of an export that is served, and what the gate found of its weights."""
    figures = read_step(folder).figures
    if not figures.get("verified"):
        raise UserError(f"{folder}: its files were not verified; export the base with a data set (--dataset)")
    try:
        name = pick_gguf(list(figures["files"].values()))
    except ArtifactError as error:
        raise UserError(f"{folder}: {str(error).partition(';')[0]}; export the base as one Q4_K_M file") from None
    return folder / name, figures["verified"][kind_of(name)]["weights"]


def _work(
    folder: Path,
    adapter: Path,
    base: Path,
    served: Path,
    weights: dict[str, Any],
    merged: Path,
    dataset: Path,
    provenance: Provenance,
    seed: int,
) -> dict[str, Any]:
    from jobs.gguf_export.adapter import write_adapter_gguf

    path = folder / adapter_name(provenance.name)
    size = sum(file.stat().st_size for file in adapter.glob("*.safetensors"))
    check_room(folder, FLOAT32 * size + METADATA_BYTES, "the adapter as GGUF")
    tensors = write_adapter_gguf(base, adapter, path, provenance)
    verdict = verify_adapter(path, served, weights, merged, dataset, seed=seed)
    return {"file": path.name, "bytes": path.stat().st_size, "tensors": tensors, "verified": verdict}


def verify_adapter(
    path: Path, served: Path, weights: dict[str, Any], merged: Path, dataset: Path, *, seed: int
) -> dict[str, Any]:
    """Compare the base's file with the adapter on it with the merged model. Raises `UserError` where they differ.

    `weights` is what the gate found of the base's file: its rounding is what the bound grows with.
    """
    from jobs.gguf_export.comparison import check_numbers, read_probes
    from jobs.gguf_export.gate import held_out, make_reference
    from jobs.gguf_export.properties import refused
    from jobs.gguf_export.weights import Weights
    from qa.engine import Engine, ModelFileError

    reference = make_reference(merged, held_out(dataset), seed=seed)
    try:
        with Engine.load(served, n_ctx=reference.window, adapter=path) as engine:
            heard = read_probes(engine, reference.probes)
    except ModelFileError as error:
        raise refused(path, "whole", str(error).removeprefix(f"{path}: ")) from None
    numbers = check_numbers(path, kind_of(served.name), reference, heard, Weights(**weights))
    sentence = (
        f"{path.name} was put on {served.name} by llama.cpp and compared with the merged model under transformers: "
        f"after {numbers.prompts} held-out prompts the log-probabilities of the first token differ by "
        f"{numbers.mean:.2g} nats in the mean and {numbers.largest:.2g} at most ({numbers.bound:.2g} is allowed)."
    )
    return {"file": path.name, "on": served.name, "numbers": asdict(numbers), "sentence": sentence, "passed": True}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m jobs.export_adapter", description=__doc__.split("\n\n")[0])
    parser.add_argument("adapter", type=path_argument, help="folder that train made")
    parser.add_argument("--base", type=path_argument, required=True, help="transformers folder of its base")
    parser.add_argument("--base-gguf", type=path_argument, required=True, help="folder that export made of the base")
    parser.add_argument("--merged", type=path_argument, required=True, help="folder that merge made of both")
    parser.add_argument("--dataset", type=path_argument, required=True, help="its test questions are asked")
    parser.add_argument("--seed", type=int, default=17, help="draws them (default: %(default)s)")
    parser.add_argument("--name", help="of the file, before -lora.gguf (default: the merged folder's name)")
    parser.add_argument("--out", type=path_argument, required=True)
    options = parser.parse_args()
    record, new = export_adapter(
        options.adapter,
        options.out,
        base=options.base,
        base_gguf=options.base_gguf,
        merged=options.merged,
        dataset=options.dataset,
        provenance=Provenance(options.name or options.merged.resolve().name),
        seed=options.seed,
    )
    known = record.figures
    print(f"{options.out / known['file']}: {known['bytes']:,} bytes", "" if new else "(was done)")
    print(known["verified"]["sentence"])


if __name__ == "__main__":
    run_main(main)
