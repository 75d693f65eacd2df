"""Quantised files are llama-quantize's own, with an importance matrix and without; bad input names what is wrong."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import jobs.gguf_export.quantizer as quantizer
from jobs.errors import UserError
from jobs.gguf_export.imatrix import ImportanceMatrix
from jobs.gguf_export.quantizer import QUANTISED, bits_per_weight, quantize
from qa.gguf_file import check_gguf
from tests.tiny import tiny_gguf, tiny_model

LAYERS = 8  # from here on Q4_K_M gives more bits to some layers


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    tiny_model(folder / "model", width=256, layers=LAYERS)
    return tiny_gguf(folder / "model", folder / "tiny-f16.gguf")


@pytest.fixture(scope="module")
def matrix(source: Path) -> Path:
    """Of random activations, some channels never used."""
    drawn = np.random.default_rng(5)
    widths = {t.name: t.shape[0] for t in check_gguf(source).tensors if t.name.startswith("blk.") and len(t.shape) == 2}
    sums = {name: (600 * drawn.gamma(0.5, size=width)).astype(np.float32) for name, width in widths.items()}
    for values in sums.values():
        values[::17] = 0
    path = source.parent / "imatrix.gguf"
    ImportanceMatrix(sums, dict.fromkeys(sums, 1100), ("somebody/questions", "arc"), 2, 512).write(path)
    return path


def fields(path: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


def types(path: Path) -> dict[str, str]:
    return {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize("guided", [False, True], ids=["plain", "imatrix"])
@pytest.mark.parametrize("kind", QUANTISED)
def test_the_file_is_that_of_llama_quantize(
    llama_tools: Path, source: Path, matrix: Path, tmp_path: Path, kind: str, guided: bool
) -> None:
    assert quantize(source, tmp_path / "ours.gguf", kind, matrix if guided else None) == 0
    command = [llama_tools / "llama-quantize", *(["--imatrix", matrix.name] if guided else [])]
    command += [source, tmp_path / "theirs.gguf", QUANTISED[kind]]
    done = subprocess.run(command, cwd=matrix.parent, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ours.gguf").read_bytes() == (tmp_path / "theirs.gguf").read_bytes()


def test_four_bits_are_four_bits_and_more_where_it_matters(source: Path, tmp_path: Path) -> None:
    quantize(source, tmp_path / "q.gguf", "q4_k_m")
    found = types(tmp_path / "q.gguf")
    assert [found[f"blk.{layer}.ffn_down.weight"] for layer in (0, 1, 2, 3, 7)] == "Q6_K Q4_K Q4_K Q6_K Q6_K".split()
    assert found["blk.0.attn_q.weight"] == "Q4_K"
    assert found["token_embd.weight"] == "Q6_K"  # noqa: S105 (the name of a tensor)
    assert found["output_norm.weight"] == "F32"
    assert fields(tmp_path / "q.gguf")["general.file_type"] == gguf.LlamaFileType.MOSTLY_Q4_K_M


def test_the_importance_matrix_is_used_and_named_without_its_folder(source: Path, matrix: Path, tmp_path: Path) -> None:
    for name, given in (("plain", None), ("guided", matrix)):
        quantize(source, tmp_path / name, "q4_k_m", given)
    plain, guided = (
        {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / name).tensors}
        for name in ("plain", "guided")
    )
    assert not np.array_equal(plain["blk.4.attn_q.weight"], guided["blk.4.attn_q.weight"])
    assert np.array_equal(plain["token_embd.weight"], guided["token_embd.weight"])  # no entry, as in llama.cpp
    said = {name: value for name, value in fields(tmp_path / "guided").items() if "imatrix" in name}
    assert said == {
        "quantize.imatrix.file": "imatrix.gguf",
        "quantize.imatrix.dataset": "somebody/questions",
        "quantize.imatrix.entries_count": 7 * LAYERS,
        "quantize.imatrix.chunks_count": 2,
    }
    assert str(matrix.parent).encode() not in (tmp_path / "guided").read_bytes()


def test_a_long_name_is_cut_between_characters(source: Path, matrix: Path, tmp_path: Path) -> None:
    known = ImportanceMatrix.read(matrix)
    path = tmp_path / "m.gguf"
    ImportanceMatrix(known.sums, known.counts, ("ü" * 90,), 0, 512).write(path)
    quantize(source, tmp_path / "q.gguf", "q8_0", path)
    found = fields(tmp_path / "q.gguf")
    assert found["quantize.imatrix.dataset"] == "ü" * 63
    assert "quantize.imatrix.chunks_count" not in found


def test_a_small_buffer_gives_the_same_bytes(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quantize(source, tmp_path / "whole.gguf", "q4_k_m")
    monkeypatch.setattr(quantizer, "BUFFER", 10_000)  # six rows of 256
    quantize(source, tmp_path / "slabs.gguf", "q4_k_m")
    assert (tmp_path / "whole.gguf").read_bytes() == (tmp_path / "slabs.gguf").read_bytes()


def test_rows_that_the_blocks_do_not_fill_are_counted(tmp_path: Path) -> None:
    tiny_model(tmp_path / "narrow", width=64)
    narrow = tiny_gguf(tmp_path / "narrow", tmp_path / "narrow.gguf")
    assert quantize(narrow, tmp_path / "q.gguf", "q4_k_m") == 2 * 7
    assert types(tmp_path / "q.gguf")["blk.0.attn_q.weight"] == "Q5_0"
    assert quantize(narrow, tmp_path / "q.gguf", "q8_0") == 0


@pytest.mark.parametrize("kind", ["q4_k_m", "q8_0", "iq4_xs"])
def test_bits_per_weight(source: Path, tmp_path: Path, kind: str) -> None:
    quantize(source, tmp_path / "q.gguf", kind)
    for path in (source, tmp_path / "q.gguf"):
        tensors = gguf.GGUFReader(path).tensors
        size = sum(int(tensor.n_bytes) for tensor in tensors)
        assert bits_per_weight(path) == 8 * size / sum(int(tensor.n_elements) for tensor in tensors)
    assert 4 < bits_per_weight(tmp_path / "q.gguf") < 9 < bits_per_weight(source) < 17


def refused(source: Path, target: Path, words: str, kind: str = "q4_k_m", matrix: Path | None = None) -> None:
    with pytest.raises(UserError, match=words) as caught:
        quantize(source, target, kind, matrix)
    assert "\n" not in str(caught.value)
    assert not list(target.parent.glob("q.gguf*"))


def test_what_cannot_be_quantised_is_refused_by_name(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "q.gguf"
    refused(source, target, "type q3: cannot be quantised to; known are q4_k_m, q4_0", "q3")
    refused(tmp_path / "absent.gguf", target, r"absent\.gguf: cannot be read")
    (tmp_path / "cut.gguf").write_bytes(source.read_bytes()[:-1000])
    refused(tmp_path / "cut.gguf", target, r"cut\.gguf: cut short")
    quantize(source, tmp_path / "done.gguf", "q8_0")
    refused(tmp_path / "done.gguf", target, r"done\.gguf: .*weight is quantised already")


def test_not_a_number_in_a_weight_is_refused(source: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(source.read_bytes())
    reader = gguf.GGUFReader(damaged, "r+")
    next(t for t in reader.tensors if t.name == "blk.3.ffn_up.weight").data[0, 7] = np.nan
    reader.data.flush()
    refused(damaged, tmp_path / "q.gguf", r"damaged\.gguf: .*'blk\.3\.ffn_up\.weight' has invalid data")


def test_the_matrix_of_another_model_is_refused(source: Path, matrix: Path, tmp_path: Path) -> None:
    known, path = ImportanceMatrix.read(matrix), tmp_path / "m.gguf"
    first = "blk.0.attn_k.weight"

    def write(sums: dict[str, np.ndarray]) -> None:
        ImportanceMatrix(sums, dict.fromkeys(sums, 9), ("x",), 0, 512).write(path)

    write({name: values for name, values in known.sums.items() if name != first})
    refused(source, tmp_path / "q.gguf", rf"m\.gguf: no entry for {first}", matrix=path)
    write(known.sums | {first: known.sums[first][:128]})
    refused(source, tmp_path / "q.gguf", rf"another model: {first} has 128 inputs in it, 256", matrix=path)
    write(known.sums | {"blk.8.attn_k.weight": known.sums[first]})
    refused(source, tmp_path / "q.gguf", r"another model: .* has no blk\.8\.attn_k\.weight", matrix=path)
    refused(source, tmp_path / "q.gguf", "not an importance matrix", matrix=source)


def test_a_full_disk_leaves_nothing(source: Path, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        refused(source, tmp_path / "q.gguf", r"q\.gguf: could not be written; is the disk full", "q8_0")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_ctrl_c_ends_it_and_leaves_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[int] = []

    class Shown:
        n = 0

        def __enter__(self) -> Shown:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, steps: int) -> None:
            self.n += steps
            reached.append(self.n)
            if self.n == 5:
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(quantizer, "bar", lambda *_, **__: Shown())
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        quantize(source, tmp_path / "q.gguf", "q4_k_m")
    assert signal.getsignal(signal.SIGINT) is before
    assert not list(tmp_path.iterdir())
    assert max(reached) < 12 * LAYERS  # llama.cpp stopped long before its last tensor
