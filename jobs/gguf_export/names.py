"""Names of the files of an export, so that llama.cpp, Ollama and the Hub find the type that was asked for.

llama.cpp (common/download.cpp) takes the first file in whose path the type is followed by a dot or a dash, in any case,
and leaves out what it takes for no model; the Hub reads the last type in the name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from jobs.config import NAME
from jobs.errors import UserError
from jobs.gguf_export.quantizer import PLAIN, QUANTISED

KINDS = (*PLAIN, *QUANTISED)
QUANTISATION = re.compile(  # every type of llama-quantize followed as llama.cpp asks, in the middle of a word too
    r"((?:I?Q\d|TQ\d|MXFP4|NVFP4)(?:_[0-9A-Z]+)*|B?F16|F32)[.-]", re.IGNORECASE
)
NOT_MODELS = ("imatrix", "mmproj", "mtp-", "eagle3-", "dflash-", "dspark-")


def file_name(name: str, kind: str) -> str:
    """`footnote-Q4_K_M.gguf`: llama.cpp and the Hub read the type at the end of the name."""
    return f"{name}-{kind.upper()}.gguf"


def matrix_name(name: str) -> str:
    """`footnote-imatrix.gguf`: in lower case, by which llama.cpp knows that it is no model."""
    return f"{name}-imatrix.gguf"


def adapter_name(name: str) -> str:
    """`footnote-lora.gguf`: without a type, which would make it answer to one."""
    return f"{name}-lora.gguf"


def check_name(name: str) -> None:
    """Refuse a name in which llama.cpp or the Hub would read something else than a model of the type at its end."""
    if not re.fullmatch(NAME, name):
        raise UserError(f"--name {name}: letters, digits, '.', '_' and '-' alone; it becomes a file's name")
    if special := next((word for word in NOT_MODELS if word in name.lower()), ""):
        raise UserError(f"--name {name}: llama.cpp takes a file with {special!r} in its name for no model; choose one")
    if named := QUANTISATION.search(f"{name}-"):
        what = f"holds the type {named[1]}, which every file would be taken for"
        raise UserError(f"--name {name}: {what}; choose another")


def check_types(types: Sequence[str]) -> None:
    for kind in types:
        if kind not in PLAIN and kind not in QUANTISED:
            raise UserError(f"--types {kind}: unknown; known are {', '.join(KINDS)}")
    if len(set(types)) < len(types):
        raise UserError(f"--types {','.join(types)}: a type is named twice")
    if {"f16", "bf16"} <= set(types):  # llama.cpp looks for F16 followed by a dot or dash, wherever it stands
        raise UserError("--types: f16 and bf16 cannot lie together, `:F16` would serve the BF16 file; leave one out")


def kind_of(file: str) -> str:
    """The type at the end of a file's name. Raises `UserError` where there is none that is known."""
    found = re.search(r"[-.]([A-Z0-9_]+)\.gguf$", file, re.IGNORECASE)
    if found is None or found[1].lower() not in KINDS:
        raise UserError(f"{file}: its name does not end in a known type, such as -Q4_K_M.gguf; rename it")
    return found[1].lower()
