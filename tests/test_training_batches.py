"""Rows laid one after another give the loss that padded rows give, and know nothing of each other."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from datasets import Dataset
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.utils.data import BatchSampler

from jobs.config import Train
from jobs.training import attention, memory
from jobs.training.answer_loss import CHUNK, AnswerLoss, score_answers
from jobs.training.attention import VARLEN, attention_for, register
from jobs.training.batches import FILLER, InLine, RowOrder, filled, packed
from jobs.training.trainer import build_trainer
from jobs.training_rows import IGNORED
from tests.tiny import random_model, tiny_tokenizer

LENGTHS = (9, 30, 14, 22, 5)
SETTINGS = Train(learning_rate=1e-2, epochs=1, dtype="float32", report_to="none", lora={"r": 4, "dropout": 0.0})


def drawn(*lengths: int) -> list[dict[str, list[int]]]:
    """Rows of so many tokens, of which the last third is the answer."""
    generator = torch.Generator().manual_seed(5)
    rows = [torch.randint(1, 400, (length,), generator=generator).tolist() for length in lengths]
    return [{"input_ids": row, "labels": [IGNORED] * (2 * len(row) // 3) + row[2 * len(row) // 3 :]} for row in rows]


def in_line(rows: list[dict[str, list[int]]]) -> dict[str, Any]:
    return InLine()([dict(row) for row in rows])


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> Any:
    found = random_model(tokenizer)
    score_answers(found)
    return found


def trainer(tokenizer: Any, folder: Path, rows: list[dict[str, list[int]]], **changes: Any) -> Any:
    settings = SETTINGS.model_copy(update=changes)
    data = Dataset.from_list(rows)
    return build_trainer(random_model(tokenizer), tokenizer, data, data, settings, folder, 64, 3, [])


def padded_loss(model: Any, rows: list[dict[str, list[int]]]) -> torch.Tensor:
    """What transformers makes of the rows as a padded batch: the mean over all their answer tokens."""
    longest = max(len(row["labels"]) for row in rows)
    padding = [longest - len(row["labels"]) for row in rows]
    ids = [row["input_ids"] + [0] * more for row, more in zip(rows, padding, strict=True)]
    labels = [row["labels"] + [IGNORED] * more for row, more in zip(rows, padding, strict=True)]
    mask = [[1] * (longest - more) + [0] * more for more in padding]
    return model(*map(torch.tensor, (ids, mask)), labels=torch.tensor(labels)).loss


def test_the_loss_and_its_gradient_are_those_of_padded_rows(model: Any) -> None:
    rows, weights = drawn(*LENGTHS), model.model.layers[0].self_attn.q_proj.weight
    count = sum(label != IGNORED for row in rows for label in row["labels"])
    padded = padded_loss(model, rows)
    (wanted,) = torch.autograd.grad(padded, weights)
    ours = model(**in_line(rows), answers_alone=True) / count
    (found,) = torch.autograd.grad(ours, weights)
    assert abs(ours.item() - padded.item()) < 1e-5
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_no_row_sees_another(tokenizer: Any, tmp_path: Path) -> None:
    rows = drawn(*LENGTHS)
    peft = trainer(tokenizer, tmp_path, rows).model.train()
    first, second = in_line(rows), in_line(rows)
    second["input_ids"][0, : LENGTHS[0]] = 7  # all of the first row's
    before, after = (peft(**{**batch, "labels": None, "use_cache": False}).logits[0] for batch in (first, second))
    assert not torch.equal(before[: LENGTHS[0]], after[: LENGTHS[0]])
    assert torch.equal(before[LENGTHS[0] :], after[LENGTHS[0] :])


def test_nothing_is_predicted_from_the_row_before() -> None:
    rows = [{"input_ids": [1, 2, 3], "labels": [1, 2, 3]}, {"input_ids": [4, 5], "labels": [4, 5]}]
    batch = in_line(rows)
    assert batch["labels"].tolist() == [[IGNORED, 2, 3, IGNORED, 5]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert batch["cu_seq_lens_q"].tolist() == [0, 3, 5]


@pytest.mark.parametrize("count", [0, 1, CHUNK, CHUNK + 3])
def test_the_loss_in_chunks_is_cross_entropy(count: int) -> None:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(count, 8, generator=generator, requires_grad=True)
    weight, targets = torch.randn(50, 8, generator=generator), torch.randint(50, (count,), generator=generator)
    wanted = cross_entropy(hidden @ weight.T, targets, reduction="sum")
    found = AnswerLoss.apply(hidden, weight, targets)
    gradients = [torch.autograd.grad(loss * 0.5, hidden)[0] for loss in (found, wanted)]
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(*gradients)


def test_packs_hold_whole_rows_each_once() -> None:
    rows = drawn(*range(3, 60))
    packs = packed(Dataset.from_list(rows), 64)
    assert len(packs) == -(-sum(range(3, 60)) // 64)  # best fit leaves no room for one pack less
    found = []
    for pack in packs:
        assert len(pack["input_ids"]) == sum(pack["seq_lengths"]) <= 64
        parts = torch.tensor(pack["input_ids"]).split(pack["seq_lengths"])
        labels = torch.tensor(pack["labels"]).split(pack["seq_lengths"])
        found += [(ids.tolist(), marks.tolist()) for ids, marks in zip(parts, labels, strict=True)]
    assert sorted(found) == sorted((row["input_ids"], row["labels"]) for row in rows)


def test_a_pack_is_read_as_its_rows_are(model: Any) -> None:
    rows = drawn(*LENGTHS)
    batch = InLine()(packed(Dataset.from_list(rows), 80).to_list())
    loss = model(**batch, answers_alone=True)
    assert batch["input_ids"].shape == (1, sum(LENGTHS))
    assert loss.item() == pytest.approx(model(**in_line(rows), answers_alone=True).item(), rel=1e-6)


def test_each_epoch_has_an_order_of_its_own_and_the_same_again() -> None:
    orders = [list(RowOrder(50, 52, 3, lambda epoch=epoch: epoch)) for epoch in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]
    assert all(sorted(order) == list(range(52)) and order[50:] == [50, 51] for order in orders)


def test_two_processes_share_the_steps_of_one() -> None:
    rows = Dataset.from_list(drawn(*range(5, 18)))  # 13 rows in steps of 4
    alone = filled(rows, 4)
    assert len(alone) == 16
    order = RowOrder(len(rows), len(alone), 3, lambda: 0)
    whole = list(BatchSampler(order, 4, drop_last=False))
    halves = [list(BatchSamplerShard(BatchSampler(order, 2, drop_last=False), 2, rank)) for rank in (0, 1)]
    assert [left + right for left, right in zip(*halves, strict=True)] == whole
    assert InLine()([alone[place] for place in halves[1][-1]])["labels"].tolist() == [[IGNORED]]  # nothing to learn
    last = InLine()([alone[place] for place in whole[-1]])
    assert last["input_ids"][0].tolist() == rows[whole[-1][0]]["input_ids"]  # fillers left out


def test_every_answer_token_of_a_step_counts_alike(tokenizer: Any, tmp_path: Path) -> None:
    rows, ways = drawn(9, 30, 14, 5), ({}, {"batch_size": 2, "gradient_accumulation": 2}, {"packing": True})
    logs = []
    for changes in ways:
        run = trainer(tokenizer, tmp_path, rows, **changes)
        assert run.train().global_step == 1
        logs.append(next(entry for entry in run.state.log_history if "loss" in entry))
    assert [log["loss"] for log in logs] == pytest.approx([logs[0]["loss"]] * 3, rel=1e-5)
    assert [log["grad_norm"] for log in logs] == pytest.approx([logs[0]["grad_norm"]] * 3, rel=1e-4)


def test_validation_is_the_mean_over_tokens_whatever_the_batches(tokenizer: Any, tmp_path: Path) -> None:
    rows = drawn(*LENGTHS, *range(20, 40))
    wanted = padded_loss(random_model(tokenizer), rows).item()
    for size in (1, 3):
        found = trainer(tokenizer, tmp_path, rows, batch_size=size).evaluate()["eval_loss"]
        assert found == pytest.approx(wanted, rel=1e-5)


def test_attention_on_a_gpu_keeps_to_the_rows_bounds(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """FlashAttention is not on a CPU: its place is taken by attention row by row, with its arguments."""

    def by_row(query: Any, key: Any, value: Any, bounds: Any, others: Any, *longest: int, **options: Any) -> Any:
        assert longest == (max(LENGTHS),) * 2
        assert options == {"scale": 16**-0.5, "window_size": (-1, 0), "enable_gqa": True}
        assert (query.shape[1:], key.shape[1:]) == ((4, 16), (2, 16))
        parts = zip(*(part.split(bounds.diff().tolist()) for part in (query, key, value)), strict=True)
        heads = ([part.transpose(0, 1) for part in row] for row in parts)
        return torch.cat(
            [scaled_dot_product_attention(*row, is_causal=True, enable_gqa=True).transpose(0, 1) for row in heads]
        )

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", by_row)
    rows, found = drawn(*LENGTHS), random_model(tokenizer)
    with torch.no_grad():
        batch = in_line(rows) | {"labels": None, "use_cache": False}
        wanted = found(**batch).logits, padded_loss(found, rows)
        found.set_attn_implementation(register())
        assert found.config._attn_implementation == VARLEN
        torch.testing.assert_close(found(**batch).logits, wanted[0])
        torch.testing.assert_close(padded_loss(found, rows), wanted[1])  # padded batches keep their mask


@pytest.mark.parametrize(
    ("dtype", "there", "capability", "wanted"),
    [
        (torch.bfloat16, True, (8, 0), VARLEN),
        (torch.bfloat16, True, (7, 5), "sdpa"),
        (torch.float32, True, (9, 0), "sdpa"),
        (torch.bfloat16, False, (9, 0), "sdpa"),
    ],
)
def test_attention_is_chosen_by_what_is_there(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, there: bool, capability: tuple[int, int], wanted: str
) -> None:
    cuda = SimpleNamespace(is_available=lambda: there, get_device_capability=lambda: capability)
    monkeypatch.setattr(attention, "torch", SimpleNamespace(bfloat16=torch.bfloat16, cuda=cuda))
    assert attention_for(dtype) == wanted


def test_activations_are_computed_again_only_where_they_would_not_fit(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = random_model(tokenizer)
    assert not memory.recompute(found, SETTINGS, 10**9)  # no GPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (24 * 10**9, 24 * 10**9))
    assert not memory.recompute(found, SETTINGS, 10**6)  # 2 layers of width 64: 10 kB a token
    assert memory.recompute(found, SETTINGS, 10**7)
    assert not memory.recompute(found, SETTINGS.model_copy(update={"gradient_checkpointing": False}), 10**9)
    assert memory.recompute(found, SETTINGS.model_copy(update={"gradient_checkpointing": True}), 1)


def test_the_estimate_for_the_3b_is_what_autograd_saved() -> None:
    shape = {"hidden_size": 2048, "intermediate_size": 11008, "num_key_value_heads": 2, "head_dim": 128}
    config = SimpleNamespace(num_hidden_layers=36, **shape)
    plain, dropped = (Train(lora={"dropout": dropout}) for dropout in (0.0, 0.05))
    # Seen in one layer with torch.autograd.graph.saved_tensors_hooks: 145,032 and 238,216 bytes a token.
    assert memory.activation_bytes(config, plain) == pytest.approx(36 * 145_032, rel=0.15)
    assert memory.activation_bytes(config, dropped) == pytest.approx(36 * 238_216, rel=0.15)


def test_fillers_have_the_columns_of_packs() -> None:
    packs = packed(Dataset.from_list(drawn(*LENGTHS)), 32)
    more = filled(packs, 4)
    assert len(packs) == 3
    assert more[3] == FILLER | {"seq_lengths": [1]}
