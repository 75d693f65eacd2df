"""Our GGUF files equal those of llama.cpp's own converters: tensors, and what it reads, at the real vocabulary too."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks import converter
from jobs.gguf_export.adapter import write_adapter_gguf
from jobs.gguf_export.writer import Provenance, write_gguf
from tests.gguf_parts import Parts, read_parts
from tests.tiny import tiny_adapter, tiny_tokenizer

ROOT = Path(__file__).parents[1]
INT32, BOOL = 5, 7  # GGUF's numbers of types
PROVENANCE = Provenance("tiny", "apache-2.0", "somebody/base", ("somebody/data",))
SAMPLING = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05}
MODELS: dict[str, dict[str, Any]] = {
    "qwen2-tied": {"dtype": "bfloat16"},
    "qwen2-untied": {"dtype": "float32", "shard": "100KB"},
    "qwen3-tied": {"dtype": "float16"},
    "qwen3-untied": {"dtype": "bfloat16"},
}
CASES = [("qwen2-tied", "f16"), ("qwen2-tied", "bf16"), ("qwen2-untied", "f16"), ("qwen3-tied", "bf16")]
CASES += [("qwen3-untied", "f32")]
# Beginnings of the keys that may differ, with the reason; of all others presence, type and value are equal.
MAY_DIFFER = {
    "tokenizer.ggml.add_bos_token": "left out by the converter where tokenizer_config.json does; false is the default",
    "tokenizer.ggml.add_eos_token": "the same",
    "general.name": "ours is given, the converter's is made from the folder's name",
    "general.basename": "the same",
    "general.finetune": "the same",
    "general.size_label": "ours is counted, the converter's may be part of the folder's name",
    "general.license": "provenance: ours is given, the converter's is read from a card, where there is one",
    "general.tags": "the same",
    "general.languages": "the same",
    "general.base_model.": "the same",
    "general.dataset.": "the same",
}


@pytest.fixture(scope="module", params=["tiny", "real"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer and the sampling settings: the tests' own of 534 tokens, and Qwen2.5-3B's."""
    if request.param == "real":
        return request.getfixturevalue("shared_data") / "hub" / "Qwen" / "Qwen2.5-3B-Instruct"
    from transformers import GenerationConfig

    folder = tmp_path_factory.mktemp("tokenizer")
    made = tiny_tokenizer(folder)
    GenerationConfig(eos_token_id=made.eos_token_id, pad_token_id=made.pad_token_id, **SAMPLING).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def models(tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: small_model(folder / name, tokenizer, **options) for name, options in MODELS.items()}


def small_model(folder: Path, tokenizer: Path, *, dtype: str, shard: str = "5GB") -> Path:
    """A narrow model with rows to spare for the tokenizer; Qwen3's heads are wider than its hidden size."""
    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

    family, _, tied = folder.name.partition("-")
    kind, shape = (Qwen2ForCausalLM, Qwen2Config) if family == "qwen2" else (Qwen3ForCausalLM, Qwen3Config)
    read = AutoTokenizer.from_pretrained(tokenizer)
    config = shape(
        vocab_size=-(-len(read) // 128) * 128,
        hidden_size=32,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied == "tied",
        bos_token_id=read.pad_token_id,
        eos_token_id=read.eos_token_id,
        **({"head_dim": 16} if family == "qwen3" else {}),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(len(folder.name))
        model = kind(config)
        for parameter in model.parameters():  # biases and norms too, so that a swapped one shows
            torch.nn.init.normal_(parameter, std=0.02)
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shard)
    for path in tokenizer.iterdir():
        if path.name not in ("config.json", "README.md"):
            shutil.copyfile(path, folder / path.name)
    return folder


@pytest.fixture(scope="module")
def adapter(models: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_adapter(models["qwen2-tied"], tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="module")
def theirs(
    models: Mapping[str, Path], adapter: Path, llama_cpp_source: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of what llama.cpp's converters write: MODEL-KIND.gguf and adapter.gguf."""
    folder = tmp_path_factory.mktemp("theirs")
    lines = [
        [converter.MODEL, str(models[name]), "--outtype", kind, "--outfile", str(folder / f"{name}-{kind}.gguf")]
        for name, kind in CASES
    ]
    lines.append([converter.ADAPTER, str(adapter), "--base", str(models["qwen2-tied"])])
    lines[-1] += ["--outfile", str(folder / "adapter.gguf")]
    command = converter.converting(llama_cpp_source, *lines)  # one process: importing torch takes longer than this
    result = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr[-3000:]
    return folder


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_model_equals_the_converters(
    models: Mapping[str, Path], theirs: Path, tmp_path: Path, name: str, kind: str
) -> None:
    write_gguf(models[name], tmp_path / "ours.gguf", kind, PROVENANCE)
    ours, reference = read_parts(tmp_path / "ours.gguf"), read_parts(theirs / f"{name}-{kind}.gguf")
    assert_same_tensors(ours, reference)
    assert len(ours.tensors) == len(reference.tensors) >= 24
    assert_same_metadata(ours, reference)
    assert ours.metadata["general.sampling.top_k"] == (INT32, (20).to_bytes(4, "little"))
    assert ours.metadata["tokenizer.ggml.add_bos_token"] == (BOOL, b"\0")


def test_an_adapter_equals_the_converters(
    models: Mapping[str, Path], adapter: Path, theirs: Path, tmp_path: Path
) -> None:
    count = write_adapter_gguf(models["qwen2-tied"], adapter, tmp_path / "ours.gguf", PROVENANCE)
    ours, reference = read_parts(tmp_path / "ours.gguf"), read_parts(theirs / "adapter.gguf")
    assert count == len(ours.tensors) == 2 * 2 * 3
    assert_same_tensors(ours, reference)
    assert_same_metadata(ours, reference)
    assert ours.metadata["general.type"][1].endswith(b"adapter")


def assert_same_tensors(ours: Parts, reference: Parts) -> None:
    assert ours.tensors.keys() == reference.tensors.keys()
    for name, (shape, kind, data) in reference.tensors.items():
        assert ours.tensors[name][:2] == (shape, kind), name
        assert ours.tensors[name][2] == data, name


def assert_same_metadata(ours: Parts, reference: Parts) -> None:
    for key in ours.metadata.keys() | reference.metadata.keys():
        if not key.startswith(tuple(MAY_DIFFER)):
            assert ours.metadata.get(key) == reference.metadata.get(key), key
