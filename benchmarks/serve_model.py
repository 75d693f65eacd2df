"""The model files that the serving benchmark asks: Qwen2.5-3B's true shape and a tiny one, both random, both Q4_K_M."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.export_against_llama_cpp import save_tokenizer
from benchmarks.random_model import Shape, make_model
from jobs.disk import check_room
from jobs.gguf_export.quantizer import quantize
from jobs.gguf_export.writer import Provenance, write_gguf

SHAPES = {"3B": Shape(), "tiny": Shape(layers=2, width=256, inner=512)}


def model_file(name: str, home: Path, tokenizer: str) -> Path:
    """The Q4_K_M file of a shape in `home`; made there if it is not, which for the 3B takes some three minutes."""
    path = home / f"{name}-Q4_K_M.gguf"
    if path.is_file():
        return path
    shape, work = SHAPES[name], home / f"{name}.partial"
    check_room(home, 5 * shape.weights, f"a random model of the {name}'s shape")
    shutil.rmtree(work, ignore_errors=True)
    base, adapter = work / "base", work / "adapter"
    for folder in (base, adapter):
        folder.mkdir(parents=True)
    save_tokenizer(tokenizer, base)
    make_model(base, adapter, shape)
    write_gguf(base, work / "f16.gguf", "f16", Provenance(name="bench"))
    shutil.rmtree(base)
    quantize(work / "f16.gguf", path, "q4_k_m")
    shutil.rmtree(work)
    return path
