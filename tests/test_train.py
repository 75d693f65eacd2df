"""Training moves the adapter and nothing else, sees the answers alone, and goes on after a kill as if undisturbed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs.config_file import CONFIGS, load_config
from jobs.errors import UserError
from jobs.step import CHECKPOINTS, CLAIM_FILE, file_sha256, read_step
from jobs.train import train
from jobs.training import base_model
from jobs.training_rows import IGNORED, encode_row, load_split
from qa.prompts import PromptEncoder, ask_messages
from tests.tiny import tiny_model
from tests.training_runs import SETTINGS, fake_checkpoint, start, tiny_base, tiny_dataset, undisturbed_run, write_rows

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def base() -> Path:
    return tiny_base()


@pytest.fixture(scope="module")
def dataset() -> Path:
    return tiny_dataset()


@pytest.fixture(scope="module")
def undisturbed() -> Path:
    return undisturbed_run()[0]


def test_the_loss_falls_on_the_answer_and_its_end_alone(base: Path, dataset: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    rows, too_long = load_split(dataset, "train", PromptEncoder.from_transformers(tokenizer), 128)
    assert (len(rows), too_long) == (36, 0)
    for number in (0, 35):
        seen = [label for label in rows[number]["labels"] if label != IGNORED]
        assert tokenizer.decode(seen) == f"It is {number + 1}.<|im_end|>"
        assert tokenizer.decode(rows[number]["input_ids"]).endswith(f"assistant\nIt is {number + 1}.<|im_end|>")
        assert len(rows[number]["labels"]) == len(rows[number]["input_ids"])


def test_rows_that_do_not_fit_are_dropped_and_counted_never_cut(base: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    encoder = PromptEncoder.from_transformers(AutoTokenizer.from_pretrained(base))
    write_rows(tmp_path, "train", 12)
    lengths = [
        len(encode_row(ask_messages(f"Which number follows {n}?"), [{"content": f"It is {n + 1}."}], encoder)["labels"])
        for n in range(12)
    ]
    limit = sorted(lengths)[5]
    rows, dropped = load_split(tmp_path, "train", encoder, limit)
    assert dropped == sum(length > limit for length in lengths) > 0
    assert all(len(ids) <= limit for ids in rows["input_ids"])
    with pytest.raises(UserError, match="no row of at most 40 tokens"):
        load_split(tmp_path, "train", encoder, 40)


def test_the_adapter_moved_and_the_base_did_not(base: Path, dataset: Path, undisturbed: Path) -> None:
    weights = load_file(undisturbed / "adapter_model.safetensors")
    assert len(weights) == 2 * 2 * 2  # two layers, two modules, A and B
    assert all(tensor.abs().max() > 0 for name, tensor in weights.items() if "lora_B" in name)  # B starts at nought
    assert all({"q_proj", "down_proj"} & set(name.split(".")) for name in weights)
    record = read_step(undisturbed)
    assert record.inputs["base"] != ""
    fresh = load_file(base / "model.safetensors")
    tiny_model(base.parent / "again")
    again = load_file(base.parent / "again" / "model.safetensors")
    assert all(torch.equal(fresh[name], weight) for name, weight in again.items())


def test_the_best_epoch_is_kept_and_the_loss_fell(undisturbed: Path) -> None:
    figures = read_step(undisturbed).figures
    history = json.loads((undisturbed / "log_history.json").read_text())
    losses = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    assert [entry["epoch"] for entry in history if "eval_loss" in entry] == [0, 1, 2]
    assert figures["validation_loss"] == losses[1:]
    assert figures["best"] == {"epoch": 2, "step": 18, "loss": min(losses)}
    trained = [entry["loss"] for entry in history if "loss" in entry]
    assert trained[-1] < trained[0]
    assert (figures["steps"], figures["rows"], figures["validation_rows"]) == (18, 36, 4)
    assert (undisturbed / "loss.png").read_bytes()[:4] == b"\x89PNG"


def test_nothing_pickled_and_no_automatic_card_is_left(undisturbed: Path) -> None:
    names = {path.name for path in undisturbed.rglob("*") if path.is_file()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "step.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl"))]
    assert "README.md" not in names


PROGRAM = """
import sys
from pathlib import Path
from tests import training_runs as runs
base, dataset, out = map(Path, sys.argv[1:])
runs.tiny_base, runs.tiny_dataset = lambda: base, lambda: dataset
runs.start(out)
"""


def test_a_killed_training_goes_on_and_ends_with_the_same_adapter(
    base: Path, dataset: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out, checkpoints = tmp_path / "adapter", tmp_path / "adapter.partial" / CHECKPOINTS
    command = [sys.executable, "-c", PROGRAM, str(base), str(dataset), str(out)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, env=os.environ.copy()) as child:
        deadline = time.monotonic() + 120
        while not list(checkpoints.glob("checkpoint-*/whole.json")):
            assert child.poll() is None, "ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
    assert not out.exists()
    record, new = start(out)
    assert new
    assert record.figures["resumed_from"] is not None
    assert file_sha256(out / "adapter_model.safetensors") == file_sha256(undisturbed / "adapter_model.safetensors")


def test_four_bit_training_moves_the_adapter_too(base: Path, dataset: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"quantize": "4bit", "epochs": 0.3})
    train(dataset, tmp_path / "adapter", base=str(base), revision="main", settings=settings, max_length=128, seed=3)
    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert all(tensor.abs().max() > 0 for name, tensor in weights.items() if "lora_B" in name)


def refused(dataset: Path, base: str, out: Path) -> str:
    with pytest.raises(UserError) as fault:
        train(dataset, out, base=base, revision="main", settings=SETTINGS, max_length=64, seed=1)
    assert not out.exists()
    return str(fault.value)


def test_a_base_that_is_not_qwen_like_is_refused(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text('{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}')
    words = refused(dataset, str(tmp_path / "base"), tmp_path / "out")
    assert "is a gpt2 model; only Qwen2 and Qwen3" in words


def test_a_base_that_cannot_be_had_is_named(dataset: Path, tmp_path: Path) -> None:
    assert "nobody/nothing" in refused(dataset, "nobody/nothing", tmp_path / "out")


def test_modules_that_the_base_has_not_are_named(base: Path, dataset: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"lora": SETTINGS.lora.model_copy(update={"target_modules": ("foo",)})})
    with pytest.raises(UserError, match=r"target_modules: the base has no module named foo"):
        train(dataset, tmp_path / "out", base=str(base), revision="main", settings=settings, max_length=128, seed=1)


def test_a_base_that_lacks_a_weight_is_not_trained_with_a_random_one(base: Path, dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "base")
    weights, name = load_file(base / "model.safetensors"), "model.layers.1.mlp.up_proj.weight"
    torn = {other: weight for other, weight in weights.items() if other != name}
    for tensors, words in ((torn, f"such as {name}"), (weights | {name: torch.ones(5, 7)}, "cannot be loaded")):
        save_file(tensors, tmp_path / "base" / "model.safetensors", metadata={"format": "pt"})
        assert words in refused(dataset, str(tmp_path / "base"), tmp_path / "out")


def test_a_package_that_is_missing_is_named(
    base: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("needs bitsandbytes")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", missing)
    assert "(needs bitsandbytes); install what is missing" in refused(dataset, str(base), tmp_path / "out")


def test_the_hub_is_asked_only_for_a_commit_that_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_model, "commit_of", lambda base, asked: f"{base} {asked}")
    commit, out, partial = "ab" * 20, tmp_path / "out", tmp_path / "out.partial"
    assert base_model.commit_for("demo/base", commit, out) == commit
    assert base_model.commit_for("demo/base", "main", out) == "demo/base main"
    begun = {"arguments": {"base": "demo/base", "revision_asked": "main", "revision": commit}}
    partial.mkdir()
    (partial / CLAIM_FILE).write_text(json.dumps(begun))
    assert base_model.commit_for("demo/base", "main", out) == "demo/base main"  # nothing was saved
    fake_checkpoint(partial / CHECKPOINTS, 3, {})
    assert base_model.commit_for("demo/base", "main", out) == commit
    assert base_model.commit_for("demo/base", "v2", out) == "demo/base v2"
    assert base_model.commit_for("demo/other", "main", out) == "demo/other main"


def test_a_data_set_that_is_not_there_is_named(base: Path, tmp_path: Path) -> None:
    assert "no such file or folder" in refused(tmp_path / "no", str(base), tmp_path / "out")


def test_the_configurations_train_every_linear_layer() -> None:
    modules = load_config(CONFIGS / "qwen2.5-3b.yaml").train.lora.target_modules
    assert set(modules) == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
