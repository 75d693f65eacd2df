"""Every conversion gives torch's bits, and what a type cannot hold is refused from the first number that it cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.errors import UserError
from jobs.floats import PIECE, convert, read_as
from jobs.safetensors_stream import read_entries

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def bits_of(tensor: torch.Tensor) -> np.ndarray:
    width = tensor.element_size()
    return tensor.contiguous().view(torch.int32 if width == 4 else torch.int16).numpy().view(f"u{width}")


def number_of(bits: np.ndarray, kind: str) -> torch.Tensor:
    return torch.from_numpy(bits.view(f"i{bits.itemsize}")).view(DTYPES[kind])


def samples(source: str, target: str) -> torch.Tensor:
    """Every number of a 16-bit type, or a million of 32 bits over all exponents, that the target type can hold."""
    if source == "F32":
        bits = np.random.default_rng(0).integers(0, 1 << 32, 1 << 20, dtype=np.uint32)
        bits[:4] = 0x33000000, 0x33000001, 0x38800000, 0x80000000  # 2^-25, a tie to zero; just above; 2^-14; -0
        tensor = number_of(bits, source)
    else:
        tensor = number_of(np.arange(1 << 16, dtype=np.uint16), source)
    return tensor[tensor.float().isfinite() & tensor.to(DTYPES[target]).float().isfinite()]


@pytest.mark.parametrize("source", DTYPES)
@pytest.mark.parametrize("target", DTYPES)
def test_every_number_becomes_the_one_that_torch_makes_of_it(source: str, target: str) -> None:
    numbers = samples(source, target)
    assert len(numbers) > 30_000
    assert np.array_equal(convert(bits_of(numbers), source, target, "x"), bits_of(numbers.to(DTYPES[target])))


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize(
    ("source", "target", "largest", "words"),
    [
        ("F32", "F16", 0x477FEFFF, "a value beyond float16; export bf16"),
        ("BF16", "F16", 0x477F, "a value beyond float16; export bf16"),
        ("F32", "BF16", 0x7F7F7FFF, "a value beyond bfloat16; export f32"),
    ],
)
def test_the_first_number_beyond_a_type_is_refused(
    source: str, target: str, largest: int, words: str, negative: bool
) -> None:
    width = DTYPES[source].itemsize
    sign = (1 << (8 * width - 1)) if negative else 0
    held, beyond = (np.array([0, last | sign], f"u{width}") for last in (largest, largest + 1))
    assert torch.isfinite(number_of(held, source).to(DTYPES[target])).all()
    assert not torch.isfinite(number_of(beyond, source).to(DTYPES[target])).all()
    convert(held, source, target, "x")
    with pytest.raises(UserError, match=f"layer 7 holds {words}"):
        convert(beyond, source, target, "layer 7")


@pytest.mark.parametrize("source", DTYPES)
@pytest.mark.parametrize("target", DTYPES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_are_refused_in_every_type(source: str, target: str, value: float) -> None:
    bits = bits_of(torch.tensor([1.0, -2.0, value, 0.0], dtype=DTYPES[source]))
    with pytest.raises(UserError, match="layer 7 holds NaN or infinity"):
        convert(bits, source, target, "layer 7")


def test_a_tensor_of_several_pieces_comes_whole_and_in_order(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    tensor = torch.randn(3, 2 * PIECE // 3 + 5, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    save_file({"a": torch.zeros(7), "b": tensor}, tmp_path / "x.safetensors")
    pieces = [piece.copy() for piece in read_as(read_entries(tmp_path / "x.safetensors")["b"], "F16", "b")]
    assert len(pieces) == 3
    assert np.array_equal(np.concatenate(pieces), bits_of(tensor.to(torch.float16)).ravel())
