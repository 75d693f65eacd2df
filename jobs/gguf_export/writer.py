"""A transformers folder of a dense Qwen2 or Qwen3 → one F16, BF16 or F32 GGUF file, 256 KiB at a time.

Tensors, types and the metadata that llama.cpp reads are those of its own convert_hf_to_gguf.py, which
tests/test_gguf_writer.py compares them with. Neither a model nor an embedding is ever held in memory, and torch is not
needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from jobs.architecture import Slot, check_exportable
from jobs.floats import bits_type, read_as
from jobs.gguf_export.metadata import Provenance, add_general, add_sampling, add_shape
from jobs.gguf_export.vocabulary import add_vocabulary
from jobs.model_folder import ModelFolder, check_tokenizer, read_model_folder
from jobs.progress import bar
from jobs.safetensors_stream import WIDTHS

if TYPE_CHECKING:
    import gguf
    import numpy as np

FILE_TYPES = {"f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "f32": "ALL_F32"}


@dataclass(frozen=True)
class Output:
    """A tensor of the file: llama.cpp's name, the shape as transformers has it, type, and its bits in pieces."""

    name: str
    shape: tuple[int, ...]
    kind: str
    pieces: Iterable[np.ndarray]


def write_gguf(model: Path, path: Path, kind: str, provenance: Provenance) -> int:
    """Write `model` as GGUF of type `kind` (f16, bf16 or f32); returns the number of tensors.

    Norms and biases stay float32, tied embeddings are written once, tokens beyond the tokenizer's are padding. Raises
    `UserError` naming file and tensor or key for what cannot be exported; no file is left then.
    """
    import gguf

    source = read_model_folder(model)
    check_exportable(source.config, f"{model}/config.json")
    check_tokenizer(source)
    slots = source.architecture.slots()
    writer = gguf.GGUFWriter(path, source.architecture.name)
    _add_metadata(writer, source, kind, provenance)
    outputs = []
    for name, entry in source.tensors.items():
        stored = storage(kind, slots[name])
        pieces = read_as(entry, stored, f"{entry.path}: {name}")
        outputs.append(Output(slots[name].name, entry.shape, stored, pieces))
    write_file(writer, path, outputs)
    return len(outputs)


def storage(kind: str, slot: Slot) -> str:
    """Norms and biases are float32 in every file: llama.cpp adds and multiplies them in it."""
    return "F32" if len(slot.shape) == 1 else kind.upper()


def _add_metadata(writer: gguf.GGUFWriter, model: ModelFolder, kind: str, provenance: Provenance) -> None:
    import gguf
    from gguf.utility import size_label

    weights = sum(math.prod(slot.shape) for slot in model.architecture.slots().values())
    writer.add_type(gguf.GGUFType.MODEL)
    add_sampling(writer, model.path)
    add_general(writer, provenance)
    writer.add_size_label(size_label(weights, weights, 0, 0))
    add_shape(writer, model.architecture)
    writer.add_file_type(gguf.LlamaFileType[FILE_TYPES[kind]])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_vocabulary(writer, model)


def write_file(writer: gguf.GGUFWriter, path: Path, outputs: list[Output]) -> None:
    """Write header, metadata and tensors, and close; whatever interrupts it, no partial file is left."""
    import gguf

    for output in outputs:
        size = math.prod(output.shape) * WIDTHS[output.kind]
        stored = gguf.GGMLQuantizationType[output.kind]
        writer.add_tensor_info(output.name, output.shape, bits_type(output.kind), size, raw_dtype=stored)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        with bar(len(outputs), f"write {path.name}", unit="tensor") as shown:
            for output in outputs:
                _append(writer, iter(output.pieces))
                shown.update()
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        writer.close()


def _append(writer: gguf.GGUFWriter, pieces: Iterator[np.ndarray]) -> None:
    file: IO[bytes] = writer.fout[0]
    writer.write_padding(file, file.tell())
    for piece in pieces:
        file.write(memoryview(piece).cast("B"))
    writer.write_padding(file, file.tell())
