# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#   "datasets==5.2.0", "gguf==0.19.0", "httpx2==2.16.2", "huggingface-hub==2.4.0", "llama-cpp-python==0.3.36",
#   "numpy==2.4.6", "packaging==26.3", "peft==0.21.2", "py3langid==0.4.0", "pyarrow==26.0.1", "pydantic==2.14.3",
#   "pydantic-core==2.50.4", "PyYAML==6.0.3", "safetensors==0.8.0", "torch==2.13.0", "tqdm==4.70.1",
#   "transformers==5.23.0",
# ]
# [tool.uv]
# exclude-newer = "2026-11-23T00:00:00Z"
# [tool.hf-jobs]  # written by scripts/job_headers.py
# flavor = "cpu-upgrade"
# timeout = "4h"
# secrets = ["HF_TOKEN"]
# volumes = ["./qa:/app/qa", "./jobs:/app/jobs", "./data_cards:/app/data_cards", "./scripts:/app/scripts"]
# env.PYTHONPATH = "/app"
# env.PYTHONSAFEPATH = "1"
# env.UV_WORKING_DIR = "/app"
# env.CMAKE_ARGS = "-DLLAVA_BUILD=OFF -DCMAKE_PROJECT_llama.cpp_INCLUDE=/app/scripts/llama-core.cmake"
# env.SKBUILD_BUILD_TARGETS = "llama"
# ///

"""Export an adapter as GGUF: `python -m jobs.export_adapter ADAPTER --base DIR --base-gguf DIR --merged DIR …`.

One base in memory then serves both models: llama.cpp puts the adapter on the base's GGUF file (`--lora`). Its factors
are written in float32, read back and compared with the adapter's; then it is proved as it is used: on the base's served
file it must give the merged model's log-probabilities within what that file's type rounds away, and nearer than that
file alone.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.arguments import path_argument
from jobs.disk import check_room
from jobs.errors import UserError, run_main
from jobs.gguf_export.metadata import Provenance
from jobs.gguf_export.names import adapter_name, check_name, kind_of
from jobs.step import STEP_FILE, StepRecord, fingerprint, read_step, run_step, source_sha256
from qa.artifacts import ArtifactError, pick_gguf

if TYPE_CHECKING:
    from jobs.gguf_export.adapter_gate import Served

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

    `figures` of the record: `file`, `bytes`, `tensors` and `verified` (jobs/gguf_export/adapter_gate.py). Raises
    `UserError` where the adapter is of another base, of a kind that llama.cpp does not compute, or not proved.
    """
    check_name(provenance.name)
    _check_belong(adapter, base, base_gguf, merged)
    served = read_served(base_gguf)
    work = _Work(adapter, base, served, merged, dataset, provenance, seed)
    arguments = {"provenance": asdict(provenance), "seed": seed, "served": served.path.name, "code": _code()}
    inputs = {"adapter": adapter, "base": base, "base_gguf": base_gguf, "merged": merged, "dataset": dataset}
    return run_step("export_adapter", out, arguments=arguments, inputs=inputs, work=work.into)


def _check_belong(adapter: Path, base: Path, base_gguf: Path, merged: Path) -> None:
    """Raise `UserError` where the records of the folders say that they are of another base or adapter."""
    made_from = ((adapter, "base", base), (base_gguf, "merged", base), (merged, "adapter", adapter))
    for folder, name, source in made_from:
        recorded = read_step(folder).inputs.get(name) if (folder / STEP_FILE).is_file() else None
        if recorded and recorded != fingerprint(source):
            raise UserError(f"{folder}: was not made from {source}, by its {STEP_FILE}; give what belongs together")


def _code() -> str:
    """Hash of what decides the file or its verdict."""
    from jobs import architecture, floats, gguf_export, lora, lora_config, model_folder

    return source_sha256(gguf_export, architecture, floats, lora, lora_config, model_folder)


def read_served(folder: Path) -> Served:
    """The file that is served of a folder that export made. Raises `UserError` where none was verified."""
    from jobs.gguf_export.adapter_gate import Served
    from jobs.gguf_export.weights import Weights

    record = read_step(folder)
    files, verified = record.figures.get("files"), record.figures.get("verified")
    if not isinstance(files, dict):
        raise UserError(f"{folder}: made by the step {record.step}, not by export; name a folder that export made")
    if not verified:
        raise UserError(f"{folder}: its files were not verified; export the base with a data set (--dataset)")
    try:
        name = pick_gguf(list(files.values()))
    except ArtifactError as error:
        raise UserError(f"{folder}: {str(error).partition(';')[0]}; export the base as one Q4_K_M file") from None
    return Served(folder / name, Weights(**verified[kind_of(name)]["weights"]))


@dataclass(frozen=True)
class _Work:
    """What one export is to do, within the folder that the step gives it."""

    adapter: Path
    base: Path
    served: Served
    merged: Path
    dataset: Path
    provenance: Provenance
    seed: int

    def into(self, folder: Path) -> dict[str, Any]:
        from jobs.gguf_export.adapter import write_adapter_gguf

        path = folder / adapter_name(self.provenance.name)
        size = sum(file.stat().st_size for file in self.adapter.glob("*.safetensors"))
        check_room(folder, FLOAT32 * size + METADATA_BYTES, "the adapter as GGUF")
        tensors = write_adapter_gguf(self.base, self.adapter, path, self.provenance)
        return {"file": path.name, "bytes": path.stat().st_size, "tensors": tensors, "verified": self._verified(path)}

    def _verified(self, path: Path) -> dict[str, Any]:
        from jobs.gguf_export.adapter_gate import check_factors, verify_adapter
        from jobs.gguf_export.gate import make_reference, read_test_questions

        factors = check_factors(path, self.adapter, self.base)  # seconds, before the minutes of the models
        reference = make_reference(self.merged, read_test_questions(self.dataset), seed=self.seed)
        return asdict(verify_adapter(path, self.served, factors, reference, seed=self.seed))


def main() -> None:
    options = _parser().parse_args()
    name = options.name or options.merged.resolve().name
    record, new = export_adapter(
        options.adapter,
        options.out,
        base=options.base,
        base_gguf=options.base_gguf,
        merged=options.merged,
        dataset=options.dataset,
        provenance=Provenance(name, licence=options.licence, base_model=options.base_model),
        seed=options.seed,
    )
    known = record.figures
    print(f"{options.out / known['file']}: {known['bytes']:,} bytes{'' if new else ' (was done)'}")
    print(known["verified"]["sentence"])


def _parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m jobs.export_adapter", description=__doc__.split("\n\n")[0])
    result.add_argument("adapter", type=path_argument, help="folder that train made")
    result.add_argument("--base", type=path_argument, required=True, help="transformers folder of its base")
    result.add_argument("--base-gguf", type=path_argument, required=True, help="folder that export made of the base")
    result.add_argument("--merged", type=path_argument, required=True, help="folder that merge made of both")
    result.add_argument("--dataset", type=path_argument, required=True, help="its test questions are asked")
    result.add_argument("--seed", type=int, default=17, help="draws them (default: %(default)s)")
    result.add_argument("--name", help="of the file, before -lora.gguf (default: the merged folder's name)")
    result.add_argument("--licence", default="", help="licence identifier written into the file")
    result.add_argument("--base-model", default="", help="Hub id of the base, written into the file")
    result.add_argument("--out", type=path_argument, required=True)
    return result


if __name__ == "__main__":
    run_main(main)
