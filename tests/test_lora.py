"""Merging equals peft's own `merge_and_unload()` on one thread, every tensor, every bit: LoRA's variants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs import merge as merging
from jobs.errors import UserError
from jobs.lora import Deltas
from jobs.merge import merge
from jobs.step import read_step
from tests.merging import ALL, make_adapter, make_base

RANKS = {"down_proj": 2, r"layers\.0\.mlp\.up_proj": 6, "^model.layers.1.self_attn.q_proj": 3}
ALPHAS = {r".*\.0\.self_attn\.(q|k)_proj": 5, "proj": 99, "model.layers.1.mlp.gate_proj": 0.3, r"[mg].*_proj": 7}
CASES: dict[str, dict[str, Any]] = {
    "all seven": {},
    "rank and alpha patterns": {"rank_pattern": RANKS, "alpha_pattern": ALPHAS},
    "rank-stabilised": {"use_rslora": True, "r": 5},
    "rank-stabilised with patterns": {"use_rslora": True, "rank_pattern": RANKS, "alpha_pattern": ALPHAS},
    "dora": {"use_dora": True},
    "dora, rank-stabilised, with patterns": {"use_dora": True, "use_rslora": True, "rank_pattern": RANKS},
    "a regular expression": {"target_modules": r".*\.(0|1)\..*(q|down)_proj"},
    "all-linear": {"target_modules": "all-linear"},
    "one layer": {"layers_to_transform": [1], "layers_pattern": "layers"},
    "but one": {"exclude_modules": ["v_proj", "model.layers.0.mlp.up_proj"], "layers_to_transform": 0},
    "gaussian": {"init_lora_weights": "gaussian", "r": 1},
    "orthogonal": {"init_lora_weights": "orthogonal"},
}


def peft_merged(base: Path, adapter: Path, folder: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(folder)
    return load_file(folder / "model.safetensors")


def assert_equal_to_peft(base: Path, adapter: Path, folder: Path, dtype: torch.dtype = torch.bfloat16) -> set[str]:
    """The names of the tensors that merging changed."""
    merge(str(base), adapter, folder / "ours")
    ours = load_file(folder / "ours" / "model.safetensors")
    theirs = peft_merged(base, adapter, folder / "peft", dtype)
    original = load_file(base / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype == dtype, name
        assert torch.equal(ours[name], tensor), name
    return {name for name in ours if not torch.equal(ours[name], original[name])}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "BLOCK_WEIGHTS", 4096)  # so that these matrices too are cut into several


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
def test_bf16_equals_peft(base: Path, tmp_path: Path, case: str) -> None:
    adapter = make_adapter(base, tmp_path / "adapter", **CASES[case])
    changed = assert_equal_to_peft(base, adapter, tmp_path)
    figures = read_step(tmp_path / "ours").figures
    assert changed == Deltas(adapter).targets
    assert figures["merged_tensors"] == len(changed)
    assert figures["kind"] == ("dora" if "dora" in case else "lora")
    assert len(changed) == {"one layer": 7, "but one": 5, "a regular expression": 4}.get(case, 14)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("dora", [False, True])
def test_other_precisions_equal_peft(tmp_path: Path, dtype: torch.dtype, dora: bool) -> None:
    base = make_base(tmp_path / "base", dtype=dtype)
    adapter = make_adapter(base, tmp_path / "adapter", use_dora=dora, rank_pattern=RANKS)
    assert len(assert_equal_to_peft(base, adapter, tmp_path, dtype)) == 14


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dora", [False, True])
def test_the_output_layer_of_an_untied_qwen3_equals_peft(tmp_path: Path, dora: bool) -> None:
    base = make_base(tmp_path / "base", "qwen3", tied=False)
    adapter = make_adapter(base, tmp_path / "adapter", target_modules=[*ALL, "lm_head"], use_dora=dora)
    assert "base_model.model.lm_head.base_layer.weight" in load_file(adapter / "adapter_model.safetensors")
    changed = assert_equal_to_peft(base, adapter, tmp_path)
    assert "lm_head.weight" in changed
    assert len(changed) == 15


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fault", [None, "a step of the base's type", "beyond the base's type"])
def test_an_adapters_copy_of_the_output_layer_in_float32_is_the_bases_where_it_rounds_to_it(
    tmp_path: Path, fault: str | None
) -> None:
    """A base in 16 bits that was trained in float32: peft saves the copy as it held it, and rounds it in loading."""
    base = make_base(tmp_path / "base", tied=False, dtype=torch.float16)
    adapter = make_adapter(base, tmp_path / "adapter", target_modules=["lm_head"])
    path, name = adapter / "adapter_model.safetensors", "base_model.model.lm_head.base_layer.weight"
    tensors = {key: tensor.float() for key, tensor in load_file(path).items()}
    copy = tensors[name]
    copy[3, 3] = 0.5 + 2**-14 if fault is None else 0.5 + 2**-11 * 1.5 if "step" in fault else 1e6
    rewritten = load_file(base / "model.safetensors")
    rewritten["lm_head.weight"][3, 3] = 0.5
    save_file(rewritten, base / "model.safetensors", metadata={"format": "pt"})
    save_file(tensors, path)
    if fault is None:
        assert assert_equal_to_peft(base, adapter, tmp_path, torch.float16) == {"lm_head.weight"}
        return
    with pytest.raises(UserError, match=r"made for another base: its own copy of lm_head\.weight differs"):
        merge(str(base), adapter, tmp_path / "ours")


@pytest.mark.filterwarnings("ignore")
def test_an_adapter_stored_in_bf16_is_computed_in_float32_as_peft_does(base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(base, tmp_path / "adapter", use_dora=True)
    path = adapter / "adapter_model.safetensors"
    save_file({name: tensor.bfloat16() for name, tensor in load_file(path).items()}, path)
    assert len(assert_equal_to_peft(base, adapter, tmp_path)) == 14


@pytest.mark.filterwarnings("ignore")
def test_merging_in_bf16_is_merging_in_float32_rounded_once(base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(base, tmp_path / "adapter")
    merge(str(base), adapter, tmp_path / "ours")
    ours = load_file(tmp_path / "ours" / "model.safetensors")
    exact = peft_merged(base, adapter, tmp_path / "peft", torch.float32)
    assert all(torch.equal(ours[name], exact[name].bfloat16()) for name in ours)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("module", ["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.gate_proj", "lm_head"])
def test_patterns_are_matched_as_peft_does(base: Path, tmp_path: Path, module: str) -> None:
    from peft.utils.other import get_pattern_key

    folder = make_adapter(base, tmp_path / "adapter", rank_pattern=RANKS, alpha_pattern=ALPHAS)
    config, deltas = json.loads((folder / "adapter_config.json").read_text()), Deltas(folder)
    ranks, alphas = config["rank_pattern"], config["alpha_pattern"]  # in the file's order: it decides between two
    rank = ranks.get(get_pattern_key(ranks.keys(), module), 4)
    assert deltas.rank(module) == rank
    assert deltas.scale(module) == alphas.get(get_pattern_key(alphas.keys(), module), 11) / rank
