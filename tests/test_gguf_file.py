"""The GGUF header reader on whole, cut, foreign and hostile files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from qa.gguf_file import BLOCKS, GgufError, GgufTensor, check_gguf


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    import gguf

    path = tmp_path / "whole.gguf"
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name("tiny é")
    writer.add_array("tokenizer.ggml.tokens", ["a", "bc", "é"])
    writer.add_array("tokenizer.ggml.token_type", [1, 1, 3])
    writer.add_float32("qwen2.rope.freq_base", 10000.0)
    writer.add_tensor("one", np.arange(96, dtype=np.float32).reshape(3, 32))
    writer.add_tensor("two", np.zeros((2, 64), dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_whole_file_is_read(whole: Path) -> None:
    header = check_gguf(whole)
    assert (header.version, len(header.tensors), header.bytes_needed) == (3, 2, whole.stat().st_size)
    assert header.metadata["general.name"] == "tiny é"
    assert header.metadata["tokenizer.ggml.tokens"] == 3
    assert header.metadata["qwen2.rope.freq_base"] == 10000.0


def test_every_cut_is_seen(whole: Path, tmp_path: Path) -> None:
    data, cut = whole.read_bytes(), tmp_path / "cut.gguf"
    for size in [*range(4, len(data) - 1, 7), len(data) - 1]:
        cut.write_bytes(data[:size])
        with pytest.raises(GgufError, match="cut short"):
            check_gguf(cut)


@pytest.mark.parametrize("data", [b"", b"GG", b"PK\x03\x04" * 8, b"version https://git-lfs.github.com/spec/v1\n"])
def test_other_files_are_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.gguf"
    path.write_bytes(data)
    with pytest.raises(GgufError, match="not a GGUF file"):
        check_gguf(path)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (struct.pack("<IQQ", 7, 0, 0), "version 7"),
        (struct.pack("<IQQ", 3, 2**60, 0), "entries announced"),
        (struct.pack("<IQQ", 3, 0, 2**60), "entries announced"),
        (struct.pack("<IQQQ", 3, 0, 1, 2**62), "cut short"),
        (struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"k", 99), "unknown type 99"),
        (struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 4, 2**63), "entries announced"),
        (struct.pack("<IQQQ1sI", 3, 1, 0, 1, b"t", 9), "9 dimensions"),
    ],
)
def test_hostile_headers_are_refused_at_once(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(b"GGUF" + data)
    with pytest.raises(GgufError, match=reason):
        check_gguf(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(GgufError, match=r"absent.gguf: cannot be read"):
        check_gguf(tmp_path / "absent.gguf")


def test_arrays_are_lists_where_they_are_asked_for_and_lengths_elsewhere(whole: Path) -> None:
    asked, plain = check_gguf(whole, arrays=True), check_gguf(whole)
    assert asked.metadata["tokenizer.ggml.tokens"] == ["a", "bc", "é"]
    assert asked.metadata["tokenizer.ggml.token_type"] == [1, 1, 3]
    assert plain.metadata["tokenizer.ggml.token_type"] == 3
    assert {**asked.metadata, "tokenizer.ggml.tokens": 3, "tokenizer.ggml.token_type": 3} == plain.metadata
    assert (asked.tensors, asked.data, asked.bytes_needed) == (plain.tensors, plain.data, plain.bytes_needed)


def test_every_tensor_has_its_place_its_type_and_its_size(whole: Path) -> None:
    header, data = check_gguf(whole), whole.read_bytes()
    one, two = header.tensors
    assert one == GgufTensor("one", (32, 3), 0, 96 * 4, 0)
    assert two == GgufTensor("two", (64, 2), 1, 128 * 2, 384)
    assert header.data % 32 == 0
    stored = np.frombuffer(data, np.float32, 96, header.data + one.offset)
    assert stored.tolist() == list(range(96))
    assert data[header.data + two.offset :][: two.bytes] == bytes(256)


def test_the_sizes_of_blocks_are_ggmls() -> None:
    from gguf.constants import GGML_QUANT_SIZES

    told = {int(kind): size for kind, size in GGML_QUANT_SIZES.items()}
    del told[9]  # Q8_1: the package has the size it once had; it is in no file
    assert told.items() <= BLOCKS.items()


def test_a_tensor_of_an_unknown_type_is_refused_by_name(whole: Path) -> None:
    data = bytearray(whole.read_bytes())
    place = data.index(b"two") + len("two") + 4 + 2 * 8  # after its name, the number of its extents and both of them
    assert struct.unpack_from("<I", data, place) == (1,)
    struct.pack_into("<I", data, place, 99)
    whole.write_bytes(data)
    with pytest.raises(GgufError, match="tensor two has the type 99, which is not known"):
        check_gguf(whole)
