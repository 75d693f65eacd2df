"""llama.cpp's own quantiser, through llama-cpp-python's binding of `llama_model_quantize`."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

from jobs.errors import UserError
from jobs.progress import bar

PLAIN = ("f16", "bf16", "f32")
QUANTISED = {
    "q4_k_m": "Q4_K_M",
    "q4_0": "Q4_0",
    "iq4_xs": "IQ4_XS",
    "q5_k_m": "Q5_K_M",
    "q6_k": "Q6_K",
    "q8_0": "Q8_0",
}


def quantize(source: Path, target: Path, kind: str) -> None:
    """Quantise an F16 or BF16 GGUF by llama.cpp's quantiser, with all cores. Raises `UserError` with its last words."""
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{QUANTISED[kind]}")
    said: list[str] = []
    with bar(1, f"quantize {kind}", unit="tensor") as shown:

        def listen(_level: int, text: bytes, _data: Any) -> None:
            said.append(text.decode("utf-8", "replace").strip())
            if place := re.match(r"\[\s*(\d+)/\s*(\d+)\]", said[-1]):
                shown.total = int(place[2])
                shown.update(int(place[1]) - shown.n)

        callback = llama_cpp.llama_log_callback(listen)
        llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
        try:
            failed = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params))
        finally:
            _restore_log()
    if failed:
        target.unlink(missing_ok=True)
        raise UserError(f"{source}: llama.cpp could not quantise it to {kind}: {' '.join(said[-2:])}")


def _restore_log() -> None:
    import llama_cpp
    from llama_cpp._logger import llama_log_callback

    llama_cpp.llama_log_set(llama_log_callback, ctypes.c_void_p(0))
