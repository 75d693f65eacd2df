"""What we write the format's own library reads, what it writes we read, and no damaged header passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs import safetensors_stream
from jobs.errors import UserError
from jobs.safetensors_stream import is_finite, read_blocks, read_entries, read_header, write_file

TENSORS = {
    "odd": torch.arange(7, dtype=torch.bfloat16),
    "wide": torch.randn(33, 65),
    "half": torch.randn(3, 5).half(),
    "none": torch.zeros(0, 4),
    "one": torch.tensor(2.0),
}


def with_header(path: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def tensor(begin: int, end: int, *shape: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def test_a_file_goes_through_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetensors_stream, "BLOCK", 64)
    save_file(TENSORS, tmp_path / "theirs.safetensors")
    entries = read_entries(tmp_path / "theirs.safetensors")
    assert {name: entry.shape for name, entry in entries.items()} == {n: tuple(t.shape) for n, t in TENSORS.items()}
    write_file(tmp_path / "ours.safetensors", entries, lambda name: read_blocks(entries[name]))
    again = load_file(tmp_path / "ours.safetensors")
    assert again.keys() == TENSORS.keys()
    for name, expected in TENSORS.items():
        assert again[name].dtype == expected.dtype, name
        assert torch.equal(again[name], expected), name
    assert read_header(tmp_path / "ours.safetensors")["__metadata__"] == {"format": "pt"}
    for entry in read_entries(tmp_path / "ours.safetensors").values():
        assert entry.start % safetensors_stream.WIDTHS[entry.dtype] == 0


def test_too_few_bytes_are_an_error(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "theirs.safetensors")
    entries = read_entries(tmp_path / "theirs.safetensors")
    with pytest.raises(ValueError, match="0 bytes of one instead of 4"):
        write_file(tmp_path / "ours.safetensors", entries, lambda name: [])


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
@pytest.mark.parametrize("value", [float("nan"), -float("nan"), float("inf"), -float("inf")])
def test_every_nan_and_infinity_is_found(dtype: str, value: float) -> None:
    kind = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[dtype]
    limits = torch.finfo(kind)
    values = torch.tensor([0.0, -0.0, limits.max, limits.min, limits.tiny, -limits.tiny, 1.0], dtype=kind)
    assert is_finite(values.view(torch.uint8).numpy(), dtype)
    for place in range(len(values)):
        broken = values.clone()
        broken[place] = value
        assert not is_finite(broken.view(torch.uint8).numpy(), dtype), place


def test_all_bf16_values_are_told_apart_as_torch_does() -> None:
    every = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    ours = [is_finite(value.view(1).view(torch.uint8).numpy(), "BF16") for value in every]
    assert ours == torch.isfinite(every).tolist()


def test_integers_and_nothing_are_finite() -> None:
    assert is_finite(np.full(16, 255, np.uint8), "I64")
    assert is_finite(np.empty(0, np.uint8), "F32")


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        (b"no header", b"", "not a safetensors file"),
        ([], b"", "not a safetensors file"),
        ({"a": {"dtype": "F32"}}, b"", "not a safetensors file"),
        ({"a": tensor(0, 4, 1)}, b"123", "cut short"),
        ({"a": tensor(0, 4, 1)}, b"12345", "5 bytes|damaged"),
        ({"a": tensor(0, 4, 2)}, b"1234", "a is not where its header says"),
        ({"a": tensor(0, 4, 1), "b": tensor(0, 4, 1)}, b"1234", "b is not where its header says"),
        ({"a": tensor(4, 8, 1)}, b"12345678", "a is not where its header says"),
        ({"a": tensor(0, 1, 1, dtype="F8_E4M3")}, b"1", "type F8_E4M3 are not supported"),
    ],
)
def test_a_damaged_header_is_named(tmp_path: Path, header: Any, data: bytes, words: str) -> None:
    path = with_header(tmp_path / "model.safetensors", header, data)
    with pytest.raises(UserError, match=words) as error:
        read_header(path)
    assert str(path) in str(error.value)


def test_a_length_beyond_the_file_and_no_file_at_all(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    with pytest.raises(UserError, match="cut short"):
        read_header(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_header(tmp_path / "absent.safetensors")


def test_a_file_that_shrinks_while_it_is_read_is_no_endless_loop(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1000)}, path)
    entry = read_entries(path)["a"]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(OSError, match="became shorter"):
        list(read_blocks(entry))
