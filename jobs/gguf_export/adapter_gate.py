"""Does an adapter GGUF, on the base's file that is served, make the merged model of it?

Two proofs, as either alone is too weak. The file's factors must give the adapter's own update, weight by weight: that
is exact, and knows nothing of llama.cpp. And llama.cpp with both files must give the merged model's log-probabilities,
nearer than with the base's file alone: that is the adapter as it is used, but up to what the base's type rounds away,
which a weak adapter stays below.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import UserError
from jobs.gguf_export.comparison import Heard, Numbers, check_numbers, read_probes
from jobs.gguf_export.names import kind_of
from jobs.gguf_export.properties import refused
from jobs.gguf_export.quantizer import PLAIN
from jobs.gguf_export.reader import GgufFile, open_whole
from jobs.gguf_export.reference import Reference
from jobs.gguf_export.weights import Weights
from jobs.lora import Deltas, Update
from jobs.model_folder import read_model_folder
from jobs.progress import progress
from qa.engine import Engine
from qa.llama import ModelFileError
from qa.statistics import central_interval, clustered_bootstrap

if TYPE_CHECKING:
    import numpy as np

ALPHA = "adapter.lora.alpha"
PART = 1 << 20  # weights whose update is compared at once: 4 MB in float32
ROUNDING = 2.0**-21  # relative, root mean square: alpha, B and the product are rounded to 24 bits, each once


@dataclass(frozen=True)
class Served:
    """The base's file that an adapter is put on, and what the gate found of its weights."""

    path: Path
    weights: Weights


@dataclass(frozen=True)
class Factors:
    """How many weights have an update in the file, and the largest relative error of one."""

    updates: int
    error: float


@dataclass(frozen=True)
class Alone:
    """The base's file without the adapter: its differences from the merged model in nats, as in `Numbers`.

    `allowed` where that would pass for the merged model too. `low` and `high` bound by how many nats a log-probability
    the adapter brings the file nearer in the mean (95 %, bootstrap by prompt).
    """

    mean: float
    largest: float
    allowed: bool
    low: float
    high: float


@dataclass(frozen=True)
class AdapterVerdict:
    """What was found of an adapter's file on the base's file `on`; there is none of one that fails."""

    file: str
    on: str
    factors: Factors
    numbers: Numbers
    alone: Alone
    sentence: str
    passed: bool = True


def check_factors(path: Path, adapter: Path, base: Path) -> Factors:
    """Compare (alpha / r) · B A of every tensor with the adapter's update. `base` is the base's transformers folder.

    Raises `UserError` naming the tensor that is missing, beyond, or another.
    """
    file = open_whole(path)
    deltas, slots = Deltas(adapter), read_model_folder(base).architecture.slots()
    names = {target: slots[target].name for target in sorted(deltas.targets)}
    wanted = {f"{name}.lora_{side}" for name in names.values() for side in "ab"}
    if odd := sorted(wanted ^ file.tensors.keys()):
        raise refused(path, "weights", f"tensor {odd[0]} is not in the {'file' if odd[0] in wanted else 'adapter'}")
    worst = 0.0
    for target, name in progress(list(names.items()), "verify factors", unit="tensor"):
        error = _error(file, name, deltas.update(target))
        if not error <= ROUNDING:  # NaN too
            what = f"the update of {name} is not the adapter's: relative error {error:.2g}, {ROUNDING:.2g} is allowed"
            raise refused(path, "weights", what)
        worst = max(worst, error)
    return Factors(len(names), worst)


def _error(file: GgufFile, name: str, update: Update) -> float:
    """The relative error of one update, computed as llama.cpp does (llama-adapter.h, `get_scale`): alpha 0 is none."""
    import torch

    low, high = (torch.from_numpy(_factor(file, f"{name}.lora_{side}")) for side in "ab")
    if (low.shape, high.shape) != (update.low.shape, update.high.shape):
        what = f"the factors of {name} are {[*low.shape]} and {[*high.shape]}, the adapter's are of another shape"
        raise refused(file.path, "weights", what)
    alpha = file.metadata.get(ALPHA, 0.0)
    scale = alpha / high.shape[1] if alpha else 1.0
    rows = max(1, PART // low.shape[1])
    scratch = torch.empty(min(rows, len(high)), low.shape[1])
    wanted = difference = 0.0
    for first in range(0, len(high), rows):
        found = torch.mm(high[first : first + rows], low).mul_(scale)
        ours = torch.zeros_like(found)
        update.apply_(ours, first, scratch)
        wanted += float(ours.square().sum(dtype=torch.float64))
        difference += float(found.sub_(ours).square().sum(dtype=torch.float64))
    if wanted == 0:
        return 0.0 if difference == 0 else math.inf
    return math.sqrt(difference / wanted)


def _factor(file: GgufFile, name: str) -> np.ndarray:
    tensor = file.tensors[name]
    return file.floats(tensor, 0, tensor.rows).copy()  # of a mapped file, which torch must not write to


def verify_adapter(path: Path, served: Served, factors: Factors, reference: Reference, *, seed: int) -> AdapterVerdict:
    """Compare the base's file, alone and with the adapter on it, with the merged model of `reference`.

    Raises `UserError` where they differ by more than the base's type rounds away, and where the adapter is seen to
    bring the file no nearer to the merged model.
    """
    kind = kind_of(served.path.name)
    bare, worn = _heard(served.path, None, reference), _heard(served.path, path, reference)
    numbers = check_numbers(path, kind, reference, worn, served.weights)
    alone = check_nearer(path, kind, reference, bare, worn, numbers.bound, seed)
    sentence = _sentence(path, served.path, factors, numbers, alone)
    return AdapterVerdict(path.name, served.path.name, factors, numbers, alone, sentence)


def _heard(served: Path, adapter: Path | None, reference: Reference) -> list[Heard]:
    try:
        with Engine.load(served, n_ctx=reference.window, adapter=adapter) as engine:
            return read_probes(engine, reference.probes)
    except ModelFileError as error:
        if adapter is None:
            raise UserError(f"{error}; export the base again") from None
        raise refused(adapter, "whole", str(error).removeprefix(f"{adapter}: ")) from None


def check_nearer(
    path: Path,
    kind: str,
    reference: Reference,
    bare: Sequence[Heard],
    worn: Sequence[Heard],
    bound: float,
    seed: int,
) -> Alone:
    """Compare what the base's file says alone (`bare`) and with the adapter on it (`worn`) with the merged model.

    Refused is an adapter that no likely draw of the prompts shows to bring the file nearer, so also one that changes
    nothing. A weak one may by luck be a little farther, and is not refused for it: its factors prove it.
    """
    without, within = _gaps(reference, bare), _gaps(reference, worn)
    prompts = [number for number, probe in enumerate(reference.probes) for _ in probe.following.compared]
    low, high = central_interval(clustered_bootstrap(without - within, prompts, seed=seed))
    mean, largest = float(without.mean()), float(without.max())
    if high <= 0:
        said = f"{mean:.3g} nats from it in the mean without the adapter, {within.mean():.3g} with it"
        what = f"it brings the base's file no nearer to the merged model: {said}"
        raise refused(path, "numbers", what, "merge this adapter, and export it again")
    return Alone(mean, largest, (largest if kind in PLAIN else mean) <= bound, low, high)


def _gaps(reference: Reference, heard: Sequence[Heard]) -> np.ndarray:
    """By how many nats the compared log-probabilities differ, float64 [tokens], prompt by prompt."""
    import numpy as np

    return np.array(
        [
            abs(ours - theirs)
            for probe, said in zip(reference.probes, heard, strict=True)
            for _, ours, theirs in zip(probe.following.compared, probe.following.logprobs, said.logprobs, strict=False)
        ]
    )


def _sentence(path: Path, served: Path, factors: Factors, numbers: Numbers, alone: Alone) -> str:
    """The verdict in words, for a card."""
    most = f"{numbers.bound:.2g} {'at most' if kind_of(served.name) in PLAIN else 'in the mean'} is allowed"
    little = ", which would be allowed too, so that this comparison says little" if alone.allowed else ""
    return (
        f"{path.name} holds the adapter's own updates of {factors.updates} weights, with a relative error of "
        f"{factors.error:.1g} at most; it was put on {served.name} by llama.cpp and compared with the merged model "
        f"under transformers: after {numbers.prompts} held-out prompts the log-probabilities of the first token differ "
        f"by {numbers.mean:.2g} nats in the mean and {numbers.largest:.2g} at most ({most}), those of {served.name} "
        f"alone by {alone.mean:.2g} in the mean and {alone.largest:.2g} at most{little}."
    )
