"""The ladder: its rows, what it is measured on, going on after a kill, and what bad input gets."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from jobs import ladder as step
from jobs.errors import UserError
from jobs.gguf_export.imatrix import ImportanceMatrix
from jobs.gguf_export.quantizer import quantize
from jobs.gguf_ladder import rows as ladder_rows
from jobs.gguf_ladder.divergence import opened
from jobs.gguf_ladder.held_out import read_held_out
from jobs.gguf_ladder.plan import Exported
from jobs.gguf_ladder.table import label_of, ladder_table
from jobs.ladder import ladder
from jobs.step import read_step, run_step
from qa.llama import Model
from qa.prompts import ask_messages
from qa.records import Passage, write_records
from tests.tiny import TEXT, tiny_gguf, tiny_model
from tests.tiny_questions import make_dataset, make_question, write_questions

LABELS = ["F16", "Q8_0", "Q4_0", "Q4_0, matrix", "Q4_K_M", "Q4_K_M, matrix"]
SIZE: dict[str, Any] = {"types": ("q8_0", "q4_0", "q4_k_m"), "tokens": 300, "questions": 20, "seed": 3}


def write_matrix(f16: Path, path: Path) -> None:
    """An importance matrix of random weights for every linear layer of the blocks."""
    draw, tensors = np.random.default_rng(5), gguf.GGUFReader(f16).tensors
    widths = {
        tensor.name: int(tensor.shape[0])
        for tensor in tensors
        if tensor.name.startswith("blk.") and len(tensor.shape) == 2
    }
    sums = {name: draw.gamma(0.3, 100, width).astype(np.float32) for name, width in widths.items()}
    ImportanceMatrix(sums, dict.fromkeys(sums, 100), ("test",), 1, 512).write(path)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as export leaves it (F16, importance matrix, Q4_K_M made with it), a data set, and passages."""
    world = tmp_path_factory.mktemp("ladder")
    tiny_model(world / "model", width=256)

    def work(folder: Path) -> dict[str, Any]:
        f16, matrix = tiny_gguf(world / "model", folder / "tiny-F16.gguf"), folder / "tiny-imatrix.gguf"
        write_matrix(f16, matrix)
        quantize(f16, folder / "tiny-Q4_K_M.gguf", "q4_k_m", matrix)
        files = {"f16": "tiny-F16.gguf", "q4_k_m": "tiny-Q4_K_M.gguf"}
        return {"files": files, "imatrix": {"file": matrix.name}}

    run_step("export", world / "gguf", arguments={}, inputs={}, work=work)
    make_dataset(world / "dataset", 24, free=6, arc=9)
    draw = random.Random(8)
    trained = [make_question(draw, number, "research").model_copy(update={"id": f"t{number}"}) for number in range(3)]
    write_questions(world / "dataset" / "research_qa" / "train.parquet", trained)  # of "research/document 0"
    (world / "passages").mkdir()
    documents = ("research/document 0", "research/document 1", "research/document 2", "elsewhere")
    passages = [
        Passage(id=f"p{number}", document=name, title="", text=f"{name}. {TEXT[:300]}", start=0, end=9)
        for number, name in enumerate(documents)
    ]
    write_records(world / "passages" / "passages.jsonl", passages)
    return world


def climb(world: Path, out: Path, **changes: Any) -> bool:
    return ladder(world / "gguf", world / "dataset", out, **SIZE | {"passages": world / "passages"} | changes)[1]


@pytest.fixture(scope="module")
def climbed(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("climbed") / "ladder"
    assert climb(world, out)
    return out


@pytest.fixture(scope="module")
def found(climbed: Path) -> dict[str, Any]:
    return json.loads((climbed / "ladder.json").read_text(encoding="utf-8"))


def row_of(found: dict[str, Any], label: str) -> dict[str, Any]:
    return next(row for row in found["rows"] if label_of(row) == label)


def untimed(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in ("speed", "seconds")} for row in found["rows"]]


def test_there_is_a_row_for_each_type_with_and_without_matrix(world: Path, found: dict[str, Any]) -> None:
    assert [label_of(row) for row in found["rows"]] == LABELS
    assert [row["published"] for row in found["rows"]] == [True, False, False, False, False, True]
    assert row_of(found, "F16")["bytes"] == (world / "gguf" / "tiny-F16.gguf").stat().st_size
    assert row_of(found, "Q4_K_M, matrix")["bytes"] == (world / "gguf" / "tiny-Q4_K_M.gguf").stat().st_size
    assert row_of(found, "Q8_0")["bits_per_weight"] == pytest.approx(8.5, abs=0.1)
    assert row_of(found, "F16")["bits_per_weight"] == pytest.approx(16, abs=0.2)


def test_fewer_bits_diverge_further(found: dict[str, Any]) -> None:
    kld = {label_of(row): row["divergence"]["kld"] for row in found["rows"]}
    assert kld["F16"] == 0
    assert 0 < kld["Q8_0"] < kld["Q4_K_M"]
    assert kld["Q8_0"] < kld["Q4_0"] / 4
    assert row_of(found, "F16")["divergence"]["same_top"] == 300
    assert kld["Q4_0"] != kld["Q4_0, matrix"], "the matrix reached the quantiser"


def test_the_worth_of_the_matrix_is_said(found: dict[str, Any]) -> None:
    assert [label_of(row) for row in found["rows"] if row["matrix_worth"]] == ["Q4_0, matrix", "Q4_K_M, matrix"]
    worth = row_of(found, "Q4_0, matrix")["matrix_worth"]
    expected = row_of(found, "Q4_0, matrix")["divergence"]["kld"] / row_of(found, "Q4_0")["divergence"]["kld"]
    assert worth["ratio"] == pytest.approx(expected)
    assert worth["low"] <= worth["ratio"] <= worth["high"]


def test_accuracy_is_that_of_an_evaluation_and_compared_by_document(world: Path, found: dict[str, Any]) -> None:
    from jobs.config import Evaluation
    from jobs.evaluate import evaluate_models

    out = world / "evaluation"
    every = ladder(world / "gguf", world / "dataset", world / "all", **SIZE | {"types": ("q4_0",), "questions": 99})
    asked = Evaluation(tasks=("research", "arc_easy"), formulations=("letter",), template="chat")
    evaluate_models(world / "dataset", {"f16": world / "gguf" / "tiny-F16.gguf"}, out, evaluation=asked)
    lines = json.loads((out / "metrics.json").read_text())["models"]["f16"]["results"]
    rows = json.loads((world / "all" / "ladder.json").read_text())["rows"]
    assert every[0].figures["rows"] == 3
    assert rows[0]["accuracy"]["n"] == 33 == sum(line["n"] for line in lines)
    assert rows[0]["accuracy"]["correct"] == sum(line["correct"] for line in lines)
    assert rows[0]["difference"] is None
    difference = row_of(found, "Q4_0")["difference"]
    assert difference["n"] == 20
    assert difference["documents"] < 20
    assert difference["p_holm"] >= difference["p"]
    changed = row_of(found, "Q4_0")["accuracy"]["correct"] - row_of(found, "F16")["accuracy"]["correct"]
    assert difference["gained"] - difference["lost"] == changed == round(20 * difference["value"])


def test_speed_is_of_this_machine(found: dict[str, Any]) -> None:
    for row in found["rows"]:
        assert min(row["speed"][key] for key in ("prompt", "generation", "prompt_ratio", "generation_ratio")) > 0
        assert "1 thread of" in row["speed"]["machine"]


def test_the_folder_holds_the_figures_and_a_picture_alone(world: Path, climbed: Path) -> None:
    assert sorted(path.name for path in climbed.iterdir()) == ["ladder.json", "ladder.png", "step.json"]
    picture = (climbed / "ladder.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000
    record = read_step(climbed)
    assert sorted(record.figures["kld"]) == sorted(LABELS)
    assert not climb(world, climbed), "done already"


@pytest.mark.parametrize("killed_in", ["measure", "quantize"])
def test_a_killed_ladder_goes_on_at_its_row(
    world: Path, found: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_in: str
) -> None:
    out, measured, made = tmp_path / "ladder", [], []
    real_measure, real_quantize = ladder_rows.measure, step.quantize

    def measure(path: Path, exam: Any, what: str) -> dict[str, Any]:
        measured.append(what)
        if killed_in == "measure" and measured.count("q4_0") == 1 and what == "q4_0":
            raise KeyboardInterrupt
        return real_measure(path, exam, what)

    def quantise(source: Path, target: Path, kind: str, matrix: Path | None) -> int:
        made.append(target.name)
        if killed_in == "quantize" and made.count("q4_0.gguf") == 1 and target.name == "q4_0.gguf":
            raise KeyboardInterrupt
        return real_quantize(source, target, kind, matrix)

    monkeypatch.setattr(ladder_rows, "measure", measure)
    monkeypatch.setattr(step, "quantize", quantise)
    with pytest.raises(KeyboardInterrupt):
        climb(world, out)
    assert not out.exists()
    first = len(measured)
    assert climb(world, out)
    assert measured[first:] == ["q4_0", "q4_0-imatrix", "q4_k_m", "q4_k_m-imatrix"]
    twice = ["q4_0.gguf"] if killed_in == "quantize" else []  # quantised whole, it is not quantised again
    assert made == ["q8_0.gguf", "q4_0.gguf", *twice, "q4_0-imatrix.gguf", "q4_k_m.gguf"]
    again = json.loads((out / "ladder.json").read_text(encoding="utf-8"))
    assert untimed(again) == untimed(found)
    assert sorted(path.name for path in out.iterdir()) == ["ladder.json", "ladder.png", "step.json"]


@pytest.fixture(scope="module")
def model(world: Path) -> Iterator[Model]:
    with opened(world / "gguf" / "tiny-F16.gguf", 1) as context:
        yield context.model


def test_nothing_that_was_trained_on_is_in_the_text(world: Path, model: Model) -> None:
    reader = model.encoder
    held_out = read_held_out(world / "dataset", world / "passages", reader, tokens=10_000, questions=50, seed=3)
    texts = [b"".join(map(model.piece, text.ids)).decode() for text in held_out.answered]
    assert {text.document for text in held_out.passages} == {"research/document 1", "research/document 2"}
    assert len(held_out.answered) == 39
    assert len(held_out.choice) == 33
    assert all(text.startswith("system\nYou are Footnote.") for text in texts)
    assert not {question.id for question in held_out.choice} & {"t0", "t1", "t2"}


def test_texts_end_where_the_tokens_are_reached(world: Path, model: Model) -> None:
    reader = model.encoder
    both, again = (
        read_held_out(world / "dataset", world / "passages", reader, tokens=301, questions=7, seed=3) for _ in range(2)
    )
    alone = read_held_out(world / "dataset", None, reader, tokens=301, questions=7, seed=3)
    assert both == again
    assert sum(text.predicted for text in both.passages) == 150
    assert both.tokens == alone.tokens == 301
    assert not alone.passages
    assert len(both.choice) == 7
    system = len(reader.turns(ask_messages("")[:1]))
    assert {text.first for text in both.answered} == {system}, "the system prompt is the same in all, and not scored"


def test_a_matrix_the_folder_has_not_makes_no_rows(world: Path) -> None:
    exported = Exported(world, {"bf16": "a.gguf", "q4_0": "b.gguf"}, "bf16", "")
    rungs = exported.rungs(("q4_0", "q8_0", "q4_0"))
    assert [rung.name for rung in rungs] == ["bf16", "q4_0", "q8_0"]
    assert exported.published(rungs[2]) is None


def test_a_file_that_was_changed_since_is_not_measured(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "gguf", folder := tmp_path / "gguf")
    exported = Exported.read(folder)
    kind, name = next(iter(exported.files.items()))
    rung = exported.rungs(())[0]
    assert (rung.kind, exported.published(rung)) == (kind, folder / name)
    with (folder / name).open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\1\2\3\4")
    with pytest.raises(UserError, match=rf"{name}: is not the file that .*step\.json records; export again"):
        exported.published(rung)


def test_the_table_says_what_the_figures_say(found: dict[str, Any]) -> None:
    table = ladder_table(found)
    assert all(tuple(row) == table.headers for row in table.rows)
    assert [row["matrix"] for row in table.rows] == ["–", "–", "no", "yes", "no", "yes"]
    assert table.rows[0]["KL divergence"] == "0"
    assert table.rows[0]["points against F16"] == "–"
    far = row_of(found, "Q4_0")["divergence"]
    assert table.rows[2]["KL divergence"] == f"{far['kld']:.5f} ± {far['kld_error']:.5f}"
    assert f"× {far['perplexity_ratio']:.4f} (" in table.rows[2]["perplexity"]
    notes = " ".join(table.notes)
    assert "300 tokens of 2 passages" in notes
    assert "20 held-out multiple-choice questions, letter (chat)" in notes
    assert "1 thread of" in notes
    assert "Q4_0 " in next(note for note in table.notes if note.startswith("KL divergence with importance matrix"))


def test_a_significant_loss_is_named_below_the_table(found: dict[str, Any]) -> None:
    worse = json.loads(json.dumps(found))
    worse["rows"][2]["difference"]["verdict"] = "worse by 9.0 points (95 % 5.0 to 13.0, p < 0.001)"
    assert "Q4_0 against F16: worse by 9.0 points (95 % 5.0 to 13.0, p < 0.001)." in ladder_table(worse).notes


def test_too_few_documents_are_said_instead_of_points(found: dict[str, Any]) -> None:
    few = json.loads(json.dumps(found))
    for row in few["rows"][1:]:
        row["difference"] |= {
            "documents": 3,
            "verdict": "no difference shown (4.0 points); 3 documents are too few to tell",
        }
    said = "No type's accuracy is shown to differ from F16's;"
    assert f"{said} 3 documents are too few to tell." in ladder_table(few).notes
    for row in few["rows"][1:]:
        row["difference"]["verdict"] = "no difference shown (4.0 points); this set can only show 9.0 points or more"
        row["difference"]["detectable"] = 0.09
    assert f"{said} the questions can show 9.0 points or more." in ladder_table(few).notes


def test_code_that_decides_a_figure_is_among_the_arguments(climbed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_step(climbed).arguments["code"] == step._code()
    hashed: list[str] = []
    monkeypatch.setattr(step, "source_sha256", lambda *modules: hashed.extend(module.__name__ for module in modules))
    step._code()
    parts = "divergence held_out plan rows speed".split()
    others = "gguf_export.quantizer gguf_export.reference evaluation.backends evaluation.built_tasks".split()
    others += "evaluation.task_rows ladder rows".split()
    assert {f"jobs.gguf_ladder.{part}" for part in parts} | {f"jobs.{other}" for other in others} <= set(hashed)
    assert "qa" in hashed
    assert not [name for name in hashed if name.endswith(("gguf_ladder.table", "gguf_ladder.plot"))], (
        "they decide no figure"
    )


def test_the_command_prints_the_table(
    world: Path, climbed: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    options = ["--types", "q8_0,q4_0,q4_k_m", "--tokens", "300", "--questions", "20", "--seed", "3"]
    places = ["--dataset", world / "dataset", "--passages", world / "passages", "--out", climbed]
    step.main([str(world / "gguf"), *map(str, places), *options])
    said = capsys.readouterr().out
    assert "nothing to do, done already" in said
    assert "Q4_K_M" in said
    assert "KL divergence" in said


def test_an_unknown_type_is_refused(world: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--types q3_k: unknown; known are q4_k_m"):
        climb(world, tmp_path / "ladder", types=("q4_0", "q3_k"))
    with pytest.raises(UserError, match="--types: name at least one"):
        climb(world, tmp_path / "ladder", types=())
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_file_to_compare_with_is_refused(world: Path, tmp_path: Path) -> None:
    figures = {"files": {"q4_0": "a.gguf"}, "imatrix": None}
    run_step("export", tmp_path / "gguf", arguments={}, inputs={}, work=lambda folder: figures)
    with pytest.raises(UserError, match="holds q4_0, and none of f16, bf16, f32 to quantise from"):
        ladder(tmp_path / "gguf", world / "dataset", tmp_path / "ladder", **SIZE)
    assert not (tmp_path / "ladder").exists()


def test_a_folder_that_export_did_not_make_is_refused(world: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no step\.json"):
        ladder(world / "model", world / "dataset", tmp_path / "ladder", **SIZE)
    run_step("merge", tmp_path / "merged", arguments={}, inputs={}, work=lambda folder: {})
    with pytest.raises(UserError, match="made by the step merge, not by export"):
        ladder(tmp_path / "merged", world / "dataset", tmp_path / "ladder", **SIZE)


def test_a_data_set_without_test_questions_is_refused(world: Path, tmp_path: Path) -> None:
    draw = random.Random(1)
    write_questions(tmp_path / "open" / "research_qa" / "test.parquet", [make_question(draw, 1, "research", free=True)])
    with pytest.raises(UserError, match=r"open: its test split has no multiple-choice question"):
        ladder(world / "gguf", tmp_path / "open", tmp_path / "ladder", **SIZE)
    write_questions(tmp_path / "train" / "research_qa" / "train.parquet", [make_question(draw, 1, "research")])
    with pytest.raises(UserError, match=r"research_qa: no test\.parquet"):
        ladder(world / "gguf", tmp_path / "train", tmp_path / "ladder", **SIZE)
    with pytest.raises(UserError, match="absent: no such folder"):
        ladder(world / "gguf", tmp_path / "absent", tmp_path / "ladder", **SIZE)
    assert not list(tmp_path.glob("ladder*"))


def test_too_little_disk_is_said_before_the_first_byte(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(UserError, match="needed for the largest quantised file"):
        climb(world, tmp_path / "ladder")
    assert not list(tmp_path.iterdir())
