"""Merged = base + B A · α / r, to the last bit of the base's own rounding; what cannot be merged is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs.errors import UserError
from jobs.merge import merge
from jobs.step import read_step
from tests.tiny import tiny_adapter, tiny_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny_model(folder).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_adapter(base, tmp_path_factory.mktemp("adapter"))


def changed(adapter: Path, target: Path, **config: Any) -> Path:
    shutil.copytree(adapter, target)
    path = target / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return target


def expected(base: Path, adapter: Path, scale: float) -> dict[str, torch.Tensor]:
    weights, updates = load_file(base / "model.safetensors"), load_file(adapter / "adapter_model.safetensors")
    for name in [name for name in updates if ".lora_A." in name]:
        target = name.removeprefix("base_model.model.").replace(".lora_A.", ".")
        update = updates[name.replace("lora_A", "lora_B")].double() @ updates[name].double()
        exact = weights[target].double() + scale * update
        weights[target] = exact.to(torch.float32).to(torch.bfloat16)
    return weights


def test_merged_is_the_formula_to_the_last_bit_of_bf16(base: Path, adapter: Path, tmp_path: Path) -> None:
    merge(str(base), adapter, tmp_path / "merged")
    ours, exact = load_file(tmp_path / "merged" / "model.safetensors"), expected(base, adapter, 8 / 4)
    assert ours.keys() == exact.keys()
    original = load_file(base / "model.safetensors")
    touched = [name for name in ours if not torch.equal(ours[name], original[name])]
    assert len(touched) == 6  # q_proj, v_proj and down_proj of two layers
    assert all("q_proj" in name or "v_proj" in name or "down_proj" in name for name in touched)
    for name, tensor in exact.items():
        assert ours[name].dtype == torch.bfloat16
        # float32 and exact arithmetic may fall on two sides of a bf16 rounding edge, hardly ever and by one step only
        differing = ours[name] != tensor
        assert differing.float().mean() < 1e-3, name
        assert torch.allclose(ours[name].float(), tensor.float(), rtol=2**-7, atol=0), name


def test_merged_answers_as_base_and_adapter_do(base: Path, adapter: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    merge(str(base), adapter, tmp_path / "merged")
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        before = model(ids).logits.clone()
        together = PeftModel.from_pretrained(model, adapter)(ids).logits
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)(ids).logits
    assert (merged - together).abs().max() < 0.15 * (merged - before).abs().max()


def test_the_merged_folder_is_complete(base: Path, adapter: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    merge(str(base), adapter, tmp_path / "merged")
    for name in ("config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"):
        assert (tmp_path / "merged" / name).read_bytes() == (base / name).read_bytes()
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").chat_template
    assert read_step(tmp_path / "merged").figures["merged_tensors"] == 6


def test_rank_stabilised_scale_and_alpha_patterns(base: Path, adapter: Path, tmp_path: Path) -> None:
    stabilised = changed(adapter, tmp_path / "rs", use_rslora=True)
    merge(str(base), stabilised, tmp_path / "a")
    name = "model.layers.0.self_attn.q_proj.weight"
    ours = load_file(tmp_path / "a" / "model.safetensors")[name]
    assert (ours == expected(base, adapter, 8 / 2)[name]).float().mean() > 0.999
    patterned = changed(adapter, tmp_path / "pattern", alpha_pattern={"layers.0.self_attn.q_proj": 16})
    merge(str(base), patterned, tmp_path / "b")
    ours = load_file(tmp_path / "b" / "model.safetensors")[name]
    assert (ours == expected(base, adapter, 16 / 4)[name]).float().mean() > 0.999


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"use_dora": True}, "use_dora cannot be merged"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save cannot be merged"),
        ({"bias": "all"}, "bias cannot be merged"),
        ({"peft_type": "IA3"}, "peft_type IA3 is not supported"),
    ],
)
def test_what_cannot_be_merged_is_refused_by_name(
    base: Path, adapter: Path, tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        merge(str(base), changed(adapter, tmp_path / "odd", **config), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_an_adapter_for_another_base_is_refused(adapter: Path, tmp_path: Path) -> None:
    tiny_model(tmp_path / "wide", width=128)
    with pytest.raises(UserError, match=r"was trained on .* not on .*wide"):
        merge(str(tmp_path / "wide"), adapter, tmp_path / "merged")
    tiny_model(tmp_path / "shallow", layers=1)
    for name in ("wide", "shallow"):  # of the right name, yet other tensors stand there now
        renamed = changed(adapter, tmp_path / f"for-{name}", base_model_name_or_path=str(tmp_path / name))
        with pytest.raises(UserError, match="made for another base"):
            merge(str(tmp_path / name), renamed, tmp_path / "merged")


@pytest.mark.parametrize(("damage", "words"), [("cut", "cut short"), ("text", "not a safetensors file")])
def test_a_damaged_file_is_one_line(base: Path, adapter: Path, tmp_path: Path, damage: str, words: str) -> None:
    folder = tmp_path / "base"
    shutil.copytree(base, folder)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100] if damage == "cut" else b"no model at all")
    renamed = changed(adapter, tmp_path / "renamed", base_model_name_or_path=str(folder))
    with pytest.raises(UserError, match=words):
        merge(str(folder), renamed, tmp_path / "merged")
    broken = changed(adapter, tmp_path / "broken")
    path = broken / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"adapter_model\.safetensors: cannot be read"):
        merge(str(base), broken, tmp_path / "merged")


@pytest.mark.parametrize("fault", ["nan", "half a pair"])
def test_a_broken_adapter_is_refused(base: Path, adapter: Path, tmp_path: Path, fault: str) -> None:
    broken = changed(adapter, tmp_path / "broken")
    tensors = load_file(broken / "adapter_model.safetensors")
    name = next(name for name in tensors if ".lora_B." in name)
    if fault == "nan":
        tensors[name][0, 0] = float("nan")
    else:
        del tensors[name]
    save_file(tensors, broken / "adapter_model.safetensors")
    with pytest.raises(UserError, match="NaN or infinity" if fault == "nan" else "missing or not a LoRA tensor"):
        merge(str(base), broken, tmp_path / "merged")


def test_a_base_that_is_not_there_is_named(adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nobody/nothing"):
        merge("nobody/nothing", adapter, tmp_path / "merged")
