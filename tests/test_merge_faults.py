"""What cannot be merged is refused by name before a byte is written: adapters, bases and disks that do not fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs import merge as merging
from jobs.errors import UserError
from jobs.merge import merge
from jobs.model_folder import INDEX
from tests.merging import changed, changed_base, make_adapter, make_base
from tests.tiny import tiny_adapter, tiny_model

Tensors = dict[str, torch.Tensor]
DOWN = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny_model(folder).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_adapter(base, tmp_path_factory.mktemp("adapter"))


def refused(base: Path, adapter: Path, folder: Path, words: str, *, early: bool = True) -> None:
    """One line, no folder left, and no file of weights begun, but for values that only reading all of them shows."""

    def begin(*_: Any) -> None:
        raise AssertionError("a file of weights was begun")

    with pytest.MonkeyPatch.context() as patched:
        if early:
            patched.setattr(merging, "write_file", begin)
        with pytest.raises(UserError, match=words) as error:
            merge(str(base), adapter, folder / "merged")
    assert "\n" not in str(error.value)
    assert not list(folder.glob("merged*"))


def rewritten(path: Path, change: Callable[[Tensors], Any]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save=\['lm_head'\] cannot be merged"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"bias": "lora_only"}, "bias='lora_only'"),
        ({"lora_bias": True}, "lora_bias"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"alora_invocation_tokens": [5]}, "alora_invocation_tokens"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication"),
        ({"megatron_config": {"a": 1}}, "megatron_config"),
        ({"target_parameters": ["mlp.experts"]}, "target_parameters"),
        ({"use_bdlora": {"nblocks": 2}}, "use_bdlora"),
        ({"kasa_config": {"r": 1}}, "kasa_config"),
        ({"a_key_of_next_year": "yes"}, "a_key_of_next_year='yes' cannot be merged"),
        *(({"init_lora_weights": name}, name) for name in ("pissa", "pissa_niter_4", "olora", "loftq", "corda")),
        *(({"init_lora_weights": name}, name) for name in ("mica", "lora_ga", "eva")),
        ({"peft_type": "IA3"}, "peft_type IA3 is not supported"),
        ({"r": 0}, "r and rank_pattern must be whole numbers"),
        ({"rank_pattern": {"q_proj": "4"}}, "rank_pattern must be whole numbers"),
        ({"lora_alpha": None}, "lora_alpha and alpha_pattern must be numbers"),
        ({"alpha_pattern": {"(": 4}}, "not a regular expression"),
        ({"r": 8}, "has rank 4, adapter_config.json says 8"),
        ({"use_dora": True}, "lora_magnitude_vector is missing"),
        ({"target_modules": ["q_proj", "v_proj"]}, r"down_proj.weight has an update but is not in .*target_modules"),
        ({"target_modules": ["q_proj", "v_proj", "down_proj", "up_proj"]}, r"up_proj.weight has no update but is in"),
        ({"exclude_modules": "model.layers.1.*"}, r"layers.1.*has an update but is not in"),
        ({"layers_to_transform": [0]}, r"layers.1.*has an update but is not in"),
        ({"rank_pattern": [4]}, r"rank_pattern is \[4\], not an object"),
        ({"target_modules": 5}, "target_modules is 5, not a list"),
        ({"target_modules": "("}, "not a regular expression"),
        ({"target_modules": [None]}, "target_modules is None, not a text"),
        ({"layers_to_transform": ["0"]}, "layers_to_transform is '0', not a whole number"),
        ({"base_model_name_or_path": None}, "base_model_name_or_path is None, not a text"),
    ],
)
def test_a_configuration_that_cannot_be_computed_is_refused_by_name(
    base: Path, adapter: Path, tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    refused(base, changed(adapter, tmp_path / "odd", **config), tmp_path, words)


@pytest.mark.parametrize("path", ["adapter_config.json", "adapter_model.safetensors"])
@pytest.mark.parametrize("damage", ["absent", "cut", "text"])
def test_a_damaged_adapter_file_is_one_line(base: Path, adapter: Path, tmp_path: Path, path: str, damage: str) -> None:
    broken = changed(adapter, tmp_path / "broken")
    data = (broken / path).read_bytes()
    (broken / path).unlink()
    if damage != "absent":
        (broken / path).write_bytes(data[:-100] if damage == "cut" else b"no adapter at all")
    refused(
        base, broken, tmp_path, path.replace(".", r"\.") if path.endswith("json") else "cut short|not a saf|no adap"
    )


def put(name: str, value: torch.Tensor) -> Callable[[Tensors], Any]:
    return lambda tensors: tensors.update({f"base_model.model.{name}": value})


ADAPTER_FAULTS: dict[str, tuple[Callable[[Tensors], Any], str]] = {
    "half a pair": (
        lambda tensors: tensors.pop("base_model.model.model.layers.1.mlp.down_proj.lora_B.weight"),
        r"layers\.1\.mlp\.down_proj\.lora_B\.weight is missing",
    ),
    "a pair lost": (
        lambda tensors: [tensors.pop(name) for name in list(tensors) if "layers.1.mlp.down_proj" in name],
        f"{DOWN} has no update",
    ),
    "nan": (lambda tensors: next(iter(tensors.values())).fill_(float("nan")), "lora_A.weight holds NaN or infinity"),
    "an embedding saved whole": (put("model.embed_tokens.weight", torch.zeros(4)), "embed_tokens.weight is not one of"),
    "an embedding's update": (put("model.embed_tokens.lora_embedding_A", torch.zeros(4)), "update of the embedding"),
    "integers": (
        lambda tensors: tensors.update({n: t.to(torch.int32) for n, t in tensors.items()}),
        "lora_A.weight is of type I32",
    ),
    "a magnitude without dora": (
        put("model.layers.0.x.lora_magnitude_vector", torch.zeros(4)),
        "magnitude_vector is not",
    ),
}


@pytest.mark.parametrize("fault", ADAPTER_FAULTS)
def test_an_adapter_that_is_not_whole_is_refused(base: Path, adapter: Path, tmp_path: Path, fault: str) -> None:
    broken = changed(adapter, tmp_path / "broken")
    change, words = ADAPTER_FAULTS[fault]
    rewritten(broken / "adapter_model.safetensors", change)
    refused(base, broken, tmp_path, words)


def test_an_adapter_for_another_base_is_refused(adapter: Path, tmp_path: Path) -> None:
    tiny_model(tmp_path / "wide", width=128)
    refused(tmp_path / "wide", adapter, tmp_path, r"was trained on .* not on .*wide")
    tiny_model(tmp_path / "shallow", layers=1)
    for name in ("wide", "shallow"):  # of the right name, yet other tensors stand there now
        renamed = changed(adapter, tmp_path / f"for-{name}", base_model_name_or_path=str(tmp_path / name))
        refused(tmp_path / name, renamed, tmp_path, "made for another base")


def test_a_base_that_is_not_there_is_named(adapter: Path, tmp_path: Path) -> None:
    refused(
        Path("nobody/nothing"), changed(adapter, tmp_path / "a", base_model_name_or_path="x"), tmp_path, "nobody/noth"
    )


@pytest.mark.filterwarnings("ignore")
def test_the_output_layer_is_merged_only_where_it_is_its_own(tmp_path: Path) -> None:
    tied = make_base(tmp_path / "tied")
    adapter = make_adapter(tied, tmp_path / "a", target_modules=["lm_head"])
    path = adapter / "adapter_model.safetensors"
    rewritten(path, lambda tensors: [tensors.pop(name) for name in list(tensors) if "base_layer" in name])
    refused(tied, adapter, tmp_path, "lm_head is tied to the embedding")
    untied = make_base(tmp_path / "untied", tied=False)
    adapter = make_adapter(untied, tmp_path / "b", target_modules=["lm_head"])
    rewritten(untied / "model.safetensors", lambda tensors: tensors["lm_head.weight"][0].fill_(1.0))
    refused(untied, adapter, tmp_path, "its own copy of lm_head.weight differs")


BASE_FAULTS: dict[str, tuple[Callable[[Tensors], Any], str]] = {
    "a matrix lost": (lambda tensors: tensors.pop(DOWN), f"{DOWN} is missing"),
    "a bias lost": (
        lambda t: t.pop("model.layers.0.self_attn.k_proj.bias"),
        r"layers\.0\.self_attn\.k_proj\.bias is m",
    ),
    "a layer lost": (
        lambda tensors: [tensors.pop(name) for name in list(tensors) if ".layers.1." in name],
        r"model\.layers\.1\..* is missing",
    ),
    "no layers": (
        lambda tensors: [tensors.pop(name) for name in list(tensors) if ".layers." in name],
        r"model\.layers\.0\.input_layernorm\.weight is missing \(24 in all\)",
    ),
    "a layer too many": (
        lambda t: t.update({"model.layers.2.mlp.up_proj.weight": t[DOWN].T.contiguous()}),
        r"tensor model\.layers\.2\.mlp\.up_proj\.weight is none of qwen2's of 2 layers",
    ),
    "a tensor of another kind": (
        lambda t: t.update({"model.vision.weight": torch.zeros(2)}),
        r"model\.safetensors: tensor model\.vision\.weight is none of qwen2's",
    ),
    "a bias lost in every layer": (
        lambda t: [t.pop(name) for name in list(t) if name.endswith("q_proj.bias")],
        r"model\.layers\.0\.self_attn\.q_proj\.bias is missing \(2 in all\)",
    ),
    "a norm lost in every layer": (
        lambda t: [t.pop(name) for name in list(t) if "input_layernorm" in name],
        r"model\.layers\.0\.input_layernorm\.weight is missing \(2 in all\)",
    ),
    "a bias of another shape in every layer": (
        lambda t: [t.update({n: t[n][:-1].contiguous()}) for n in list(t) if n.endswith("v_proj.bias")],
        r"v_proj\.bias is \[31\], config\.json makes it \[32\]",
    ),
    "a tied head that is another": (
        lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"] + 1}),
        "lm_head.weight differs from the embedding that config.json ties it to",
    ),
    "a shape of its own": (
        lambda t: t.update({DOWN: t[DOWN][:, :-1].contiguous()}),
        rf"{DOWN} is \[64, 127\], config\.json makes it \[64, 128\]",
    ),
    "no norm": (lambda tensors: tensors.pop("model.norm.weight"), "model.norm.weight is missing"),
    "no embedding": (lambda tensors: tensors.pop("model.embed_tokens.weight"), "model.embed_tokens.weight is missing"),
    "quantised": (lambda t: t.update({DOWN: t[DOWN].to(torch.uint8)}), f"{DOWN} is of type U8; use a bf16"),
}


@pytest.mark.parametrize("fault", BASE_FAULTS)
def test_a_base_that_is_not_whole_is_refused(base: Path, adapter: Path, tmp_path: Path, fault: str) -> None:
    damaged, fitting = changed_base(base, adapter, tmp_path)
    change, words = BASE_FAULTS[fault]
    rewritten(damaged / "model.safetensors", change)
    refused(damaged, fitting, tmp_path, words)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"quantization_config": {"bits": 4}}, "the weights are quantised"),
        ({"architectures": ["LlamaForCausalLM"]}, "names LlamaForCausalLM; supported: Qwen2ForCausalLM"),
        ({"num_hidden_layers": 3}, r"model\.layers\.2\..* is missing"),
        ({"num_hidden_layers": None}, "num_hidden_layers is None"),
        ({"tie_word_embeddings": False}, "lm_head.weight is missing"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings is 'no', not true or false"),
        ({"vocab_size": 700}, r"embed_tokens\.weight is .*, config\.json makes it \[700, 64\]"),
    ],
)
def test_a_base_unlike_its_configuration_is_refused(
    base: Path, adapter: Path, tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    refused(*changed_base(base, adapter, tmp_path, **config), tmp_path, words)


@pytest.mark.parametrize(
    ("damage", "words"), [("cut", "cut short"), ("text", "not a safetensors file"), ("", "no .saf")]
)
def test_a_damaged_base_file_is_one_line(base: Path, adapter: Path, tmp_path: Path, damage: str, words: str) -> None:
    damaged, fitting = changed_base(base, adapter, tmp_path)
    path = damaged / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100] if damage == "cut" else b"no model at all")
    if not damage:
        path.unlink()
    refused(damaged, fitting, tmp_path, words)


def test_without_a_word_on_it_the_output_layer_is_not_tied_as_transformers_has_it(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    """Neither to a head that is missing, nor to one that is there."""
    silent, fitting = changed_base(base, adapter, tmp_path)
    config = json.loads((silent / "config.json").read_text())
    config.pop("tie_word_embeddings")
    (silent / "config.json").write_text(json.dumps(config))
    refused(silent, fitting, tmp_path, "lm_head.weight is missing")
    rewritten(silent / "model.safetensors", put_head)
    merge(str(silent), fitting, tmp_path / "merged")
    assert "lm_head.weight" in load_file(tmp_path / "merged" / "model.safetensors")


def put_head(tensors: Tensors) -> None:
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()


def test_a_tied_head_that_is_saved_too_is_left_out(base: Path, adapter: Path, tmp_path: Path) -> None:
    twice, fitting = changed_base(base, adapter, tmp_path)
    rewritten(twice / "model.safetensors", put_head)
    merge(str(twice), fitting, tmp_path / "merged")
    assert load_file(tmp_path / "merged" / "model.safetensors").keys() == load_file(base / "model.safetensors").keys()


@pytest.fixture
def sharded(base: Path, adapter: Path, tmp_path: Path) -> tuple[Path, Path]:
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(base).save_pretrained(tmp_path / "cut", max_shard_size="60KB")
    return changed_base(tmp_path / "cut", adapter, tmp_path)


@pytest.mark.parametrize("fault", ["lost", "elsewhere", "twice", "unknown file", "no index", "bad index"])
def test_files_and_index_that_disagree_are_refused(sharded: tuple[Path, Path], tmp_path: Path, fault: str) -> None:
    base = sharded[0]
    index, files = json.loads((base / INDEX).read_text()), sorted(base.glob("*.safetensors"))
    name = next(iter(load_file(files[1])))
    words = rf"{name} is not in "
    if fault == "lost":
        files[1].unlink()
    elif fault == "elsewhere":
        index["weight_map"][name] = files[0].name
    elif fault == "twice":
        shutil.copy(files[1], base / "model-copy.safetensors")
        words = f"model-copy.safetensors: {name} is in {files[1].name} too"
    elif fault == "unknown file":
        save_file({"extra.weight": torch.zeros(2)}, base / "consolidated.safetensors")
        words = "consolidated.safetensors: extra.weight is unknown to"
    else:
        index, words = [], r"index\.json: holds no JSON object"
    (base / INDEX).write_text(json.dumps(index))
    if fault == "no index":
        (base / INDEX).unlink()
        words = "and no model.safetensors.index.json"
    refused(*sharded, tmp_path, words)


@pytest.mark.parametrize("file", ["tokenizer.json", "added_tokens.json"])
def test_a_tokenizer_larger_than_the_embedding_is_refused(base: Path, adapter: Path, tmp_path: Path, file: str) -> None:
    larger, fitting = changed_base(base, adapter, tmp_path)
    if file == "tokenizer.json":
        tokenizer = json.loads((larger / file).read_text())
        tokenizer["added_tokens"].append({"id": 576, "content": "<|new|>"})
    (larger / file).write_text(json.dumps(tokenizer if file == "tokenizer.json" else {"<|new|>": 576}))
    refused(larger, fitting, tmp_path, r"the tokenizer has ids up to 576, the embedding only 576 rows")


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("tokenizer.json", "[]", "tokenizer.json: holds no JSON object"),
        ("tokenizer.json", '{"model": "BPE"}', "tokenizer.json: model is 'BPE', not an object"),
        ("tokenizer.json", '{"model": {"vocab": [["a", 0.5]]}}', "model.vocab is .*, not an object"),
        ("tokenizer.json", '{"model": {"vocab": {"a": "0"}}}', "the id of 'a' is '0', not a whole number"),
        ("tokenizer.json", '{"model": {"vocab": {}}, "added_tokens": {"a": 1}}', "added_tokens is .*, not a list"),
        ("tokenizer.json", '{"model": {"vocab": {}}, "added_tokens": [5]}', "a token of added_tokens is 5"),
        ("vocab.json", '{"": null}', "vocab.json: the id of '' is None"),
        ("added_tokens.json", "{", "added_tokens.json: cannot be read"),
        ("config.json", "7", "config.json: holds no JSON object"),
    ],
)
def test_a_damaged_file_beside_the_weights_is_one_line(
    base: Path, adapter: Path, tmp_path: Path, file: str, text: str, words: str
) -> None:
    damaged, fitting = changed_base(base, adapter, tmp_path)
    (damaged / file).write_text(text)
    refused(damaged, fitting, tmp_path, words)


def test_too_little_disk_is_found_before_the_first_byte(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=200_000))
    refused(base, adapter, tmp_path, r"0\.2 MB free, 0\.\d MB needed for the merged weights")


@pytest.mark.parametrize("name", ["model.norm.weight", "model.embed_tokens.weight", DOWN])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_nan_or_infinity_in_the_base_is_named(
    base: Path, adapter: Path, tmp_path: Path, name: str, value: float
) -> None:
    damaged, fitting = changed_base(base, adapter, tmp_path)
    rewritten(damaged / "model.safetensors", lambda tensors: tensors[name].view(-1)[-1:].fill_(value))
    refused(
        damaged, fitting, tmp_path, rf"base/model\.safetensors: {name} holds NaN or infinity; get the base", early=False
    )


def test_what_overflows_in_merging_is_the_adapters_fault(base: Path, adapter: Path, tmp_path: Path) -> None:
    broken = changed(adapter, tmp_path / "broken")
    rewritten(broken / "adapter_model.safetensors", lambda tensors: [t.fill_(1e30) for t in tensors.values()])
    refused(base, broken, tmp_path, r"broken: .*weight holds NaN or infinity after merging", early=False)
