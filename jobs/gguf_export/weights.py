"""Is every tensor of a file the merged model's own, within what its type rounds away?

Log-probabilities alone cannot tell: in a model of many layers one zeroed matrix moves them less than four bits do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.floats import bits_type, convert
from jobs.gguf_export.properties import refused
from jobs.gguf_export.reader import GgufFile, Tensor
from jobs.model_folder import read_model_folder
from jobs.progress import bar
from jobs.safetensors_stream import Entry, read_into

if TYPE_CHECKING:
    import numpy as np

PART = 8 << 20  # values compared at once: 32 MB in float32
F32, F16, BF16, Q4_0, Q8_0, Q4_K, Q5_K, Q6_K, IQ4_XS = 0, 1, 30, 2, 8, 12, 13, 14, 23  # ggml's numbers of types
# Largest relative error of a tensor (root mean square), by its type. Plain types round once, to 11 bits or 8. The
# quantised ones are twice the largest seen in six models of 2 to 24 layers, with normal weights and with heavy tails
# (Student's t with 3 degrees), with an importance matrix and without: Q8_0 0.010, Q6_K 0.030, Q5_K 0.050, Q4_K 0.100,
# IQ4_XS 0.109, Q4_0 0.134; the ten models of comparison.py, without a matrix, are within that. A zeroed tensor has 1, a
# transposed or foreign one 1.4.
PLAIN = (F32, F16, BF16)
BOUNDS = {F32: 0.0, F16: 2**-11, BF16: 2**-8, Q8_0: 0.02, Q6_K: 0.06, Q5_K: 0.1, Q4_K: 0.2, IQ4_XS: 0.22}
HALF_STEP = 2**-25  # by which float16 rounds a value below 2^-14, however small the value is
OTHER_BOUND = 0.27  # Q4_0, and what llama.cpp takes for rows that blocks of 256 do not fill
SCALE = 0.04  # by how much a tensor may be larger or smaller as a whole: in the same models 0.018 at most


@dataclass(frozen=True)
class Weights:
    """What was compared: how many tensors, the one that differs most, by its relative error, and the mean of matrices.

    The mean is that of the squares, its root taken.
    """

    tensors: int
    worst: str
    error: float
    mean: float


def check_weights(file: GgufFile, merged: Path) -> Weights:
    """Compare every tensor with the merged model's, tensor by tensor and part by part."""
    sources = _sources(merged)
    for name in (*sources, *file.tensors):
        if name not in file.tensors or name not in sources:
            where = "the file" if name in sources else "the model"
            raise refused(file.path, "weights", f"tensor {name} is not in {where}")
    errors: dict[str, float] = {}
    with bar(
        sum(math.prod(tensor.shape) for tensor in file.tensors.values()), "verify weights", unit="weight"
    ) as shown:
        for name, tensor in file.tensors.items():
            errors[name] = _error(file, tensor, sources[name], shown)
    matrices = [errors[name] for name, tensor in file.tensors.items() if tensor.rows > 1]
    mean = math.sqrt(sum(error**2 for error in matrices) / len(matrices))
    worst = max(errors, key=errors.__getitem__)
    return Weights(len(errors), worst, errors[worst], mean)


def _sources(merged: Path) -> dict[str, Entry]:
    """The merged model's tensors by the names that a file should have them under."""
    model = read_model_folder(merged)
    slots = model.architecture.slots()
    return {slots[name].name: entry for name, entry in model.tensors.items()}


def _error(file: GgufFile, tensor: Tensor, source: Entry, shown: Any) -> float:
    """The relative error of a tensor. Raises `UserError` where it or the tensor's scale is beyond its bound."""
    import numpy as np

    ours = theirs = both = difference = 0.0
    with np.errstate(invalid="ignore", over="ignore"):  # in a damaged file; told below
        for merged, stored in _parts(file, tensor, source):
            gap = stored - merged
            ours, theirs = ours + float(merged @ merged), theirs + float(stored @ stored)
            both, difference = both + float(merged @ stored), difference + float(gap @ gap)
            shown.update(merged.size)
    if ours == theirs == 0:
        return 0.0
    error, scale = math.sqrt(difference / ours) if ours else math.inf, both / ours if ours else math.inf
    bound = BOUNDS.get(tensor.kind, OTHER_BOUND)
    least = HALF_STEP * math.sqrt(math.prod(tensor.shape)) if tensor.kind == F16 else 0.0
    if not math.sqrt(difference) <= bound * math.sqrt(ours) + least:  # NaN too
        what = f"tensor {tensor.name} is not the model's: relative error {error:.2g}, {bound:.2g} is allowed"
        raise refused(file.path, "weights", what)
    if tensor.kind not in PLAIN and abs(scale - 1) > SCALE:
        raise refused(file.path, "weights", f"tensor {tensor.name} is the model's times {scale:.2f}")
    return error


def _parts(file: GgufFile, tensor: Tensor, source: Entry) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The merged tensor's values and the file's, float32 [values], part by part."""
    import numpy as np

    if source.shape != tensor.shape:
        what = f"tensor {tensor.name} has the shape {list(tensor.shape)}, the model's {list(source.shape)}"
        raise refused(file.path, "weights", what)
    width = tensor.shape[-1]
    step = max(1, PART // width)
    with source.path.open("rb", buffering=0) as opened:
        for first in range(0, tensor.rows, step):
            count = min(step, tensor.rows - first)
            bits = np.empty(count * width, bits_type(source.dtype))
            read_into(opened.fileno(), bits.view(np.uint8), source.start + first * width * bits.itemsize)
            values = convert(bits, source.dtype, "F32", f"{source.path}: {tensor.name}").view(np.float32)
            yield values, file.floats(tensor, first, count).ravel()
