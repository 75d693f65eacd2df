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
# timeout = "8h"
# secrets = ["HF_TOKEN"]
# volumes = ["./qa:/app/qa", "./jobs:/app/jobs", "./data_cards:/app/data_cards", "./scripts:/app/scripts"]
# env.PYTHONPATH = "/app"
# env.PYTHONSAFEPATH = "1"
# env.UV_WORKING_DIR = "/app"
# env.CMAKE_ARGS = "-DLLAVA_BUILD=OFF -DCMAKE_PROJECT_llama.cpp_INCLUDE=/app/scripts/llama-core.cmake"
# env.SKBUILD_BUILD_TARGETS = "llama"
# ///

"""Export a model as GGUF: `python -m jobs.export MERGED --out DIR --types f16,q4_k_m --dataset DIR`.

The F16 file is written by us through the `gguf` package, the others are made from it by llama.cpp's own quantiser
through llama-cpp-python's binding, with an importance matrix of the data set's training rows: no clone, no subprocess,
no compiler. Each file is then compared with the model under transformers (`verify`) on the data set's test questions,
and one that differs is refused. Without a data set there is neither: such a folder is not published.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.arguments import path_argument
from jobs.config import Export as Settings
from jobs.disk import check_room
from jobs.errors import UserError, run_main
from jobs.gguf_export.names import KINDS, check_name, check_types, file_name, kind_of, matrix_name
from jobs.gguf_export.quantizer import PLAIN, QUANTISED, quantize
from jobs.gguf_export.sizes import most_bytes
from jobs.gguf_export.writer import Provenance, write_gguf
from jobs.model_folder import read_model_folder
from jobs.step import StepRecord, run_step, source_sha256

if TYPE_CHECKING:
    from jobs.gguf_export.gate import Verdict

IMATRIX_TOKENS = Settings().imatrix_tokens
CARRIED_BYTES = 32 << 20  # vocabulary, merges, template; the importance matrix


@dataclass(frozen=True)
class Calibration:
    """What the importance matrix is made from: rows of a data set's training split, up to so many tokens."""

    dataset: Path
    tokens: int = IMATRIX_TOKENS  # 0: no matrix
    seed: int = 17


def export(
    merged: Path,
    out: Path,
    *,
    types: tuple[str, ...],
    provenance: Provenance,
    calibration: Calibration | None = None,
    step: str = "export",
) -> tuple[StepRecord, bool]:
    """Write a file of each type into `out`, and verify each on the test questions of the calibration's data set.

    `figures` of the record: `files` and `bytes` by type, `imatrix` (file, tokens, rows) and `verified` by type; the
    last two are null without a data set. Raises `UserError` naming file and property where one differs.
    """
    check_name(provenance.name)
    check_types(types)
    arguments: dict[str, Any] = {"types": types, "provenance": asdict(provenance), "code": _code()}
    inputs = {"merged": merged}
    if calibration:
        arguments |= {"imatrix_tokens": calibration.tokens, "seed": calibration.seed}
        inputs["dataset"] = calibration.dataset
    work = _Work(merged, types, provenance, calibration)
    return run_step(step, out, arguments=arguments, inputs=inputs, work=work.into)


def _code() -> str:
    """Hash of what decides the files or their verdicts."""
    from jobs import architecture, floats, gguf_export, model_folder

    return source_sha256(sys.modules[__name__], architecture, floats, gguf_export, model_folder)


@dataclass(frozen=True)
class _Work:
    """What one export is to do, within the folder that the step gives it."""

    model: Path
    types: tuple[str, ...]
    provenance: Provenance
    calibration: Calibration | None

    def into(self, folder: Path) -> dict[str, Any]:
        source_kind = next((kind for kind in self.types if kind in PLAIN), "f16")
        for stale in folder.glob("*.gguf*"):
            stale.unlink()  # of a start that was killed: room to write in
        self._check_room(folder, source_kind)
        files = {source_kind: self._path(folder, source_kind)}
        tensors = write_gguf(self.model, files[source_kind], source_kind, self.provenance)
        quantised = [kind for kind in self.types if kind in QUANTISED]
        imatrix = self._imatrix(folder) if quantised and self.calibration and self.calibration.tokens else None
        fallbacks = {}
        for kind in [kind for kind in self.types if kind != source_kind]:
            files[kind] = self._path(folder, kind)
            if kind in PLAIN:
                write_gguf(self.model, files[kind], kind, self.provenance)
            else:
                matrix = folder / imatrix["file"] if imatrix else None
                fallbacks[kind] = quantize(files[source_kind], files[kind], kind, matrix)
        if source_kind not in self.types:
            files.pop(source_kind).unlink()
        return {
            "files": {kind: path.name for kind, path in files.items()},
            "bytes": {kind: path.stat().st_size for kind, path in files.items()},
            "tensors": tensors,
            "fallbacks": {kind: count for kind, count in fallbacks.items() if count},
            "imatrix": imatrix,
            "verified": self._verified(files),
        }

    def _path(self, folder: Path, kind: str) -> Path:
        return folder / file_name(self.provenance.name, kind)

    def _check_room(self, folder: Path, source_kind: str) -> None:
        kinds = {source_kind, *self.types}
        shapes = [entry.shape for entry in read_model_folder(self.model).tensors.values()]
        needed = sum(most_bytes(kind, shape) for kind in kinds for shape in shapes) + CARRIED_BYTES
        check_room(folder, needed, f"GGUF files of the types {', '.join(self.types)}")

    def _imatrix(self, folder: Path) -> dict[str, Any]:
        from transformers import AutoTokenizer

        from jobs.gguf_export.imatrix import calibration_rows, collect
        from qa.prompts import PromptEncoder

        given = self.calibration
        assert given is not None
        encoder = PromptEncoder.from_transformers(AutoTokenizer.from_pretrained(self.model))
        rows = calibration_rows(given.dataset, encoder, tokens=given.tokens, seed=given.seed)
        matrix = collect(self.model, rows, datasets=self.provenance.datasets or (given.dataset.name,))
        path = folder / matrix_name(self.provenance.name)
        matrix.write(path)
        return {"file": path.name, "tokens": matrix.tokens, "rows": len(rows), "asked_tokens": given.tokens}

    def _verified(self, files: dict[str, Path]) -> dict[str, Any] | None:
        if self.calibration is None:
            return None
        verdicts = verify(self.model, files, self.calibration.dataset, seed=self.calibration.seed)
        return {kind: asdict(verdict) for kind, verdict in verdicts.items()}


def verify(model: Path, files: Mapping[str, Path], dataset: Path, *, seed: int = 17) -> dict[str, Verdict]:
    """Compare GGUF files (by type) with the transformers model they were made from, on a data set's test questions.

    Raises `UserError` naming the first file and property that differs: see `jobs.gguf_export.gate`.
    """
    from jobs.gguf_export.gate import make_reference, read_file, read_test_questions, verify_file

    for kind, path in files.items():
        read_file(path, kind, model)  # before the model is asked, which takes minutes
    reference = make_reference(model, read_test_questions(dataset), seed=seed)
    return {kind: verify_file(path, kind, reference) for kind, path in files.items()}


def main() -> None:
    options = _parser().parse_args()
    if options.verify:
        _print_verified(options)
        return
    name = options.name or options.merged.resolve().name
    provenance = Provenance(name, licence=options.licence, base_model=options.base_model)
    given = Calibration(options.dataset, options.imatrix_tokens, options.seed) if options.dataset else None
    types = tuple(kind.strip().lower() for kind in options.types.split(","))
    record, new = export(options.merged, options.out, types=types, provenance=provenance, calibration=given)
    for kind, size in record.figures["bytes"].items():
        print(f"{options.out / record.figures['files'][kind]}: {size:,} bytes{'' if new else ' (was done)'}")
    if record.figures["verified"] is None:
        print("not verified, for want of a data set (--dataset): such a folder is not published")
    for verdict in (record.figures["verified"] or {}).values():
        print(verdict["sentence"])


def _parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m jobs.export", description=__doc__.split("\n\n")[0])
    result.add_argument("merged", type=path_argument, help="transformers folder, for example the one that merge made")
    where = result.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=path_argument)
    where.add_argument("--verify", type=path_argument, metavar="FILE", help="make nothing; compare this GGUF file")
    result.add_argument("--types", default="f16,q4_k_m", help=f"of {', '.join(KINDS)}")
    result.add_argument(
        "--dataset", type=path_argument, help="folder of build_dataset: its training rows weigh, its test rows verify"
    )
    result.add_argument("--imatrix-tokens", type=_count, default=IMATRIX_TOKENS, help="0: none (default: %(default)s)")
    result.add_argument("--seed", type=int, default=17, help="draws the rows (default: %(default)s)")
    result.add_argument("--name", help="of the model and its files (default: the merged folder's name)")
    result.add_argument("--licence", default="", help="licence identifier written into the file")
    result.add_argument("--base-model", default="", help="Hub id of the base, written into the file")
    return result


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return int(text)


def _print_verified(options: argparse.Namespace) -> None:
    if options.dataset is None:
        raise UserError("--verify: needs --dataset, whose test questions are asked")
    kind = kind_of(options.verify.name)
    verdict = verify(options.merged, {kind: options.verify}, options.dataset, seed=options.seed)[kind]
    print(verdict.sentence)


if __name__ == "__main__":
    run_main(main)
