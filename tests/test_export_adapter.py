"""The adapter's GGUF: proved by its factors and on the base's served file; what is not proved leaves nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs import export_adapter as step
from jobs.errors import UserError
from jobs.export import Calibration, export
from jobs.export_adapter import export_adapter, read_served
from jobs.gguf_export.adapter import write_adapter_gguf
from jobs.gguf_export.adapter_gate import ROUNDING, Served, check_factors, check_nearer, verify_adapter
from jobs.gguf_export.comparison import Heard, check_numbers, read_probes
from jobs.gguf_export.gate import Reference, make_reference, read_test_questions
from jobs.gguf_export.writer import Provenance
from jobs.merge import merge
from jobs.step import read_step, run_step
from qa.engine import Engine
from tests.tiny import tiny_adapter, tiny_model
from tests.tiny_questions import write_parquet
from tests.trained import questions, trained_model

ROOT = Path(__file__).parents[1]
PROVENANCE = Provenance("tiny")
FILE = "tiny-lora.gguf"
WEAK = 0.01  # of its strength: an adapter that four bits drown


class World(NamedTuple):
    base: Path
    dataset: Path
    base_gguf: Path
    adapter: Path
    merged: Path
    weak: Path
    weak_merged: Path

    @property
    def parts(self) -> dict[str, Path]:
        return {name: getattr(self, name) for name in ("base", "base_gguf", "merged", "dataset")}


def unrecorded(folder: Path, copy: Path) -> Path:
    """A folder that no step made, so that only its contents can tell."""
    shutil.copytree(folder, copy)
    (copy / "step.json").unlink()
    return copy


def weakened(adapter: Path, folder: Path, factor: float) -> Path:
    """The adapter with another alpha."""
    shutil.copytree(adapter, folder)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"lora_alpha": config["lora_alpha"] * factor}))
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    found = World(*(folder / name for name in World._fields))
    found.base.mkdir()
    trained_model(found.base)
    write_parquet(found.dataset / "research_qa" / "test.parquet", questions())
    export(
        found.base,
        found.base_gguf,
        types=("q4_k_m",),
        provenance=Provenance("base"),
        calibration=Calibration(found.dataset, tokens=0),
    )
    tiny_adapter(found.base, found.adapter)
    weakened(found.adapter, found.weak, WEAK)
    merge(str(found.base), found.adapter, found.merged)
    merge(str(found.base), found.weak, found.weak_merged)
    return found


@pytest.fixture(scope="module")
def exported(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "adapter_gguf"
    record, new = export_adapter(world.adapter, out, provenance=PROVENANCE, **world.parts)
    assert new
    assert export_adapter(world.adapter, out, provenance=PROVENANCE, **world.parts) == (record, False)
    return out


@pytest.fixture(scope="module")
def references(world: World) -> dict[str, Reference]:
    """Of the merged model, and of the one that the weak adapter makes."""
    asked = read_test_questions(world.dataset)[:16]
    return {path.name: make_reference(path, asked, seed=3) for path in (world.merged, world.weak_merged)}


def refused(world: World, tmp_path: Path, words: str, adapter: Path | None = None, **parts: Path) -> None:
    """The step refuses with these words, and leaves nothing."""
    out = tmp_path / "out" / "adapter_gguf"
    with pytest.raises(UserError, match=words):
        export_adapter(adapter or world.adapter, out, provenance=PROVENANCE, **world.parts | parts)
    assert not out.parent.exists() or not list(out.parent.iterdir())


def test_an_adapter_is_proved_by_its_factors_and_as_it_is_used(exported: Path) -> None:
    figures = read_step(exported).figures
    verdict = figures["verified"]
    assert (figures["file"], figures["tensors"], figures["bytes"]) == (FILE, 12, (exported / FILE).stat().st_size)
    assert (verdict["passed"], verdict["file"], verdict["on"]) == (True, FILE, "base-Q4_K_M.gguf")
    assert verdict["factors"]["updates"] == 6
    assert verdict["factors"]["error"] <= ROUNDING
    numbers, alone = verdict["numbers"], verdict["alone"]
    assert numbers["mean"] <= numbers["bound"] < alone["mean"]
    assert alone["allowed"] is False
    assert 0 < alone["low"] <= alone["mean"] - numbers["mean"] <= alone["high"]
    assert f"those of base-Q4_K_M.gguf alone by {alone['mean']:.2g} in the mean" in verdict["sentence"]
    assert "says little" not in verdict["sentence"]


def test_where_the_base_alone_would_pass_the_sentence_says_so(
    world: World, references: dict[str, Reference], tmp_path: Path
) -> None:
    path, reference = tmp_path / FILE, references["weak_merged"]
    write_adapter_gguf(world.base, world.weak, path, PROVENANCE)
    served, factors = read_served(world.base_gguf), check_factors(path, world.weak, world.base)
    verdict = verify_adapter(path, served, factors, reference, seed=3)
    assert verdict.alone.allowed
    assert "which would be allowed too, so that this comparison says little" in verdict.sentence


def heard(served: Served, adapter: Path | None, reference: Reference) -> list[Heard]:
    with Engine.load(served.path, n_ctx=reference.window, adapter=adapter) as engine:
        return read_probes(engine, reference.probes)


def test_an_absent_adapter_is_refused_where_the_bound_alone_lets_it_pass(
    world: World, references: dict[str, Reference]
) -> None:
    served, reference = read_served(world.base_gguf), references["weak_merged"]
    bare = heard(served, None, reference)
    numbers = check_numbers(Path(FILE), "q4_k_m", reference, bare, served.weights)
    with pytest.raises(UserError, match=rf"^{FILE}: numbers: it brings the base's file no nearer to the merged model"):
        check_nearer(Path(FILE), "q4_k_m", reference, bare, bare, numbers.bound, 3)
    strong = references["merged"]
    with pytest.raises(UserError, match=rf"^{FILE}: numbers: log-probabilities of the first token differ"):
        check_numbers(Path(FILE), "q4_k_m", strong, heard(served, None, strong), served.weights)


def test_an_adapter_that_leads_away_is_refused(world: World, references: dict[str, Reference], exported: Path) -> None:
    """The weak one's merged model is the base, all but: the strong adapter leads away from it."""
    served, reference = read_served(world.base_gguf), references["weak_merged"]
    bare, worn = heard(served, None, reference), heard(served, exported / FILE, reference)
    with pytest.raises(UserError, match="no nearer to the merged model"):
        check_nearer(Path(FILE), "q4_k_m", reference, bare, worn, 100.0, 3)
    away = check_nearer(Path(FILE), "f16", reference, worn, bare, 100.0, 3)
    assert away.low > 0


def test_half_the_alpha_is_refused_by_the_factors(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = weakened(world.adapter, tmp_path / "half", 0.5)
    monkeypatch.setattr(
        "jobs.gguf_export.adapter.write_adapter_gguf",
        lambda base, _adapter, path, provenance: write_adapter_gguf(base, half, path, provenance),
    )
    refused(world, tmp_path, rf"^{FILE}: weights: the update of blk\.0\..* is not the adapter's: relative error 0\.5")


def test_another_adapter_than_was_merged_is_refused(world: World, tmp_path: Path) -> None:
    other = tiny_adapter(world.base, tmp_path / "other", seed=9)
    refused(world, tmp_path, r"merged: was not made from .*other, by its step\.json; give what belongs", other)
    said = rf"^{FILE}: numbers: log-probabilities of the first token differ"
    refused(world, tmp_path, said, other, merged=unrecorded(world.merged, tmp_path / "merged"))


def test_an_adapter_of_another_base_is_refused(world: World, tmp_path: Path) -> None:
    tiny_model(tmp_path / "base", width=64)
    foreign = tiny_adapter(tmp_path / "base", tmp_path / "foreign")
    merged = unrecorded(world.merged, tmp_path / "merged")
    refused(world, tmp_path, "foreign: made for another base: model.layers.0", foreign, merged=merged)


def test_the_file_of_another_base_is_refused(world: World, tmp_path: Path) -> None:
    """Of the same shape, so that llama.cpp puts the adapter on it."""
    tiny_model(tmp_path / "base", width=256, seed=7)
    given = Calibration(world.dataset, tokens=0)
    types, provenance = ("q4_k_m",), Provenance("other")
    export(tmp_path / "base", tmp_path / "gguf", types=types, provenance=provenance, calibration=given)
    refused(world, tmp_path, r"gguf: was not made from .*, by its step\.json", base_gguf=tmp_path / "gguf")
    record = json.loads((tmp_path / "gguf" / "step.json").read_text())
    record["inputs"]["merged"] = read_step(world.base_gguf).inputs["merged"]
    (tmp_path / "gguf" / "step.json").write_text(json.dumps(record))
    refused(world, tmp_path, rf"^{FILE}: numbers: ", base_gguf=tmp_path / "gguf")


def test_dora_is_refused(world: World, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    shape = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj"], task_type="CAUSAL_LM", use_dora=True)
    get_peft_model(AutoModelForCausalLM.from_pretrained(world.base), shape).save_pretrained(tmp_path / "dora")
    said, merged = "use_dora cannot be written as an adapter GGUF; use the merged model", tmp_path / "merged"
    refused(world, tmp_path, said, tmp_path / "dora", merged=unrecorded(world.merged, merged))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    tiny_model(folder)
    return folder


def made(small: Path, folder: Path, **shape: Any) -> tuple[Path, Path]:
    """An adapter of random matrices, and its file."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    shape = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"], **shape}
    config = LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        get_peft_model(AutoModelForCausalLM.from_pretrained(small), config).save_pretrained(folder / "adapter")
    write_adapter_gguf(small, folder / "adapter", folder / FILE, PROVENANCE)
    return folder / "adapter", folder / FILE


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"r": 3, "lora_alpha": 5, "use_rslora": True},
        {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"down_proj": 20, "layers.0.self_attn.q_proj": 3}},
        {"use_rslora": True, "rank_pattern": {"v_proj": 9}},
        {"alpha_pattern": {"q_proj": 0}},
    ],
    ids=["plain", "rank-stabilised", "patterns", "patterns, rank-stabilised", "without one"],
)
def test_factors_of_every_kind_of_scale_are_the_adapters_own(
    small: Path, tmp_path: Path, shape: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.gguf_export.adapter_gate.PART", 1000)  # several parts to a tensor
    found = check_factors(made(small, tmp_path, **shape)[1], tmp_path / "adapter", small)
    assert found.updates == 6
    assert found.error <= ROUNDING / 2


def test_factors_of_a_bf16_adapter_are_its_own(small: Path, tmp_path: Path) -> None:
    adapter, path = made(small, tmp_path)
    weights = adapter / "adapter_model.safetensors"
    halved = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(weights).items()}
    save_file(halved, weights)
    with pytest.raises(UserError, match="is not the adapter's"):
        check_factors(path, adapter, small)
    write_adapter_gguf(small, adapter, path, PROVENANCE)
    assert check_factors(path, adapter, small).error == 0


def zeroed(data: np.ndarray) -> None:
    data[:] = 0


def one_value(data: np.ndarray) -> None:
    data.reshape(-1)[7] *= 1.01


def not_a_number(data: np.ndarray) -> None:
    data.reshape(-1)[7] = np.nan


@pytest.mark.parametrize("change", [zeroed, one_value, not_a_number])
def test_a_damaged_factor_is_named(small: Path, tmp_path: Path, change: Callable[[np.ndarray], None]) -> None:
    adapter, path = made(small, tmp_path)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path, "r+").tensors}
    change(tensors["blk.1.attn_v.weight.lora_b"].data)
    tensors["blk.1.attn_v.weight.lora_b"].data.flush()
    with pytest.raises(UserError, match=rf"^{FILE}: weights: the update of blk\.1\.attn_v\.weight is not the"):
        check_factors(path, adapter, small)


def test_tensors_beyond_and_missing_are_named(small: Path, tmp_path: Path) -> None:
    _, path = made(small, tmp_path)
    less, _ = made(small, tmp_path / "less", target_modules=["q_proj", "v_proj"])
    more, file = made(small, tmp_path / "more", target_modules=["q_proj", "v_proj", "down_proj", "o_proj"])
    with pytest.raises(UserError, match=r"tensor blk\.0\.ffn_down\.weight\.lora_a is not in the adapter"):
        check_factors(path, less, small)
    with pytest.raises(UserError, match=r"tensor blk\.0\.attn_output\.weight\.lora_a is not in the file"):
        check_factors(path, more, small)
    wider, _ = made(small, tmp_path / "wider", r=5)
    with pytest.raises(UserError, match=r"the factors of blk\.\d\.\w+\.weight are \[4, \d+\] and \[\d+, 4\]"):
        check_factors(path, wider, small)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=rf"^{FILE}: whole: cut short"):
        check_factors(file, more, small)


def test_the_bases_own_fault_is_the_bases(
    world: World, references: dict[str, Reference], exported: Path, small: Path, tmp_path: Path
) -> None:
    served, reference = read_served(world.base_gguf), references["merged"]
    factors = check_factors(exported / FILE, world.adapter, world.base)
    broken = tmp_path / "broken-Q4_K_M.gguf"
    broken.write_bytes(served.path.read_bytes()[:-100])
    with pytest.raises(UserError) as caught:
        verify_adapter(exported / FILE, replace(served, path=broken), factors, reference, seed=3)
    assert str(caught.value).startswith(f"{broken}: cut short")
    assert str(caught.value).count(broken.name) == 1
    assert FILE not in str(caught.value)
    _, foreign = made(small, tmp_path)
    with pytest.raises(UserError, match=rf"^{FILE}: whole: llama\.cpp cannot put it on this model") as caught:
        verify_adapter(foreign, served, factors, reference, seed=3)
    assert str(caught.value).count(FILE) == 1


def folder_of(path: Path, figures: dict[str, Any], name: str = "export") -> Path:
    run_step(name, path, arguments={}, inputs={}, work=lambda _: figures)
    return path


def test_a_base_that_was_not_exported_verified_and_served_is_refused(world: World, tmp_path: Path) -> None:
    found = read_served(world.base_gguf)
    assert found.path == world.base_gguf / "base-Q4_K_M.gguf"
    assert found.weights.error > found.weights.mean > 0
    figures = read_step(world.base_gguf).figures
    with pytest.raises(UserError, match=r"merged: made by the step merge, not by export"):
        read_served(world.merged)
    with pytest.raises(UserError, match=r"no step\.json"):
        read_served(world.base)
    unverified = folder_of(tmp_path / "unverified", figures | {"verified": None})
    with pytest.raises(UserError, match=r"unverified: its files were not verified; export the base with a data set"):
        read_served(unverified)
    two = {"q8_0": "base-Q8_0.gguf", "q6_k": "base-Q6_K.gguf"}
    several = folder_of(tmp_path / "several", figures | {"files": two})
    with pytest.raises(UserError, match=r"several: .*; export the base as one Q4_K_M file$"):
        read_served(several)
    refused(world, tmp_path, "were not verified", base_gguf=unverified)


def test_a_name_that_would_be_taken_for_a_type_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--name my-F16: holds the type F16"):
        export_adapter(world.adapter, tmp_path / "out", provenance=Provenance("my-F16"), **world.parts)
    assert not list(tmp_path.iterdir())


def test_too_little_disk_is_said_before_the_first_byte(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    refused(world, tmp_path, "needed for the adapter as GGUF")


def test_code_that_decides_the_file_or_the_verdict_is_among_the_arguments(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_step(exported).arguments["code"] == step._code()
    hashed: list[str] = []
    monkeypatch.setattr(step, "source_sha256", lambda *modules: hashed.extend(module.__name__ for module in modules))
    step._code()
    assert {"jobs.gguf_export", "jobs.lora", "jobs.lora_config"} <= set(hashed)


def test_the_command_writes_the_file_and_says_what_was_found(world: World, tmp_path: Path) -> None:
    places = {f"--{name.replace('_', '-')}": path for name, path in world.parts.items()} | {"--out": tmp_path / "out"}
    options = ["--name", "mine", "--licence", "apache-2.0", "--base-model", "somebody/base", "--seed", "5"]
    command = [
        sys.executable,
        "-m",
        "jobs.export_adapter",
        world.adapter,
        *(x for pair in places.items() for x in pair),
    ]
    done = subprocess.run(
        list(map(str, [*command, *options])), cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    path = tmp_path / "out" / "mine-lora.gguf"
    assert done.stdout.startswith(f"{path}: {path.stat().st_size:,} bytes")
    assert read_step(tmp_path / "out").figures["verified"]["sentence"] in done.stdout
    fields = gguf.GGUFReader(path).fields
    assert fields["general.license"].contents() == "apache-2.0"
    assert fields["general.base_model.0.repo_url"].contents() == "https://huggingface.co/somebody/base"
    assert read_step(tmp_path / "out").arguments["seed"] == 5
