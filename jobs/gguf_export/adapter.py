"""A peft LoRA adapter → an adapter GGUF, so that one base in memory serves both models (`--lora` of llama.cpp's tools).

llama.cpp computes (alpha / r) · B A with one alpha for the file and r by tensor (llama-adapter.h, `get_scale`). With
rank-stabilised LoRA or a pattern of alphas the scale is another: alpha is then the number that fits most tensors, and
what is left is multiplied into the B of the others, in float32.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.architecture import check_exportable
from jobs.errors import UserError
from jobs.floats import convert, read_as
from jobs.gguf_export.metadata import Provenance, add_general
from jobs.gguf_export.writer import Output, write_file
from jobs.lora import PREFIX, Deltas
from jobs.model_folder import ModelFolder, read_model_folder

if TYPE_CHECKING:
    import gguf
    import numpy as np


def write_adapter_gguf(base: Path, adapter: Path, path: Path, provenance: Provenance) -> int:
    """Write the adapter as GGUF in float32; returns the number of tensors. `base` is its base's transformers folder.

    Raises `UserError` for an adapter of another base, and for DoRA, whose norms llama.cpp does not compute.
    """
    model, deltas = read_model_folder(base), Deltas(adapter)
    check_exportable(model.config, f"{base}/config.json")
    if deltas.kind != "lora":
        raise UserError(f"{adapter}: use_dora cannot be written as an adapter GGUF; use the merged model")
    deltas.check(model.tensors, tied=model.architecture.tied)
    alphas = {target: _alpha(deltas, target) for target in sorted(deltas.targets)}
    alpha = _most_common(alphas.values())
    if not alpha:
        raise UserError(f"{adapter}: lora_alpha is 0, so it changes nothing; llama.cpp would take it for 1")
    outputs = []
    for target, slot in model.architecture.slots().items():
        if target in deltas.targets:
            outputs += _pair(deltas, target, slot.name, alphas[target] / alpha)
    write_file(_writer(path, model, alpha, provenance), path, outputs)
    return len(outputs)


def _writer(path: Path, model: ModelFolder, alpha: float, provenance: Provenance) -> gguf.GGUFWriter:
    """The file's metadata."""
    import gguf

    writer = gguf.GGUFWriter(path, model.architecture.name)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_general(writer, provenance)
    return writer


def _alpha(deltas: Deltas, target: str) -> float:
    """What llama.cpp's alpha would have to be for this tensor: its scale times its rank."""
    module = target.removesuffix(".weight")
    return deltas.scale(module) * deltas.rank(module)


def _most_common(alphas: Iterable[float]) -> float:
    """The most frequent that is not 0; 0 where there is no other."""
    return max(Counter(value for value in alphas if value).items(), key=lambda item: item[1], default=(0.0, 0))[0]


def _pair(deltas: Deltas, target: str, name: str, factor: float) -> list[Output]:
    """A (rank, inputs) and B (outputs, rank) of one tensor, B times `factor`."""
    module = PREFIX + target.removesuffix(".weight")
    low, high = (deltas.entries[f"{module}.lora_{side}.weight"] for side in "AB")
    what = f"{deltas.adapter}: lora_A of {target}", f"{deltas.adapter}: lora_B of {target}"
    scaled = _scaled(read_as(high, "F32", what[1]), factor, what[1])
    first = Output(f"{name}.lora_a", low.shape, "F32", read_as(low, "F32", what[0]))
    return [first, Output(f"{name}.lora_b", high.shape, "F32", scaled)]


def _scaled(pieces: Iterator[np.ndarray], factor: float, what: str) -> Iterator[np.ndarray]:
    import numpy as np

    for bits in pieces:
        scaled = bits if factor == 1 else (bits.view(np.float32) * np.float32(factor)).view(np.uint32)
        yield convert(scaled, "F32", "F32", what)  # what overflows in the product is named
