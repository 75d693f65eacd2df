"""The GGUF header reader on whole, cut, foreign and hostile files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from qa.gguf_file import GgufError, check_gguf


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
