"""Is a file of the type that its name promises, and of the model's shape? Both stand in its header."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from jobs.architecture import Architecture
from jobs.gguf_export.properties import refused
from jobs.gguf_export.quantizer import QUANTISED
from jobs.gguf_export.reader import GgufFile, Tensor
from jobs.gguf_export.writer import FILE_TYPES
from jobs.model_folder import read_model_folder

TYPE_KEY = "general.file_type"
# What llama.cpp's quantiser gives the matrices of a dense Qwen2 or Qwen3 (src/llama-quant.cpp,
# llama_tensor_get_type_impl): the type itself, and to `FAVOURED` in some layers or files one that keeps more.
OWN = {"q4_k_m": "Q4_K", "q5_k_m": "Q5_K"}  # of other types, the one of the same name
MORE = {"q4_k_m": ("Q5_K", "Q6_K"), "q5_k_m": ("Q6_K",), "iq4_xs": ("Q5_K", "Q6_K"), "q4_0": ("Q4_1", "Q6_K")}
FAVOURED = ("attn_v", "ffn_down", "token_embd", "output")
NARROW = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0", "IQ4_XS": "IQ4_NL"}  # rows that 256 does not divide
BLOCK = 32  # rows that it does not divide stay F16
OPTIONAL = ("attention.key_length", "attention.value_length")  # hidden size by heads, where they are left out


def check_type(file: GgufFile, kind: str) -> None:
    """Compare the type that the file names, and that of each tensor, with those of a file of type `kind`."""
    import gguf

    named = gguf.LlamaFileType[FILE_TYPES.get(kind) or f"MOSTLY_{QUANTISED[kind]}"]
    if (stated := file.metadata.get(TYPE_KEY)) != named:
        what = f"its {TYPE_KEY} is {stated}, of {kind} files it is {named.value} ({named.name})"
        raise refused(file.path, "type", what)
    for tensor in file.tensors.values():
        found, allowed = gguf.GGMLQuantizationType(tensor.kind).name, tensor_types(kind, tensor)
        if found not in allowed:
            what = f"tensor {tensor.name} is stored as {found}, in {kind} files as {' or '.join(sorted(allowed))}"
            raise refused(file.path, "type", what)


def tensor_types(kind: str, tensor: Tensor) -> set[str]:
    """ggml's names of the types that a tensor may have in a file of type `kind`."""
    if len(tensor.shape) == 1:
        return {"F32"}
    if kind in FILE_TYPES:
        return {kind.upper()}
    width, name = tensor.shape[-1], tensor.name.split(".")[-2]
    wanted = {OWN.get(kind, kind.upper()), *(MORE.get(kind, ()) if name in FAVOURED else ())}
    if width % BLOCK:
        return {"F16"}
    return {NARROW.get(one, one) for one in wanted} if width % 256 else wanted


def check_shape(file: GgufFile, model: Path) -> None:
    """Compare all that llama.cpp builds the model from with config.json; the least of it changes no tensor's shape."""
    architecture = read_model_folder(model).architecture
    if (named := file.metadata.get("general.architecture")) != architecture.name:
        raise refused(file.path, "shape", f"its architecture is {named!r}, the model's {architecture.name!r}")
    wanted, prefix = shape_of(architecture), f"{architecture.name}."
    found = {key.removeprefix(prefix): value for key, value in file.metadata.items() if key.startswith(prefix)}
    for key in (*wanted, *found):
        if found.get(key) != wanted.get(key) and not (key in OPTIONAL and key not in found):
            what = f"its {prefix}{key} is {found.get(key)}, the model's config.json makes it {wanted.get(key)}"
            raise refused(file.path, "shape", what)


def shape_of(architecture: Architecture) -> dict[str, Any]:
    """The values of `qwen2.*` or `qwen3.*`; real numbers as a file has them, in float32."""
    extents = architecture.extents
    return {
        "block_count": architecture.layers,
        "context_length": architecture.context,
        "embedding_length": extents["hidden"],
        "feed_forward_length": extents["feed_forward"],
        "attention.head_count": architecture.heads,
        "attention.head_count_kv": architecture.kv_heads,
        "attention.key_length": extents["head"],
        "attention.value_length": extents["head"],
        "attention.layer_norm_rms_epsilon": _single(architecture.epsilon),
        "rope.freq_base": _single(architecture.rope_base),
    }


def _single(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]
