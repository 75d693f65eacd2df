"""The importance matrix holds mean squared inputs of the linear layers, in llama.cpp's numbers and in its format."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import subprocess
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import jobs.gguf_export.activations as activations
from jobs.errors import UserError
from jobs.gguf_export.imatrix import CHUNK, ImportanceMatrix, calibration_rows, collect
from jobs.rows import completion_of, prompt_of
from jobs.training_rows import encode_row, load_split
from qa.prompts import PromptEncoder
from qa.records import Question
from tests.tiny import TEXT, tiny_gguf, tiny_model
from tests.tiny_questions import make_question, write_parquet

LAYERS = 2
PARTS = "attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down".split()
NAMES = {f"blk.{layer}.{part}.weight" for layer in range(LAYERS) for part in PARTS}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model(folder, layers=LAYERS)
    return folder


@pytest.fixture(scope="module")
def rows() -> list[list[int]]:
    """Rows of very different lengths, so that a batch is half padding."""
    drawn = random.Random(3)
    return [[drawn.randrange(500) for _ in range(length)] for length in (3, 90, 17, 230, 41, 1, 150, 60)]


@pytest.fixture(scope="module")
def matrix(model: Path, rows: list[list[int]]) -> ImportanceMatrix:
    return collect(model, rows, datasets=("somebody/questions", "arc"))


def layer_inputs(model: Path, row: list[int]) -> dict[str, torch.Tensor]:
    """Sums of squares in float64 of one row that runs alone, by transformers' name of the layer."""
    causal = AutoModelForCausalLM.from_pretrained(model)
    found: dict[str, torch.Tensor] = {}
    for name, module in causal.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(
                lambda _, inputs, __, name=name: found.update({name: inputs[0][0].double().square().sum(0)})
            )
    with torch.no_grad():
        causal(torch.tensor([row]))
    return found


def test_sums_are_of_every_token_and_of_no_padding(
    model: Path, rows: list[list[int]], matrix: ImportanceMatrix
) -> None:
    alone = [layer_inputs(model, row) for row in rows]
    assert matrix.sums.keys() == NAMES  # no entry for the output layer
    for ours, theirs in {"attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_down": "mlp.down_proj",
                         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj"}.items():  # fmt: skip
        for layer in range(LAYERS):
            expected = sum(found[f"model.layers.{layer}.{theirs}"] for found in alone)
            found = matrix.sums[f"blk.{layer}.{ours}.weight"]
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected.numpy(), rtol=2e-4)
    tokens = sum(map(len, rows))
    assert set(matrix.counts.values()) == {tokens} == {matrix.tokens}
    assert (matrix.chunks, matrix.chunk_size) == (tokens // CHUNK, CHUNK)
    means = matrix.means()["blk.1.ffn_down.weight"]
    np.testing.assert_allclose(means, matrix.sums["blk.1.ffn_down.weight"] / tokens, rtol=1e-6)


def test_batches_do_not_matter(
    model: Path, rows: list[list[int]], matrix: ImportanceMatrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activations, "CPU_TOKENS", 1)  # each row alone
    for name, sums in collect(model, rows, datasets=()).sums.items():
        np.testing.assert_allclose(sums, matrix.sums[name], rtol=2e-4)


def test_bf16_weights_run_as_they_are_stored(model: Path, rows: list[list[int]], tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(model).to(torch.bfloat16).save_pretrained(tmp_path)
    rounded = collect(tmp_path, rows, datasets=()).means()
    AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).save_pretrained(tmp_path)
    exact = collect(tmp_path, rows, datasets=()).means()
    errors = np.concatenate([rounded[name] / exact[name] - 1 for name in NAMES])
    assert 1e-5 < np.abs(errors).mean() < 0.02
    assert abs(errors.mean()) < 0.005


def test_the_numbers_are_those_of_llama_imatrix(llama_tools: Path, model: Path, tmp_path: Path) -> None:
    chunk, text = 64, " ".join(random.Random(1).choices(TEXT.split(), k=400))
    ids = AutoTokenizer.from_pretrained(model)(text)["input_ids"]
    ids = ids[: len(ids) // chunk * chunk]
    ours = collect(model, [ids[at : at + chunk] for at in range(0, len(ids), chunk)], datasets=())
    (tmp_path / "text.txt").write_text(text)
    file = tiny_gguf(model, tmp_path / "m.gguf", "f32")
    imatrix(llama_tools, tmp_path, file, "-f", "text.txt", "-o", "i.gguf", "-c", str(chunk), "-b", str(chunk))
    theirs = ImportanceMatrix.read(tmp_path / "i.gguf")
    assert theirs.datasets == ("text.txt",)
    assert (theirs.tokens, theirs.sums.keys()) == (ours.tokens, NAMES)
    assert theirs.chunks == len(ids) // chunk >= 10
    for name, means in theirs.means().items():
        np.testing.assert_allclose(ours.means()[name], means, rtol=0.01, err_msg=name)


def test_llama_cpp_reads_ours_and_would_write_the_same(
    llama_tools: Path, model: Path, matrix: ImportanceMatrix, tmp_path: Path
) -> None:
    file = tiny_gguf(model, tmp_path / "m.gguf")
    matrix.write(tmp_path / "ours.gguf")
    imatrix(llama_tools, tmp_path, file, "--in-file", "ours.gguf", "-o", "theirs.gguf")
    assert (tmp_path / "ours.gguf").read_bytes() == (tmp_path / "theirs.gguf").read_bytes()
    imatrix(llama_tools, tmp_path, file, "--in-file", "ours.gguf", "--show-statistics")


def imatrix(tools: Path, folder: Path, model: Path, *arguments: str) -> None:
    command = [tools / "llama-imatrix", "-m", model, "-t", "1", "--no-ppl", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_written_and_read_again(matrix: ImportanceMatrix, tmp_path: Path) -> None:
    matrix.write(tmp_path / "i.gguf")
    again = ImportanceMatrix.read(tmp_path / "i.gguf")
    assert all(np.array_equal(again.sums[name], sums) for name, sums in matrix.sums.items())
    assert dataclasses.replace(again, sums=matrix.sums) == matrix
    keys = list(gguf.GGUFReader(tmp_path / "i.gguf").fields)[3:]
    assert keys == ["general.type", "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"]


def test_a_matrix_that_llama_cpp_would_refuse_is_not_written(matrix: ImportanceMatrix, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must name its data set"):
        dataclasses.replace(matrix, datasets=()).write(tmp_path / "i.gguf")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_usable_matrix_is_refused(model: Path, matrix: ImportanceMatrix, tmp_path: Path) -> None:
    path, name = tmp_path / "i.gguf", "blk.0.attn_q.weight"

    def refused(words: str) -> None:
        with pytest.raises(UserError, match=rf"i\.gguf: .*{words}"):
            ImportanceMatrix.read(path)

    refused("not an importance matrix")  # there is none
    for content in (b"", b"GGUF", bytes(200)):
        path.write_bytes(content)
        refused("not an importance matrix")
    matrix.write(path)
    path.write_bytes(path.read_bytes()[:-2000])
    refused("not an importance matrix")
    tiny_gguf(model, path)
    refused("its general.type is 'model'")
    for value, words in ((np.nan, f"the inputs of {name} hold NaN"), (-1.0, f"{name} has no tokens or a negative")):
        spoiled = matrix.sums[name].copy()
        spoiled[3] = value
        dataclasses.replace(matrix, sums=matrix.sums | {name: spoiled}).write(path)
        refused(words)
    dataclasses.replace(matrix, counts=matrix.counts | {name: 0}).write(path)
    refused(f"{name} has no tokens")


def test_a_matrix_of_experts_is_refused(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "i.gguf", "x")
    writer.add_type("imatrix")
    writer.add_tensor("blk.0.ffn_up_exps.weight.in_sum2", np.ones((4, 32), np.float32))
    writer.add_tensor("blk.0.ffn_up_exps.weight.counts", np.ones((4, 1), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UserError, match=r"blk\.0\.ffn_up_exps\.weight is of several experts"):
        ImportanceMatrix.read(tmp_path / "i.gguf")


def test_a_damaged_model_is_refused_by_its_layer(model: Path, rows: list[list[int]], tmp_path: Path) -> None:
    copy(model, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.layers.1.self_attn.o_proj.weight"][0, 0] = torch.nan
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"the inputs of blk\.1\.ffn_gate\.weight hold NaN or infinity"):
        collect(tmp_path, rows, datasets=())
    del tensors["model.layers.1.self_attn.o_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"1 weights are not in its files, such as model\.layers\.1"):
        collect(tmp_path, rows, datasets=())
    (tmp_path / "model.safetensors").write_bytes(b"none")
    with pytest.raises(UserError, match="cannot be loaded as a model"):
        collect(tmp_path, rows, datasets=())


def test_no_tokens_are_no_matrix(model: Path) -> None:
    for rows in ([], [[]]):
        with pytest.raises(UserError, match="no tokens to compute an importance matrix from"):
            collect(model, rows, datasets=())


def copy(source: Path, target: Path) -> None:
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())


@pytest.fixture(scope="module")
def encoder(model: Path) -> PromptEncoder:
    return PromptEncoder.from_transformers(AutoTokenizer.from_pretrained(model))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[Question]]]:
    folder, drawn = tmp_path_factory.mktemp("dataset"), random.Random(4)
    written = {}
    for config, task in (("research_qa", "research"), ("arc", "arc_easy")):
        for split in ("train", "validation", "test"):
            questions = [make_question(drawn, number, task, free=number % 3 == 1) for number in range(30)]
            write_parquet(folder / config / f"{split}.parquet", questions)
            written[f"{config}/{split}"] = questions
    return folder, written


def ids_of(questions: list[Question], encoder: PromptEncoder) -> list[tuple[int, ...]]:
    return [tuple(encode_row(prompt_of(q), completion_of(q), encoder)["input_ids"]) for q in questions]


def test_rows_are_the_training_split_alone_as_training_sees_it(
    dataset: tuple[Path, dict[str, list[Question]]], encoder: PromptEncoder
) -> None:
    folder, written = dataset
    rows = [tuple(row) for row in calibration_rows(folder, encoder, tokens=10**6, seed=1)]
    own, arc = (ids_of(written[f"{config}/train"], encoder) for config in ("research_qa", "arc"))
    assert sorted(rows[:30]) == sorted(own)
    assert sorted(rows[30:]) == sorted(arc)
    assert rows[:30] != own  # drawn
    for side, questions in written.items():
        if not side.endswith("/train"):
            assert not set(rows) & set(ids_of(questions, encoder)), side
    assert all(row[-1] == encoder.im_end for row in rows)


def test_rows_are_drawn_by_the_seed_up_to_the_tokens_wanted(
    dataset: tuple[Path, dict[str, list[Question]]], encoder: PromptEncoder
) -> None:
    def drawn(tokens: int, seed: int) -> list[list[int]]:
        return calibration_rows(dataset[0], encoder, tokens=tokens, seed=seed)

    rows = drawn(1500, 1)
    assert sum(map(len, rows)) >= 1500 > sum(map(len, rows[:-1]))
    assert rows == drawn(1500, 1) != drawn(1500, 2)
    assert drawn(2500, 1)[: len(rows)] == rows
    assert drawn(0, 1) == []


def test_a_folder_without_a_training_split_is_refused(tmp_path: Path, encoder: PromptEncoder) -> None:
    write_parquet(tmp_path / "arc" / "test.parquet", [make_question(random.Random(1), 1, "arc_easy")])
    with pytest.raises(UserError, match=r"no train\.parquet in research_qa, reading or arc; run build_dataset first"):
        calibration_rows(tmp_path, encoder, tokens=100, seed=1)


def record_of(max_length: object) -> str:
    record = {"step": "build_dataset", "arguments": {"arc": "", "max_length": max_length}, "inputs": {}}
    return json.dumps(record)


def test_rows_that_training_drops_are_dropped(
    dataset: tuple[Path, dict[str, list[Question]]], encoder: PromptEncoder, tmp_path: Path
) -> None:
    """By the limit that the data set was built with, or its default of 512 tokens; and never cut."""
    folder = Path(shutil.copytree(dataset[0], tmp_path / "dataset"))
    lengths = sorted(len(row) for row in calibration_rows(folder, encoder, tokens=10**6, seed=1))
    limit = lengths[len(lengths) // 2]
    (folder / "step.json").write_text(record_of(limit))
    rows = calibration_rows(folder, encoder, tokens=10**6, seed=1)
    trained, too_long = load_split(folder, "train", encoder, limit)
    assert sorted(rows) == sorted(trained["input_ids"])
    assert 0 < too_long == len(lengths) - len(rows)
    assert max(map(len, rows)) == limit


def test_one_very_long_row_is_left_out(encoder: PromptEncoder, tmp_path: Path) -> None:
    questions = [make_question(random.Random(2), number, "research") for number in range(3)]
    longest = questions[1].model_copy(update={"question": "Which one is it? " * 500})
    write_parquet(tmp_path / "research_qa" / "train.parquet", [questions[0], longest, questions[2]])
    expected = sorted(ids_of([questions[0], questions[2]], encoder))
    assert sorted(map(tuple, calibration_rows(tmp_path, encoder, tokens=10**6, seed=1))) == expected
    (tmp_path / "step.json").write_text(record_of(10**5))
    assert len(calibration_rows(tmp_path, encoder, tokens=10**6, seed=1)) == 3


def test_a_record_without_the_limit_is_refused(
    dataset: tuple[Path, dict[str, list[Question]]], encoder: PromptEncoder, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(dataset[0], tmp_path / "dataset"))
    (folder / "step.json").write_text(record_of(None))
    with pytest.raises(UserError, match=r"dataset: step\.json names no max_length; give a folder that build_dataset"):
        calibration_rows(folder, encoder, tokens=100, seed=1)


def test_a_weight_that_the_model_has_no_use_for_is_refused(model: Path, rows: list[list[int]], tmp_path: Path) -> None:
    copy(model, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors") | {"model.vision.weight": torch.ones(4)}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"1 weights of its files have no place in it, such as model\.vision\.weight"):
        collect(tmp_path, rows, datasets=())
