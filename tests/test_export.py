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


def test_the_four_bit_file_really_is_four_bit(exported: Path) -> None:
    kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(exported / "tiny-Q4_K_M.gguf").tensors}
    assert kinds["blk.0.attn_q.weight"] == "Q4_K"
    assert kinds["token_embd.weight"] == "Q6_K"  # noqa: S105 (the name of a tensor)
    assert kinds["output_norm.weight"] == "F32"
    figures = read_step(exported).figures
    assert figures["bytes"]["q4_k_m"] < 0.6 * figures["bytes"]["f16"]
    assert figures["files"] == {"f16": "tiny-F16.gguf", "q4_k_m": "tiny-Q4_K_M.gguf"}


def test_llama_cpp_reads_prompts_as_the_tokenizer_does(model: Path, exported: Path) -> None:
    for name in ("tiny-F16.gguf", "tiny-Q4_K_M.gguf"):
        check_tokens(model, exported / name)


def test_a_file_with_another_tokenizer_is_refused(exported: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    tiny_model(other, width=256)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    merges = tokenizer["model"]["merges"]
    merges.reverse()
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(UserError, match=r"tokenises .* otherwise than the model's tokenizer"):
        check_tokens(other, exported / "tiny-F16.gguf")


def test_a_name_that_is_a_path_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--name \.\./x"):
        export(model, tmp_path / "gguf", types=("f16",), provenance=Provenance("../x"))
    assert not list(tmp_path.iterdir())


def test_an_unknown_type_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--types q3: unknown"):
        export(model, tmp_path / "gguf", types=("q3",), provenance=PROVENANCE)
