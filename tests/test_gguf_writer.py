"""The GGUF holds the model's own tensors, vocabulary and template; what llama.cpp would read otherwise is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs.architecture import read_architecture
from jobs.errors import UserError
from jobs.gguf_export.writer import Provenance, write_gguf
from jobs.model_folder import ModelFolder, check_tokenizer
from tests.gguf_parts import BF16, F16, F32, read_parts
from tests.tiny import CHAT_TEMPLATE, tiny_model

PROVENANCE = Provenance("tiny")
WEIGHTS = "model.safetensors"
KIND = {"f16": F16, "bf16": BF16, "f32": F32}
DTYPE = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model(folder).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture
def changed(model: Path, tmp_path: Path) -> Path:
    """A copy of the model to be broken."""
    return Path(shutil.copytree(model, tmp_path / "changed"))


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def fields(path: Path) -> Callable[[str], Any]:
    reader = gguf.GGUFReader(path)
    return lambda name: reader.fields[name].contents()


@pytest.mark.parametrize("kind", KIND)
def test_every_tensor_is_the_models_own(model: Path, tmp_path: Path, kind: str) -> None:
    source = load_file(model / WEIGHTS)
    assert write_gguf(model, tmp_path / "x.gguf", kind, PROVENANCE) == len(source)
    written = read_parts(tmp_path / "x.gguf").tensors
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, 2)
    assert len(written) == len(source)
    for name, tensor in source.items():
        shape, stored, data = written[names.get_name(name, try_suffixes=(".weight", ".bias"))]
        wanted = tensor.to(torch.float32 if tensor.ndim == 1 else DTYPE[kind])
        assert (shape, stored) == (tuple(tensor.shape), F32 if tensor.ndim == 1 else KIND[kind]), name
        assert data == wanted.view(torch.uint8).numpy().tobytes(), name


def test_the_file_says_what_it_is_and_where_it_comes_from(model: Path, tmp_path: Path) -> None:
    provenance = Provenance(
        "footnote-tiny",
        "other",
        "Qwen/Qwen2.5-3B-Instruct",
        ("allenai/ai2_arc", "somebody/questions"),
        licence_name="qwen-research",
        licence_link="https://example.org/LICENSE",
        base_revision="0" * 40,
        finetune="footnote",
        repository="somebody/footnote-GGUF",
        source_repository="somebody/footnote",
    )
    write_gguf(model, tmp_path / "x.gguf", "f16", provenance)
    said = fields(tmp_path / "x.gguf")
    wanted = {
        "general.architecture": "qwen2",
        "general.type": "model",
        "general.name": "footnote-tiny",
        "general.finetune": "footnote",
        "general.license": "other",
        "general.license.name": "qwen-research",
        "general.license.link": "https://example.org/LICENSE",
        "general.repo_url": "https://huggingface.co/somebody/footnote-GGUF",
        "general.source.repo_url": "https://huggingface.co/somebody/footnote",
        "general.base_model.count": 1,
        "general.base_model.0.name": "Qwen2.5-3B-Instruct",
        "general.base_model.0.organization": "Qwen",
        "general.base_model.0.version": "0" * 40,
        "general.base_model.0.repo_url": "https://huggingface.co/Qwen/Qwen2.5-3B-Instruct",
        "general.dataset.count": 2,
        "general.dataset.0.name": "ai2_arc",
        "general.dataset.1.organization": "somebody",
        "general.dataset.1.repo_url": "https://huggingface.co/datasets/somebody/questions",
        "general.tags": ["footnote", "text-generation"],
        "general.languages": ["en"],
        "general.size_label": "111K",
        "general.file_type": gguf.LlamaFileType.MOSTLY_F16,
    }
    assert {key: said(key) for key in wanted} == wanted


def test_the_shape_is_the_configurations(model: Path, tmp_path: Path) -> None:
    write_gguf(model, tmp_path / "x.gguf", "bf16", PROVENANCE)
    said, config = fields(tmp_path / "x.gguf"), json.loads((model / "config.json").read_text())
    assert said("general.file_type") == gguf.LlamaFileType.MOSTLY_BF16
    assert said("qwen2.block_count") == 2
    assert said("qwen2.embedding_length") == 64
    assert said("qwen2.feed_forward_length") == 128
    assert said("qwen2.attention.head_count") == 4
    assert said("qwen2.attention.head_count_kv") == 2
    assert said("qwen2.context_length") == 2048
    assert said("qwen2.rope.freq_base") == config["rope_parameters"]["rope_theta"]
    assert said("qwen2.attention.layer_norm_rms_epsilon") == pytest.approx(1e-6)
    assert said("tokenizer.chat_template") == CHAT_TEMPLATE
    assert said("tokenizer.ggml.pre") == "qwen2"
    assert said("tokenizer.ggml.add_bos_token") is False


def test_sampling_settings_are_the_models_own(changed: Path, tmp_path: Path) -> None:
    settings = {"temperature": 0.5, "top_p": 0.75, "top_k": 20, "repetition_penalty": 1.25, "min_p": None}
    (changed / "generation_config.json").write_text(json.dumps(settings))
    write_gguf(changed, tmp_path / "x.gguf", "f16", PROVENANCE)
    found = {name: fields(tmp_path / "x.gguf")(f"general.sampling.{name}") for name in ("temp", "top_p", "top_k")}
    assert found == {"temp": 0.5, "top_p": 0.75, "top_k": 20}
    assert fields(tmp_path / "x.gguf")("general.sampling.penalty_repeat") == 1.25
    assert "general.sampling.min_p" not in read_parts(tmp_path / "x.gguf").metadata


def test_the_vocabulary_is_padded_and_its_control_tokens_are_marked(model: Path, tmp_path: Path) -> None:
    write_gguf(model, tmp_path / "x.gguf", "f16", PROVENANCE)
    tokenizer = check_vocabulary(model, fields(tmp_path / "x.gguf"))
    types = fields(tmp_path / "x.gguf")("tokenizer.ggml.token_type")
    assert types[tokenizer.convert_tokens_to_ids("<tool_call>")] == gguf.TokenType.USER_DEFINED
    assert types[tokenizer.convert_tokens_to_ids("<|fim_pad|>")] == gguf.TokenType.CONTROL
    assert fields(tmp_path / "x.gguf")("tokenizer.ggml.eos_token_id") == tokenizer.convert_tokens_to_ids("<|im_end|>")


def check_vocabulary(model: Path, said: Callable[[str], Any]) -> Any:
    """Tokens and types against what transformers makes of the same folder."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    tokens, types = said("tokenizer.ggml.tokens"), said("tokenizer.ggml.token_type")
    rows = json.loads((model / "config.json").read_text())["vocab_size"]
    assert len(tokens) == len(types) == rows > len(tokenizer)
    for token, number in tokenizer.get_vocab().items():
        assert tokens[number] == token
        if number not in tokenizer.added_tokens_decoder:
            assert types[number] == gguf.TokenType.NORMAL
    for number, token in tokenizer.added_tokens_decoder.items():
        assert not token.special or types[number] == gguf.TokenType.CONTROL
    assert tokens[-1] == f"[PAD{rows - 1}]"
    assert types[-1] == gguf.TokenType.UNUSED
    merges = json.loads((model / "tokenizer.json").read_text())["model"]["merges"]
    assert said("tokenizer.ggml.merges") == [" ".join(merge) for merge in merges]
    return tokenizer


def test_a_token_that_only_the_configuration_marks_as_special_is_a_control_token(changed: Path, tmp_path: Path) -> None:
    path = changed / "tokenizer.json"
    added = json.loads(path.read_text())["added_tokens"]
    rewrite(path, added_tokens=[entry | {"special": False} for entry in added])
    rewrite(changed / "tokenizer_config.json", extra_special_tokens=["<tool_call>"])
    write_gguf(changed, tmp_path / "x.gguf", "f16", PROVENANCE)
    number = next(entry["id"] for entry in added if entry["content"] == "<tool_call>")
    types = fields(tmp_path / "x.gguf")("tokenizer.ggml.token_type")
    assert types[number : number + 2] == [gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED]


def test_shards_are_those_of_the_index(model: Path, changed: Path, tmp_path: Path) -> None:
    tensors = load_file(changed / WEIGHTS)
    names = sorted(tensors)
    (changed / WEIGHTS).unlink()
    parts = {"model-00001.safetensors": names[:9], "model-00002.safetensors": names[9:]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, changed / file, metadata={"format": "pt"})
    weight_map = {name: file for file, part in parts.items() for name in part}
    (changed / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    write_gguf(model, tmp_path / "one.gguf", "f16", PROVENANCE)
    write_gguf(changed, tmp_path / "two.gguf", "f16", PROVENANCE)
    assert read_parts(tmp_path / "one.gguf").tensors == read_parts(tmp_path / "two.gguf").tensors
    (changed / "model-00002.safetensors").unlink()
    with pytest.raises(
        UserError, match=r"\S+ is not in model-00002\.safetensors, where model\.safetensors\.index\.json has it"
    ):
        write_gguf(changed, tmp_path / "x.gguf", "f16", PROVENANCE)


def test_a_tied_head_is_written_once_and_must_be_the_embedding(changed: Path, tmp_path: Path) -> None:
    tensors = load_file(changed / WEIGHTS)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, changed / WEIGHTS, metadata={"format": "pt"})
    assert write_gguf(changed, tmp_path / "x.gguf", "f16", PROVENANCE) == len(tensors) - 1
    assert "output.weight" not in read_parts(tmp_path / "x.gguf").tensors
    tensors["lm_head.weight"][-1, -1] += 1
    save_file(tensors, changed / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lm_head\.weight differs from the embedding that config\.json ties it to"):
        write_gguf(changed, tmp_path / "y.gguf", "f16", PROVENANCE)


CONFIGS = [
    ({"architectures": ["LlamaForCausalLM"]}, "names LlamaForCausalLM; supported: Qwen2ForCausalLM"),
    ({"architectures": None}, "names no class; supported"),
    ({"vocab_size": "many"}, r"config\.json: vocab_size is 'many', not a positive whole number"),
    ({"num_key_value_heads": None}, r"config\.json: num_key_value_heads is None"),
    ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4}}, "rope type 'yarn'"),
    (
        {"rope_scaling": {"type": "linear", "factor": 2}, "rope_parameters": None, "rope_theta": 1e4},
        "rope type 'linear'",
    ),
    ({"use_sliding_window": True}, "use_sliding_window is on"),
    ({"quantization_config": {"quant_method": "bitsandbytes"}}, "the weights are quantised"),
    ({"hidden_act": "gelu"}, "hidden_act is 'gelu'; llama.cpp's model has 'silu'"),
    ({"intermediate_size": 64}, r"mlp\.\w+\.weight is \[\d+, \d+\], config\.json makes it"),
    ({"num_hidden_layers": 1}, r"tensor model\.layers\.1\.\S+ is none of qwen2's"),
    ({"num_hidden_layers": 3}, r"tensor model\.layers\.2\.\S+ is missing \(12 in all\)"),
    ({"tie_word_embeddings": False}, r"tensor lm_head\.weight is missing"),
    ({"architectures": ["Qwen3ForCausalLM"]}, "head_dim is None, not a positive whole number"),
    ({"architectures": 5}, "names no class"),
    ({"architectures": [["Qwen2ForCausalLM"]]}, "names .*; supported"),
    ({"head_dim": "64"}, "head_dim is '64', not a positive whole number"),
    ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, 512 at most"),
    ({"hidden_size": 10**30}, "hidden_size is 1000.*, not a positive whole number"),
    ({"rms_norm_eps": float("nan")}, "rms_norm_eps is nan, not a positive number"),
    ({"rope_parameters": "default"}, "rope_parameters is 'default', not an object"),
    ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "rope_theta is None, not a positive number"),
    ({"layer_types": 5}, "layer_types is 5, not a list"),
    ({"attention_bias": True}, "attention_bias is True"),
    ({"tie_word_embeddings": None}, "tie_word_embeddings is None, not true or false"),
    ({"bos_token_id": -1}, r"config\.json: bos_token_id is -1, the vocabulary has \d+ entries"),
    ({"bos_token_id": "1"}, "bos_token_id is '1', not a whole number"),
    ({"architectures": ["Qwen3ForCausalLM"], "head_dim": 16}, r"self_attn\.\w_proj\.bias is none of qwen3's"),
]


@pytest.mark.parametrize(("config", "words"), CONFIGS)
def test_a_model_of_another_kind_is_refused_by_name(
    changed: Path, tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    rewrite(changed / "config.json", **config)
    with pytest.raises(UserError, match=words):
        write_gguf(changed, tmp_path / "x.gguf", "f16", PROVENANCE)
    assert not (tmp_path / "x.gguf").exists()


def test_a_tokenizer_larger_than_the_embedding_is_refused(changed: Path, tmp_path: Path) -> None:
    tensors = load_file(changed / WEIGHTS)
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"][:100].clone()
    save_file(tensors, changed / WEIGHTS, metadata={"format": "pt"})
    rewrite(changed / "config.json", vocab_size=100)
    with pytest.raises(UserError, match=r"the tokenizer has ids up to \d+, the embedding only 100 rows"):
        write_gguf(changed, tmp_path / "x.gguf", "f16", PROVENANCE)


TENSORS: list[tuple[str, Callable[[dict[str, torch.Tensor]], Any], str]] = [
    (
        "missing",
        lambda t: t.pop("model.layers.1.self_attn.k_proj.bias"),
        r"tensor \S+1\.self_attn\.k_proj\.bias is miss",
    ),
    ("extra", lambda t: t.update({"model.vision.weight": torch.zeros(2)}), r"model\.vision\.weight is none of qwen2's"),
    (
        "transposed",
        lambda t: t.update(
            {"model.layers.0.mlp.up_proj.weight": t["model.layers.0.mlp.up_proj.weight"].T.contiguous()}
        ),
        r"up_proj\.weight is \[64, 128\], config\.json makes it \[128, 64\]",
    ),
    ("nan in a norm", lambda t: t["model.norm.weight"][3].fill_(float("nan")), r"model\.norm\.weight holds NaN or inf"),
    (
        "infinity",
        lambda t: t["model.layers.1.mlp.down_proj.weight"][5, 5].fill_(-float("inf")),
        r"down_proj\.weight holds NaN or infinity",
    ),
    (
        "beyond float16",
        lambda t: t["model.layers.0.mlp.up_proj.weight"][0, 0].fill_(1e6),
        r"up_proj\.weight holds a value beyond float16; export bf16 instead",
    ),
    (
        "integers",
        lambda t: t.update({"model.layers.0.mlp.up_proj.weight": torch.zeros(128, 64, dtype=torch.int8)}),
        r"up_proj\.weight is of type I8; use a bf16, f16 or f32 model",
    ),
]


@pytest.mark.parametrize(("change", "words"), [case[1:] for case in TENSORS], ids=[case[0] for case in TENSORS])
def test_a_tensor_that_cannot_be_exported_is_named_and_no_file_is_left(
    changed: Path, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], Any], words: str
) -> None:
    tensors = load_file(changed / WEIGHTS)
    change(tensors)
    save_file(tensors, changed / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(UserError, match=words):
        write_gguf(changed, tmp_path / "x.gguf", "f16", PROVENANCE)
    assert not (tmp_path / "x.gguf").exists()


def test_bf16_reaches_where_float16_does_not_and_refuses_nan(changed: Path, tmp_path: Path) -> None:
    tensors = load_file(changed / WEIGHTS)
    tensors["model.layers.0.mlp.up_proj.weight"][0, 0] = 1e6
    save_file(tensors, changed / WEIGHTS, metadata={"format": "pt"})
    write_gguf(changed, tmp_path / "x.gguf", "bf16", PROVENANCE)
    tensors["model.embed_tokens.weight"][9, 9] = float("nan")
    save_file(tensors, changed / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"embed_tokens\.weight holds NaN or infinity"):
        write_gguf(changed, tmp_path / "y.gguf", "bf16", PROVENANCE)


def _tokenizer(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    value = json.loads((folder / "tokenizer.json").read_text())
    change(value)
    (folder / "tokenizer.json").write_text(json.dumps(value))


TOKENIZERS: list[tuple[str, Callable[[Path], Any], str]] = [
    ("no tokenizer", lambda f: (f / "tokenizer.json").unlink(), r"tokenizer\.json: cannot be read"),
    (
        "digits in threes",
        lambda f: _tokenizer(
            f, lambda t: t["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex=r"\p{N}{1,3}")
        ),
        "splits text by another rule than Qwen2's",
    ),
    ("unigram", lambda f: _tokenizer(f, lambda t: t["model"].update(type="Unigram")), "not a byte-level BPE as Qwen2"),
    (
        "begin token",
        lambda f: _tokenizer(
            f, lambda t: t.update(post_processor={"single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}]})
        ),
        "puts special tokens around every text",
    ),
    (
        "unknown special token",
        lambda f: rewrite(f / "tokenizer_config.json", extra_special_tokens=["<|mine|>"]),
        r"tokenizer_config\.json names '<\|mine\|>', which tokenizer\.json has not",
    ),
    (
        "two meanings of a token",
        lambda f: rewrite(f / "tokenizer_config.json", added_tokens_decoder={"512": {"content": "<|mine|>"}}),
        r"tokenizer_config\.json and tokenizer\.json differ in token 512",
    ),
    (
        "two templates",
        lambda f: rewrite(f / "tokenizer_config.json", chat_template="{{ messages }}"),
        r"chat_template\.jinja and tokenizer_config\.json hold different templates",
    ),
    *(
        (f"{key} {value}", lambda f, e={key: value}: _tokenizer(f, lambda t: t["model"].update(e)), "not a byte-level")
        for key, value in {"dropout": 0.1, "continuing_subword_prefix": "##", "byte_fallback": True}.items()
    ),
    *(
        (
            f"{words}",
            lambda f, n=number, e=change: _tokenizer(f, lambda t: t["pre_tokenizer"]["pretokenizers"][n].update(e)),
            "splits text by another rule than Qwen2's",
        )
        for number, change, words in (
            (0, {"behavior": "Removed"}, "words removed"),
            (0, {"invert": True}, "the rule turned round"),
            (1, {"use_regex": True}, "a second rule"),
            (1, {"add_prefix_space": True}, "a space before"),
        )
    ),
    (
        "a third step",
        lambda f: _tokenizer(f, lambda t: t["pre_tokenizer"]["pretokenizers"].insert(0, {"type": "Whitespace"})),
        "splits text by another rule than Qwen2's",
    ),
    ("no steps", lambda f: _tokenizer(f, lambda t: t.update(pre_tokenizer=None)), "pre_tokenizer is None, not an obj"),
    (
        "another normalizer",
        lambda f: _tokenizer(f, lambda t: t.update(normalizer={"type": "Lowercase"})),
        r"normalizer is \{'type': 'Lowercase'\}, Qwen2's is \{'type': 'NFC'\}",
    ),
    (
        "a token that takes the space before it",
        lambda f: _tokenizer(f, lambda t: t["added_tokens"][0].update(lstrip=True)),
        "has lstrip, which llama.cpp would not follow",
    ),
    ("a prefix", lambda f: rewrite(f / "tokenizer_config.json", add_prefix_space=True), "add_prefix_space is on"),
    ("a list", lambda f: (f / "tokenizer.json").write_text("[]"), r"tokenizer\.json: holds no JSON object"),
    (
        "half a character",
        lambda f: _tokenizer(f, lambda t: t["added_tokens"][0].update(content="\ud83d")),
        r"tokenizer\.json: cannot be read \(.*surrogates",
    ),
    ("no model", lambda f: _tokenizer(f, lambda t: t.pop("model")), r"tokenizer\.json: model is None, not an object"),
    ("no merges", lambda f: _tokenizer(f, lambda t: t["model"].pop("merges")), "model.merges is None, not a list"),
    (
        "a merge of three",
        lambda f: _tokenizer(f, lambda t: t["model"]["merges"].append(["a", "b", "c"])),
        r"the merge \['a', 'b', 'c'\] is not a pair of tokens",
    ),
    (
        "an added token without text",
        lambda f: _tokenizer(f, lambda t: t["added_tokens"][0].pop("content")),
        r"tokenizer\.json: added token: content is None, not a text",
    ),
    (
        "one id for two tokens",
        lambda f: _tokenizer(f, lambda t: t["model"]["vocab"].update(twice=0)),
        "two tokens have one id",
    ),
    (
        "an id that is none",
        lambda f: rewrite(f / "tokenizer_config.json", added_tokens_decoder={"first": {"content": "a"}}),
        "differ in token first",
    ),
    (
        "special tokens that are none",
        lambda f: rewrite(f / "tokenizer_config.json", extra_special_tokens="<tool_call>"),
        "extra_special_tokens is '<tool_call>', not a list",
    ),
    (
        "an end that is none",
        lambda f: rewrite(f / "tokenizer_config.json", eos_token=["<|im_end|>"]),
        r"tokenizer_config\.json: eos_token is .*, not an object",
    ),
    (
        "a template in another encoding",
        lambda f: (f / "chat_template.jinja").write_bytes(b"\xff\xfe"),
        r"chat_template\.jinja: cannot be read",
    ),
    ("sampling as a list", lambda f: (f / "generation_config.json").write_text("[]"), "holds no JSON object"),
    (
        "sampling beyond numbers",
        lambda f: (f / "generation_config.json").write_text('{"temperature": NaN}'),
        r"generation_config\.json: temperature is nan, not a number",
    ),
    (
        "sampling beyond 32 bits",
        lambda f: (f / "generation_config.json").write_text('{"top_k": 4294967296}'),
        r"generation_config\.json: top_k is 4294967296, not a whole number",
    ),
    (
        "sampling of words",
        lambda f: (f / "generation_config.json").write_text('{"top_k": "a few"}'),
        r"generation_config\.json: top_k is 'a few', not a whole number",
    ),
]


@pytest.mark.parametrize(("change", "words"), [case[1:] for case in TOKENIZERS], ids=[case[0] for case in TOKENIZERS])
def test_what_llama_cpp_would_tokenise_otherwise_is_refused(
    changed: Path, tmp_path: Path, change: Callable[[Path], Any], words: str
) -> None:
    change(changed)
    with pytest.raises(UserError, match=words):
        write_gguf(changed, tmp_path / "x.gguf", "f16", PROVENANCE)
    assert not (tmp_path / "x.gguf").exists()


def test_an_interrupted_writer_leaves_no_file(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> np.ndarray:
        assert (tmp_path / "x.gguf").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr("jobs.floats.convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_gguf(model, tmp_path / "x.gguf", "f16", PROVENANCE)
    assert not (tmp_path / "x.gguf").exists()


def test_no_tensor_is_held_in_memory(changed: Path, tmp_path: Path) -> None:
    tensors, width = load_file(changed / WEIGHTS), 1 << 17
    for name, shape in (("gate_proj", (width, 64)), ("up_proj", (width, 64)), ("down_proj", (64, width))):
        for layer in range(2):
            tensors[f"model.layers.{layer}.mlp.{name}.weight"] = torch.ones(shape, dtype=torch.bfloat16)  # 16 MiB
    save_file(tensors, changed / WEIGHTS, metadata={"format": "pt"})
    rewrite(changed / "config.json", intermediate_size=width)
    write_gguf(changed, tmp_path / "warm.gguf", "bf16", PROVENANCE)  # what imports take is not counted
    tracemalloc.start()
    write_gguf(changed, tmp_path / "x.gguf", "f16", PROVENANCE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20  # a block of 4 MiB, pieces of 256 KiB, the tables


def test_the_writer_needs_no_torch(model: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from jobs.gguf_export.writer import Provenance, write_gguf;"
        "write_gguf(Path(sys.argv[1]), Path(sys.argv[2]), 'f16', Provenance('x'));"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(model), str(tmp_path / "x.gguf")], check=True, timeout=60)


def test_the_real_vocabulary_is_the_one_transformers_reads(shared_data: Path, changed: Path) -> None:
    from jobs.gguf_export.vocabulary import add_vocabulary

    real = shared_data / "hub" / "Qwen" / "Qwen2.5-3B-Instruct"
    config = json.loads((real / "config.json").read_text())
    model = ModelFolder(real, config, read_architecture(config, "config.json"), {})
    check_tokenizer(model)
    writer = gguf.GGUFWriter(changed / "x.gguf", "qwen2")
    add_vocabulary(writer, model)
    said = {key: value.value for key, value in writer.kv_data[0].items()}
    check_vocabulary(real, said.__getitem__)
    assert said["tokenizer.ggml.eos_token_id"] == 151_645
    assert said["tokenizer.chat_template"] == (real / "chat_template.jinja").read_text()
