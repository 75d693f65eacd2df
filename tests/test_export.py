"""The GGUF holds the merged model's own tensors, vocabulary and template; a damaged one is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from jobs.errors import UserError
from jobs.export import check_tokens, export
from jobs.gguf_export.writer import Provenance, write_gguf
from jobs.step import read_step
from tests.tiny import CHAT_TEMPLATE, tiny_model

PROVENANCE = Provenance("tiny", "apache-2.0", "somebody/base", ("somebody/data",))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model(folder, width=256).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "gguf"
    export(model, out, types=("f16", "q4_k_m"), provenance=PROVENANCE)
    return out


def field(reader: gguf.GGUFReader, name: str) -> Any:
    return reader.fields[name].contents()


def test_every_tensor_equals_the_merged_one(model: Path, exported: Path) -> None:
    source = load_file(model / "model.safetensors")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, 2)
    written = {tensor.name: tensor for tensor in gguf.GGUFReader(exported / "tiny-f16.gguf").tensors}
    assert len(written) == len(source)
    for name, tensor in source.items():
        ours = written[names.get_name(name, try_suffixes=(".weight", ".bias"))]
        kind = np.float32 if tensor.ndim == 1 else np.float16
        assert ours.data.dtype == kind, name
        assert np.array_equal(ours.data, tensor.float().numpy().astype(kind)), name


def test_bf16_keeps_every_bit(model: Path, tmp_path: Path) -> None:
    write_gguf(model, tmp_path / "b.gguf", "bf16", PROVENANCE)
    source = load_file(model / "model.safetensors")["model.embed_tokens.weight"]
    reader = gguf.GGUFReader(tmp_path / "b.gguf")
    ours = next(tensor for tensor in reader.tensors if tensor.name == "token_embd.weight")
    assert ours.tensor_type == gguf.GGMLQuantizationType.BF16
    bits = source.view(torch.int16).numpy().view("uint16")
    assert np.array_equal(ours.data.view(np.uint16).reshape(source.shape), bits)


def test_metadata_says_what_the_model_is(model: Path, exported: Path) -> None:
    reader = gguf.GGUFReader(exported / "tiny-f16.gguf")
    config = json.loads((model / "config.json").read_text())
    assert field(reader, "general.architecture") == "qwen2"
    assert field(reader, "general.license") == "apache-2.0"
    assert field(reader, "general.base_model.0.repo_url") == "https://huggingface.co/somebody/base"
    assert field(reader, "general.dataset.0.name") == "somebody/data"
    assert field(reader, "qwen2.block_count") == 2
    assert field(reader, "qwen2.attention.head_count_kv") == 2
    assert field(reader, "qwen2.rope.freq_base") == config["rope_parameters"]["rope_theta"]
    assert field(reader, "tokenizer.chat_template") == CHAT_TEMPLATE
    assert field(reader, "tokenizer.ggml.pre") == "qwen2"
    assert field(reader, "tokenizer.ggml.add_bos_token") is False


def test_the_vocabulary_is_padded_and_its_control_tokens_are_marked(model: Path, exported: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    reader = gguf.GGUFReader(exported / "tiny-f16.gguf")
    tokens, types = field(reader, "tokenizer.ggml.tokens"), field(reader, "tokenizer.ggml.token_type")
    rows = json.loads((model / "config.json").read_text())["vocab_size"]
    assert len(tokens) == len(types) == rows > len(tokenizer)
    for token, number in tokenizer.get_vocab().items():
        assert tokens[number] == token
    assert tokens[-1] == f"[PAD{rows - 1}]"
    assert types[-1] == gguf.TokenType.UNUSED
    assert types[tokenizer.convert_tokens_to_ids("<|im_end|>")] == gguf.TokenType.CONTROL
    assert types[tokenizer.convert_tokens_to_ids("<tool_call>")] == gguf.TokenType.USER_DEFINED
    assert field(reader, "tokenizer.ggml.eos_token_id") == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_the_four_bit_file_really_is_four_bit(exported: Path) -> None:
    kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(exported / "tiny-q4_k_m.gguf").tensors}
    assert kinds["blk.0.attn_q.weight"] == "Q4_K"
    assert kinds["token_embd.weight"] == "Q6_K"  # noqa: S105 (the name of a tensor)
    assert kinds["output_norm.weight"] == "F32"
    figures = read_step(exported).figures
    assert figures["bytes"]["q4_k_m"] < 0.6 * figures["bytes"]["f16"]
    assert figures["files"] == {"f16": "tiny-f16.gguf", "q4_k_m": "tiny-q4_k_m.gguf"}


def test_llama_cpp_reads_prompts_as_the_tokenizer_does(model: Path, exported: Path) -> None:
    for name in ("tiny-f16.gguf", "tiny-q4_k_m.gguf"):
        check_tokens(model, exported / name)


def test_a_file_with_another_tokenizer_is_refused(exported: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    tiny_model(other, width=256)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    merges = tokenizer["model"]["merges"]
    merges.reverse()
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(UserError, match=r"tokenises .* otherwise than the model's tokenizer"):
        check_tokens(other, exported / "tiny-f16.gguf")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "LlamaForCausalLM cannot be exported"),
        ({"vocab_size": 100}, "the embedding only 100 rows"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4}}, "rope type 'yarn'"),
    ],
)
def test_what_cannot_be_exported_is_refused_by_name(
    model: Path, tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for path in model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    known = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(known | config))
    with pytest.raises(UserError, match=words):
        export(folder, tmp_path / "gguf", types=("f16",), provenance=PROVENANCE)
    assert not (tmp_path / "gguf").exists()


def test_weights_beyond_float16_are_refused(model: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    folder = tmp_path / "model"
    folder.mkdir()
    for path in model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"][0, 0] = 1e6
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"up_proj\.weight holds NaN, infinity or a value beyond float16"):
        export(folder, tmp_path / "gguf", types=("f16",), provenance=PROVENANCE)


def test_a_name_that_is_a_path_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--name \.\./x"):
        export(model, tmp_path / "gguf", types=("f16",), provenance=Provenance("../x"))
    assert not list(tmp_path.iterdir())


def test_an_unknown_type_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--types q3: unknown"):
        export(model, tmp_path / "gguf", types=("q3",), provenance=PROVENANCE)
