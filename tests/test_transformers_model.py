"""A model is loaded whole or refused, and torch has its threads back afterwards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from jobs.errors import UserError
from jobs.evaluation.likelihood import TransformersBackend
from jobs.threads import one_thread
from jobs.transformers_model import few_threads, load_model
from tests.tiny import tiny_model

THREADS = 2
PART = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model(folder)
    return folder


@pytest.fixture
def place(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def put(place: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})


def stored(place: Path) -> dict[str, torch.Tensor]:
    return load_file(place / "model.safetensors")


def test_weights_are_as_stored_or_in_the_type_asked_for(place: Path) -> None:
    put(place, {name: tensor.to(torch.bfloat16) for name, tensor in stored(place).items()})
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    model = load_model(place)
    assert (model.dtype, model.training) == (torch.bfloat16, False)
    model = load_model(str(place), dtype="float32", device="cpu")
    assert model.dtype == torch.float32
    assert torch.equal(model.state_dict()[PART], stored(place)[PART].float())


def refused(place: Path, words: str) -> None:
    with pytest.raises(UserError, match=f"{place}: {words}") as caught:
        load_model(place)
    assert "\n" not in str(caught.value)


def test_a_weight_too_few_or_too_many_is_named(place: Path) -> None:
    tensors = stored(place)
    put(place, tensors | {"model.vision.weight": torch.ones(3)})
    refused(place, r"1 weights of its files have no place in it, such as model\.vision\.weight; check its files")
    put(place, {name: tensor for name, tensor in tensors.items() if name != PART})
    refused(place, rf"1 weights are not in its files, such as {PART}; check its files")


def test_what_cannot_be_loaded_is_one_line(place: Path) -> None:
    put(place, stored(place) | {PART: torch.ones(5, 7)})
    refused(place, r"cannot be loaded as a model \(.+\); check its files")
    (place / "model.safetensors").write_bytes(b"none")
    refused(place, r"cannot be loaded as a model \(.+\); check its files")
    refused(place / "absent", r"cannot be loaded as a model \(.+\); check its files")


@pytest.mark.usefixtures("threads")
def test_threads_come_back_also_after_a_failure() -> None:
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == THREADS
    with pytest.raises(RuntimeError), one_thread():
        raise RuntimeError
    assert torch.get_num_threads() == THREADS


@pytest.mark.usefixtures("threads")
def test_a_small_model_has_one_thread_and_a_larger_one_all(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(whole, device="cpu")
    with few_threads(model):
        assert torch.get_num_threads() == 1
    monkeypatch.setattr("jobs.transformers_model.SMALL_MODEL", 10)
    with few_threads(model):
        assert torch.get_num_threads() == THREADS


@pytest.mark.usefixtures("threads")
def test_a_backend_keeps_one_thread_until_it_is_closed_or_refused(whole: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(whole)
    backend = TransformersBackend(load_model(whole, device="cpu"), tokenizer)
    assert torch.get_num_threads() == 1
    backend.close()
    assert torch.get_num_threads() == THREADS
    spoilt = load_model(whole, device="cpu")
    with torch.no_grad():
        spoilt.model.norm.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        TransformersBackend(spoilt, tokenizer)
    assert torch.get_num_threads() == THREADS
