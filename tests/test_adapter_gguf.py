"""An adapter GGUF beside its base in llama.cpp gives what peft gives; what llama.cpp cannot compute is refused."""

from __future__ import annotations

import ctypes
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs.errors import UserError
from jobs.gguf_export.adapter import write_adapter_gguf
from jobs.gguf_export.writer import Provenance
from tests.gguf_parts import read_parts
from tests.tiny import tiny_gguf, tiny_model

PROVENANCE = Provenance("tiny-lora", base_model="somebody/base")
IDS = [17, 300, 42, 101, 7, 250, 388, 64, 5, 129]
# Largest difference of a logit from peft's (the adapter moves them by up to 5). Measured: 5e-6 of an F32 base
# and 0.01 of an F16 one, whose weights and activations are rounded to float16.
BOUNDS = {"f32": 1e-4, "f16": 0.05}
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {"r": 4, "lora_alpha": 8},
    "rank-stabilised": {"r": 3, "lora_alpha": 5, "use_rslora": True},
    "patterns": {
        "r": 4,
        "lora_alpha": 8,
        "rank_pattern": {"v_proj": 2, "layers.1.mlp.down_proj": 7},
        "alpha_pattern": {"layers.0.self_attn.q_proj": 3, "down_proj": 20},
    },
    "patterns, rank-stabilised": {"r": 4, "lora_alpha": 8, "use_rslora": True, "rank_pattern": {"v_proj": 9}},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny_model(folder)
    return folder


@pytest.fixture(scope="module", params=BOUNDS)
def llama(base: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The base in llama.cpp, with all logits and its largest difference from torch."""
    import llama_cpp

    path = tiny_gguf(base, tmp_path_factory.mktemp("gguf") / "base.gguf", request.param)
    cache = {"type_k": llama_cpp.GGML_TYPE_F32, "type_v": llama_cpp.GGML_TYPE_F32}  # in float16 alone 0.007 off
    model = llama_cpp.Llama(str(path), n_ctx=64, n_batch=64, logits_all=True, verbose=False, **cache)
    yield model, BOUNDS[request.param]
    model.close()


def make_adapter(base: Path, folder: Path, **shape: Any) -> Path:
    """A LoRA adapter whose every matrix is random, so that each scale shows."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    shape = {"target_modules": ["q_proj", "v_proj", "down_proj"], **shape}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        config = LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **shape)
        get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(folder)
    return folder


def of_peft(base: Path, adapter: Path) -> np.ndarray:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).eval()
    with torch.inference_mode():
        return model(torch.tensor([IDS])).logits[0].numpy()


def of_llama(model: Any, adapter: Path | None) -> np.ndarray:
    import llama_cpp

    loaded = llama_cpp.llama_adapter_lora_init(model.model, str(adapter).encode()) if adapter else None
    assert adapter is None or loaded
    if loaded:
        one, scale = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(loaded), (ctypes.c_float * 1)(1.0)
        assert llama_cpp.llama_set_adapters_lora(model.ctx, one, 1, scale) == 0
    model.reset()
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(model.ctx), True)
    model.eval(IDS)
    logits = model.scores[: len(IDS)].copy()
    llama_cpp.llama_set_adapters_lora(model.ctx, None, 0, None)
    return logits


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_base_and_adapter_answer_as_peft_does(base: Path, llama: Any, tmp_path: Path, shape: dict[str, Any]) -> None:
    adapter = make_adapter(base, tmp_path / "adapter", **shape)
    assert write_adapter_gguf(base, adapter, tmp_path / "a.gguf", PROVENANCE) == 12
    model, bound = llama
    wanted, found, alone = of_peft(base, adapter), of_llama(model, tmp_path / "a.gguf"), of_llama(model, None)
    assert np.abs(found - wanted).max() < bound
    assert np.abs(alone - wanted).max() > 3


def test_only_what_one_alpha_cannot_say_is_multiplied_in(base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(base, tmp_path / "adapter", **SHAPES["patterns"])
    write_adapter_gguf(base, adapter, tmp_path / "a.gguf", PROVENANCE)
    parts, source = read_parts(tmp_path / "a.gguf"), load_file(adapter / "adapter_model.safetensors")
    assert parts.metadata["adapter.lora.alpha"][1] == np.float32(8).tobytes()
    for name, own in (("attn_q", 3), ("attn_v", 8), ("ffn_down", 20)):
        module = {"attn_q": "self_attn.q_proj", "attn_v": "self_attn.v_proj", "ffn_down": "mlp.down_proj"}[name]
        low, high = (source[f"base_model.model.model.layers.0.{module}.lora_{side}.weight"] for side in "AB")
        assert parts.tensors[f"blk.0.{name}.weight.lora_a"][2] == low.numpy().tobytes()
        assert parts.tensors[f"blk.0.{name}.weight.lora_b"][2] == (high * np.float32(own / 8)).numpy().tobytes()


def test_a_rank_stabilised_adapter_keeps_every_bit(base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(base, tmp_path / "adapter", r=3, lora_alpha=5, use_rslora=True)
    write_adapter_gguf(base, adapter, tmp_path / "a.gguf", PROVENANCE)
    parts, source = read_parts(tmp_path / "a.gguf"), load_file(adapter / "adapter_model.safetensors")
    alpha = np.frombuffer(parts.metadata["adapter.lora.alpha"][1], np.float32)[0]
    assert alpha == np.float32(5 * 3**0.5)
    high = source["base_model.model.model.layers.1.mlp.down_proj.lora_B.weight"]
    assert parts.tensors["blk.1.ffn_down.weight.lora_b"][2] == high.numpy().tobytes()


def test_a_bf16_adapter_is_stored_in_float32(base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(base, tmp_path / "adapter", r=4, lora_alpha=8)
    path = adapter / "adapter_model.safetensors"
    halved = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(path).items()}
    save_file(halved, path)
    write_adapter_gguf(base, adapter, tmp_path / "a.gguf", PROVENANCE)
    low = halved["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"]
    assert read_parts(tmp_path / "a.gguf").tensors["blk.0.attn_q.weight.lora_a"] == (
        (4, 64),
        0,
        low.float().numpy().tobytes(),
    )


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"use_dora": True}, "use_dora cannot be written as an adapter GGUF; use the merged model"),
        ({"lora_alpha": 0}, "lora_alpha is 0, so it changes nothing"),
        ({"modules_to_save": ["norm"]}, "modules_to_save"),
        ({"target_modules": ["embed_tokens"]}, "embed"),
    ],
)
def test_what_llama_cpp_cannot_compute_is_refused(
    base: Path, tmp_path: Path, shape: dict[str, Any], words: str
) -> None:
    adapter = make_adapter(base, tmp_path / "adapter", **{"r": 4, "lora_alpha": 8, **shape})
    with pytest.raises(UserError, match=words):
        write_adapter_gguf(base, adapter, tmp_path / "a.gguf", PROVENANCE)
    assert not (tmp_path / "a.gguf").exists()


def _of_another_base(tensors: dict[str, torch.Tensor]) -> None:
    tensors["base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"] = torch.zeros(96, 4)


def _diverged(tensors: dict[str, torch.Tensor]) -> None:
    tensors["base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"][0, 0] = float("nan")


@pytest.mark.parametrize(("change", "words"), [(_of_another_base, "another base"), (_diverged, "NaN or infinity")])
def test_a_damaged_adapter_is_refused(
    base: Path, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None], words: str
) -> None:
    adapter = make_adapter(base, tmp_path / "adapter", r=4, lora_alpha=8)
    tensors = load_file(adapter / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, adapter / "adapter_model.safetensors")
    with pytest.raises(UserError, match=words):
        write_adapter_gguf(base, adapter, tmp_path / "a.gguf", PROVENANCE)


def test_a_base_that_cannot_be_exported_is_refused(base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(base, tmp_path / "adapter", r=4, lora_alpha=8)
    other = Path(shutil.copytree(base, tmp_path / "other"))
    config = json.loads((other / "config.json").read_text())
    for change, words in (
        ({"architectures": ["LlamaForCausalLM"]}, "names LlamaForCausalLM; supported"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
    ):
        (other / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(UserError, match=words):
            write_adapter_gguf(other, adapter, tmp_path / "a.gguf", PROVENANCE)
