"""Log-likelihoods: packed and batched against one sequence at a time, transformers against llama.cpp."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from jobs.backends import GgufBackend, Source, find_source, open_backend
from jobs.errors import UserError
from jobs.likelihood import Item, batches, pack
from qa.prompts import PromptEncoder, ask_messages
from tests.tiny import TEXT, tiny_adapter, tiny_gguf, tiny_model

WORDS = TEXT.split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("likelihood") / "model"
    tiny_model(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(folder: Path) -> Path:
    return tiny_adapter(folder, folder.parent / "adapter")


def make_items(encoder: PromptEncoder, count: int) -> list[Item]:
    draw = random.Random(5)
    items = []
    for number in range(count):
        prompt = encoder.prompt(ask_messages(" ".join(draw.choices(WORDS, k=draw.randint(3, 40)))))
        lengths = [1] * 4 if number % 3 == 0 else [draw.randint(1, 12) for _ in range(draw.randint(2, 5))]
        items.append((prompt, [encoder.tokenize(" ".join(draw.choices(WORDS, k=length))) for length in lengths]))
    return items


def naive(model: object, items: list[Item]) -> list[list[float]]:
    """One sequence at a time, log-softmax at every position: slow and plain."""
    import torch

    scores = []
    for prompt, options in items:
        scores.append([])
        for option in options:
            with torch.inference_mode():
                table = torch.log_softmax(model(torch.tensor([prompt + option])).logits[0].float(), -1)
            scores[-1].append(sum(table[len(prompt) + i - 1, token].item() for i, token in enumerate(option)))
    return scores


def silent(_: int) -> None:
    return None


def close(ours: list[list[float]], theirs: list[list[float]], bound: float) -> bool:
    return all(abs(a - b) <= bound for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=True))


def test_packing_lets_no_option_see_another() -> None:
    row = pack([1, 2, 3], [[10], [20, 21, 22], [30, 31]])
    assert row.ids == [1, 2, 3, 20, 21, 30]
    assert row.positions == [0, 1, 2, 3, 4, 3]
    assert row.owner == [0, 0, 0, 2, 2, 3]
    assert row.reads == [(2, 10, 0), (2, 20, 1), (3, 21, 1), (4, 22, 1), (2, 30, 2), (5, 31, 2)]


def test_batches_hold_every_row_once_within_the_budget() -> None:
    lengths = [random.Random(1).randint(1, 90) for _ in range(50)] + [400]
    found = list(batches(lengths, 200))
    assert sorted(index for batch in found for index in batch) == list(range(51))
    assert all(len(batch) * max(lengths[index] for index in batch) <= 200 for batch in found if len(batch) > 1)


@pytest.mark.parametrize("kind", ["transformers", "adapter"])
def test_scores_equal_the_naive_reference_in_any_batch(kind: str, folder: Path, adapter: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    source = Source("transformers", str(folder))
    if kind == "adapter":
        plain = open_backend("base", source, batch_tokens=4096)
        model, source = PeftModel.from_pretrained(model, adapter), find_source("adapter", adapter, folder)
    backend = open_backend(kind, source, batch_tokens=4096)
    items = make_items(backend.encoder, 24)
    scores = backend.option_logprobs(items, silent)
    assert close(scores, naive(model.eval(), items), 1e-4)
    assert close(scores, open_backend(kind, source, batch_tokens=128).option_logprobs(items, silent), 1e-4)
    assert close(scores[7:8], backend.option_logprobs(items[7:8], silent), 1e-4)
    if kind == "adapter":
        assert not close(scores, plain.option_logprobs(items, silent), 0.1)


def test_greedy_answers_do_not_depend_on_padding(folder: Path) -> None:
    backend = open_backend("base", Source("transformers", str(folder)), batch_tokens=4096)
    questions = [ask_messages(" ".join(WORDS[: 3 + 9 * number])) for number in range(6)]
    together = backend.generate(questions, 12, silent)
    assert together == [backend.generate([question], 12, silent)[0] for question in questions]
    assert all(together)


def test_gguf_agrees_with_transformers(folder: Path, tmp_path: Path) -> None:
    ours = open_backend("merged", Source("transformers", str(folder)), batch_tokens=4096)
    theirs = GgufBackend("gguf", tiny_gguf(folder, tmp_path / "tiny.gguf", "f16"))
    items = make_items(ours.encoder, 40)
    assert items == make_items(theirs.encoder, 40)
    compared = 0
    for left, right in zip(ours.option_logprobs(items, silent), theirs.option_logprobs(items, silent), strict=True):
        assert left == pytest.approx(right, rel=2e-3, abs=0.05)  # its KV cache is F16
        best, second = sorted(left, reverse=True)[:2]
        if best - second > 0.05:
            compared += 1
            assert left.index(best) == right.index(max(right))
    assert compared >= 35
    theirs.close()


def test_what_is_no_model_is_named(folder: Path, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a file or folder here nor a repository"):
        find_source("base", "no/such/folder", None)
    with pytest.raises(UserError, match=r"absent.gguf: no such file"):
        find_source("gguf", tmp_path / "absent.gguf", None)
    with pytest.raises(UserError, match=r"holds neither config.json nor adapter_config.json"):
        find_source("base", tmp_path, None)
    with pytest.raises(UserError, match=r"was trained on .*model, not on Qwen/Other"):
        find_source("adapter", adapter, "Qwen/Other")
    (tmp_path / "page.gguf").write_text("<html>")
    with pytest.raises(UserError, match=r"model gguf: .*not a GGUF file"):
        open_backend("gguf", find_source("gguf", tmp_path / "page.gguf", None), batch_tokens=4096)


def test_a_repository_that_cannot_be_had_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # else the client tries again for 46 s
    with pytest.raises(UserError, match="nobody/nothing: neither a model's folder nor one on the Hub"):
        open_backend("base", find_source("base", "nobody/nothing@main", None), batch_tokens=4096)


def test_an_adapter_of_another_shape_does_not_fit(adapter: Path, tmp_path: Path) -> None:
    tiny_model(tmp_path / "model", width=32)
    with pytest.raises(UserError, match="does not fit"):
        open_backend("adapter", Source("adapter", str(adapter), str(tmp_path / "model")), batch_tokens=4096)


def test_a_model_with_too_small_a_vocabulary_is_refused(folder: Path, tmp_path: Path) -> None:
    import shutil

    from transformers import AutoModelForCausalLM

    shutil.copytree(folder, tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(520)
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match="520 rows of embedding for a tokenizer of 534 entries"):
        open_backend("small", find_source("small", tmp_path / "model", None), batch_tokens=4096)
