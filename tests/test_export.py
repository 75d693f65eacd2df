"""The step: files of each type, a matrix of training rows, a verdict of each; what cannot be proved leaves nothing."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import gguf
import pytest

from jobs.errors import UserError
from jobs.export import CARRIED_BYTES, Calibration, export, verify
from jobs.gguf_export.imatrix import ImportanceMatrix
from jobs.gguf_export.names import check_name, check_types, file_name, kind_of
from jobs.gguf_export.quantizer import quantize
from jobs.gguf_export.writer import Provenance
from jobs.step import read_step
from tests.tiny_questions import write_parquet
from tests.trained import questions, trained_model

ROOT = Path(__file__).parents[1]
PROVENANCE = Provenance("tiny", datasets=("somebody/data",))
TYPES = ("f16", "q4_k_m", "q8_0")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the model has learnt stands on both sides: here it must only be known, not held out."""
    folder, rows = tmp_path_factory.mktemp("data") / "dataset", questions()
    for split in ("train", "test"):
        write_parquet(folder / "research_qa" / f"{split}.parquet", rows)
    return folder


@pytest.fixture(scope="module")
def exported(model: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "gguf"
    given = Calibration(dataset, tokens=1500, seed=3)
    record, new = export(model, out, types=TYPES, provenance=PROVENANCE, calibration=given)
    assert new
    assert record.arguments["imatrix_tokens"] == 1500
    assert export(model, out, types=TYPES, provenance=PROVENANCE, calibration=given) == (record, False)
    return out


def test_each_type_is_a_file_of_that_type(exported: Path) -> None:
    figures = read_step(exported).figures
    assert figures["files"] == {kind: f"tiny-{kind.upper()}.gguf" for kind in TYPES}
    assert figures["fallbacks"] == {}
    sizes = [(exported / name).stat().st_size for name in figures["files"].values()]
    assert list(figures["bytes"].values()) == sizes
    assert sizes[1] < sizes[2] < sizes[0]
    kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(exported / "tiny-Q4_K_M.gguf").tensors}
    assert (kinds["blk.0.attn_q.weight"], kinds["token_embd.weight"], kinds["output_norm.weight"]) == (
        *("Q4_K", "Q6_K"),
        "F32",
    )


def test_the_matrix_is_of_the_training_rows_and_used(exported: Path) -> None:
    found = read_step(exported).figures["imatrix"]
    matrix = ImportanceMatrix.read(exported / found["file"])
    assert found["file"] == "tiny-imatrix.gguf"
    assert matrix.tokens == found["tokens"] >= found["asked_tokens"] == 1500
    assert matrix.datasets == ("somebody/data",)
    fields = gguf.GGUFReader(exported / "tiny-Q4_K_M.gguf").fields
    assert fields["quantize.imatrix.file"].contents() == "tiny-imatrix.gguf"
    assert "quantize.imatrix.file" not in gguf.GGUFReader(exported / "tiny-F16.gguf").fields


def test_every_file_has_its_verdict(exported: Path) -> None:
    found = read_step(exported).figures["verified"]
    assert found.keys() == set(TYPES)
    for kind, verdict in found.items():
        assert verdict["passed"] is True
        assert verdict["file"] == f"tiny-{kind.upper()}.gguf"
        assert verdict["weights"]["tensors"] == read_step(exported).figures["tensors"]
        assert verdict["answers"]["asked"] == 32 or verdict["answers"]["asked"] == len(questions())
        assert verdict["sentence"].startswith(f"{verdict['file']} was opened by llama.cpp")
    assert found["f16"]["numbers"]["largest"] < 0.05
    assert found["f16"]["weights"]["error"] < found["q8_0"]["weights"]["error"] < found["q4_k_m"]["weights"]["error"]


def test_a_file_of_another_model_is_refused(exported: Path, dataset: Path, tmp_path: Path) -> None:
    from tests.tiny import tiny_model

    other = tmp_path / "other"
    tiny_model(other, seed=5, width=256)
    with pytest.raises(UserError, match=r"^tiny-Q8_0\.gguf: weights: tensor .* is not"):
        verify(other, {"q8_0": exported / "tiny-Q8_0.gguf"}, dataset)


def test_without_a_data_set_nothing_is_claimed(model: Path, tmp_path: Path) -> None:
    figures = export(model, tmp_path / "gguf", types=("q8_0",), provenance=PROVENANCE)[0].figures
    assert (figures["verified"], figures["imatrix"]) == (None, None)
    assert sorted(path.name for path in (tmp_path / "gguf").iterdir()) == ["step.json", "tiny-Q8_0.gguf"]


def test_what_the_gate_refuses_leaves_nothing(
    model: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(source: Path, target: Path, kind: str, matrix: Path | None = None) -> int:
        quantize(source, target, kind, matrix)
        with target.open("r+b") as file:
            file.seek(-4096, os.SEEK_END)
            file.write(random.Random(1).randbytes(4096))
        return 0

    monkeypatch.setattr("jobs.export.quantize", spoilt)
    given = Calibration(dataset, tokens=0)
    with pytest.raises(UserError, match=r"^tiny-Q8_0\.gguf: weights: "):
        export(model, tmp_path / "gguf", types=("f16", "q8_0"), provenance=PROVENANCE, calibration=given)
    assert not list(tmp_path.iterdir())


def test_too_little_disk_is_said_before_the_first_byte(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**9, 10**9 - 10**6, 10**6))
    written: list[Any] = []
    monkeypatch.setattr("jobs.export.write_gguf", lambda *words: written.append(words))
    with pytest.raises(UserError, match=r"1\.0 MB free, .* needed for GGUF files of the types f16, q4_k_m"):
        export(model, tmp_path / "gguf", types=("f16", "q4_k_m"), provenance=PROVENANCE)
    assert not written
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("width", [256, 96])
def test_the_room_that_is_asked_for_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Rows of 96 fill no block of 256: llama.cpp takes larger types for them."""
    from tests.tiny import tiny_model

    tiny_model(tmp_path / "model", width=width)
    asked: list[int] = []
    monkeypatch.setattr("jobs.export.check_room", lambda _folder, needed, _what: asked.append(needed))
    for kind in ("f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0", "iq4_xs"):
        export(tmp_path / "model", tmp_path / kind, types=("f32", kind), provenance=PROVENANCE)
        made = sum(path.stat().st_size for path in (tmp_path / kind).glob("*.gguf"))
        assert made - 2_000_000 < asked.pop() - CARRIED_BYTES < 2 * made


def test_what_a_killed_start_left_is_not_counted_against_the_next(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_words: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jobs.export.quantize", killed)
    with pytest.raises(KeyboardInterrupt):
        export(model, tmp_path / "gguf", types=("f16", "q8_0"), provenance=PROVENANCE)
    assert (tmp_path / "gguf.partial" / "tiny-F16.gguf").is_file()
    monkeypatch.undo()
    seen: list[list[str]] = []
    monkeypatch.setattr("jobs.export.check_room", lambda folder, *_: seen.append([p.name for p in folder.iterdir()]))
    export(model, tmp_path / "gguf", types=("f16", "q8_0"), provenance=PROVENANCE)
    assert len(seen) == 1
    assert not [name for name in seen[0] if name.endswith(".gguf")]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobs.export", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def test_any_file_can_be_verified_from_the_command_line(
    model: Path, dataset: Path, exported: Path, tmp_path: Path
) -> None:
    whole = exported / "tiny-Q4_K_M.gguf"
    shown = run(str(model), "--verify", str(whole), "--dataset", str(dataset))
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("tiny-Q4_K_M.gguf was opened by llama.cpp")
    cut = tmp_path / "tiny-Q4_K_M.gguf"
    cut.write_bytes(whole.read_bytes()[:-100])
    shown = run(str(model), "--verify", str(cut), "--dataset", str(dataset))
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "tiny-Q4_K_M.gguf: whole: cut short" in shown.stderr
    assert "Traceback" not in shown.stderr
    shown = run(str(model), "--verify", str(whole))
    assert shown.returncode == 2
    assert "--verify: needs --dataset" in shown.stderr


def test_names_say_the_type_and_nothing_else() -> None:
    assert file_name("a-b", "iq4_xs") == "a-b-IQ4_XS.gguf"
    assert kind_of("a-b-IQ4_XS.gguf") == "iq4_xs"
    with pytest.raises(UserError, match="does not end in a known type"):
        kind_of("model.gguf")
    typed = {f"a-{name}": f"the type {name}," for name in ("Q8_0", "q4_k_m", "Q3_K_L", "iq2_xxs", "TQ1_0", "MXFP4_MOE")}
    typed |= {"F16": "the type F16,", "a.BF16-b": "BF16", "a-f32.b": "f32", "q4-mix": "the type q4,", "aQ5_1.b": "Q5_1"}
    for name, words in {"../x": r"--name \.\./x", "my-imatrix": "no model", **typed}.items():
        with pytest.raises(UserError, match=words):
            check_name(name)
    for name in ("footnote-qwen2.5-3b", "q4you", "a-Q8x", "f16ish"):
        check_name(name)
    for types, words in {
        ("q3",): "--types q3: unknown",
        ("f16", "bf16"): "cannot lie",
        ("f16", "f16"): "twice",
    }.items():
        with pytest.raises(UserError, match=words):
            check_types(types)


def test_a_killed_export_leaves_no_final_folder(model: Path, dataset: Path, tmp_path: Path) -> None:
    """Killed while it verifies, all files already written; the next start makes the same."""
    out = tmp_path / "gguf"
    words = [str(model), "--out", str(out), "--dataset", str(dataset), "--types", "f16,q8_0", "--name", "tiny"]
    process = subprocess.Popen([sys.executable, "-m", "jobs.export", *words, "--imatrix-tokens", "0"], cwd=ROOT)
    partial = tmp_path / "gguf.partial"
    while process.poll() is None and not (partial / "tiny-Q8_0.gguf").is_file():
        pass
    process.kill()
    assert process.wait() == -9
    assert not out.exists()
    assert (partial / "tiny-F16.gguf").is_file()
    given = Calibration(dataset, tokens=0)
    record, new = export(model, out, types=("f16", "q8_0"), provenance=Provenance("tiny"), calibration=given)
    assert new
    assert not partial.exists()
    assert json.loads((out / "step.json").read_text())["figures"] == record.figures
