"""The evaluation step, start to end on a tiny model: rows, figures, resuming, and what bad input gets."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from statsmodels.stats.proportion import proportion_confint

from jobs import evaluate
from jobs.config import Evaluation
from jobs.errors import UserError
from jobs.evaluate import evaluate_models
from jobs.evaluation import examination
from jobs.evaluation.examiner import Examiner
from jobs.evaluation.tasks import load_tasks
from jobs.step import CHECKPOINTS, read_step
from qa.records import Answer, Question
from tests.tiny import tiny_adapter, tiny_gguf, tiny_model
from tests.tiny_questions import make_dataset, make_question, write_questions

SETTINGS = Evaluation(tasks=("research", "arc_easy"), formulations=("letter", "cloze"), template="chat")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, and one model as base, adapter, merged (the base again) and GGUF."""
    world = tmp_path_factory.mktemp("evaluate")
    make_dataset(world / "dataset", 60, free=12, arc=24)
    tiny_model(world / "base")
    tiny_adapter(world / "base", world / "adapter")
    tiny_gguf(world / "base", world / "base.gguf")
    return world


def models_of(world: Path) -> dict[str, Path | str]:
    places = {"base": "base", "adapter": "adapter", "merged": "base", "gguf": "base.gguf"}
    return {name: world / place for name, place in places.items()}


@pytest.fixture(scope="module")
def report(world: Path) -> Path:
    record, new = evaluate_models(
        world / "dataset", models_of(world), world / "report", evaluation=SETTINGS, base=world / "base", seed=3
    )
    assert new
    assert record.figures["choice_questions"] == 84
    return world / "report"


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def items_of(report: Path) -> list[Answer]:
    return [Answer.model_validate(row) for row in pq.read_table(report / "items.parquet").to_pylist()]


def test_there_is_a_row_for_every_question_model_and_formulation(report: Path) -> None:
    items = items_of(report)
    assert len({(row.model, row.formulation, row.row_id) for row in items}) == len(items) == 4 * (2 * 84 + 12)
    assert {row.formulation for row in items} == {"letter (chat)", "cloze (chat)", "open (chat)"}
    assert all(value < 0 for row in items for value in row.option_logprobs)


def test_a_recount_of_the_rows_gives_the_figures(report: Path, world: Path) -> None:
    items, metrics = items_of(report), load(report / "metrics.json")
    tasks = load_tasks(SETTINGS, world / "dataset", 3).tasks
    questions = {question.id: question for task in tasks for question in task.choice}
    assert metrics["order"] == ["base", "adapter", "merged", "gguf"]
    for model in metrics["order"]:
        results = metrics["models"][model]["results"]
        assert load(report / f"{model}.json")["results"] == results
        assert len(results) == 2 * (1 + 2)
        for line in results:
            rows = [
                row
                for row in items
                if (row.model, row.task, row.formulation) == (model, line["task"], line["formulation"])
            ]
            correct = sum(_recount(row, questions[row.row_id], line["metric"]) for row in rows)
            assert (line["n"], line["correct"], line["value"]) == (len(rows), correct, correct / len(rows))
            assert (line["low"], line["high"]) == pytest.approx(proportion_confint(correct, len(rows), method="wilson"))


def _recount(row: Answer, question: Question, metric: str) -> bool:
    weights = [len(choice) for choice in question.choices] if metric == "acc_norm" else [1] * len(question.choices)
    scores = [value / weight for value, weight in zip(row.option_logprobs, weights, strict=True)]
    return question.labels[scores.index(max(scores))] == question.answer


def test_comparisons_are_paired_with_the_first_model(report: Path) -> None:
    items, lines = items_of(report), load(report / "metrics.json")["comparisons"]
    assert {line["model"] for line in lines} == {"adapter", "merged", "gguf"}
    assert len(lines) == 3 * (2 * 2 + 1)
    correct = {(row.model, row.task, row.formulation, row.row_id): row.correct for row in items}
    for line in lines:
        pairs = [
            (value, correct["base", *key[1:]])
            for key, value in correct.items()
            if key[:3] == (line["model"], line["task"], line["formulation"])
        ]
        assert line["gained"] == sum(ours and not theirs for ours, theirs in pairs)
        assert line["lost"] == sum(theirs and not ours for ours, theirs in pairs)
        assert line["difference"] == pytest.approx((line["gained"] - line["lost"]) / line["n"])
        assert line["low"] <= line["difference"] <= line["high"]
    merged = [line for line in lines if line["model"] == "merged"]
    assert all(line["gained"] == line["lost"] == 0 and line["p"] == 1 for line in merged)


def test_the_gguf_and_the_same_weights_in_transformers_answer_alike(report: Path) -> None:
    items = {(row.model, row.formulation, row.row_id): row for row in items_of(report)}
    alike, written = 0, 0
    for (model, formulation, row_id), row in items.items():
        if model != "gguf":
            continue
        peer = items["merged", formulation, row_id]
        assert row.prompt_sha256 == peer.prompt_sha256
        if formulation == "open (chat)":
            written += 1
            alike += row.predicted == peer.predicted
        elif formulation == "letter (chat)":
            best, second = sorted(peer.option_logprobs, reverse=True)[:2]
            assert row.predicted == peer.predicted or best - second <= 0.05
    assert alike >= 0.7 * written  # 48 tokens of a random model meet a near-tie now and then


def test_the_adapter_changes_answers(report: Path) -> None:
    answers = {(row.model, row.formulation, row.row_id): row.option_logprobs for row in items_of(report)}
    assert any(answers["adapter", *key[1:]] != value for key, value in answers.items() if key[0] == "base")


def test_open_answers_have_their_figures(report: Path) -> None:
    figures = load(report / "metrics.json")["open"]
    assert {name: entry["n"] for name, entry in figures.items()} == dict.fromkeys(figures, 12)
    assert figures["merged"] == figures["base"]
    assert 0 <= figures["base"]["token_f1"] <= 1


def test_a_random_model_is_said_to_look_broken(report: Path) -> None:
    warnings = load(report / "metrics.json")["warnings"]
    assert any(line.startswith("base, research, ") and "no better than chance" in line for line in warnings)
    assert not any("token ids" in line for line in warnings)


def test_pictures_and_report_are_written(report: Path) -> None:
    text = (report / "report.md").read_text(encoding="utf-8")
    for name in ("accuracy.png", "flips.png", "reliability.png"):
        assert (report / name).read_bytes().startswith(b"\x89PNG")
        assert f"]({name})" in text
    metrics = load(report / "metrics.json")
    asked = ("research", metrics["headline"]["formulation"])
    verdicts = [line["verdict"] for line in metrics["comparisons"] if (line["task"], line["formulation"]) == asked]
    assert len(verdicts) == 3
    assert all(verdict in text for verdict in verdicts)


def test_it_is_not_done_twice(report: Path, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "open_backend", None)
    record, new = evaluate_models(
        world / "dataset", models_of(world), report, evaluation=SETTINGS, base=world / "base", seed=3
    )
    assert not new
    assert record == read_step(report)


def test_a_killed_evaluation_goes_on_at_the_row_where_it_was(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {name: place for name, place in models_of(world).items() if name in ("base", "gguf")}
    settings = SETTINGS.model_copy(update={"limit": 20, "batch_tokens": 400})
    arguments = {"evaluation": settings, "seed": 3}
    evaluate_models(world / "dataset", models, tmp_path / "whole", **arguments)
    asked: list[str] = []
    rows = Examiner._rows

    def dying(self: Examiner, batch: list[int]) -> list[Answer]:
        if len(asked) > 70:
            raise KeyboardInterrupt
        done = rows(self, batch)
        asked.extend(f"{row.model} {row.formulation} {row.row_id}" for row in done)
        return done

    monkeypatch.setattr(Examiner, "_rows", dying)
    with pytest.raises(KeyboardInterrupt):
        evaluate_models(world / "dataset", models, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()
    torn = next((tmp_path / "out.partial" / CHECKPOINTS).rglob("000.0.jsonl"))
    torn.write_bytes(torn.read_bytes() + b'{"model": "ba')  # killed while it wrote
    before = set(asked)
    asked.clear()
    monkeypatch.setattr(Examiner, "_rows", lambda self, batch: asked.extend([""] * len(batch)) or rows(self, batch))
    evaluate_models(world / "dataset", models, tmp_path / "out", **arguments)
    whole, again = items_of(tmp_path / "whole"), items_of(tmp_path / "out")
    assert len(asked) + len(before) == len(whole) == 2 * (2 * 40 + 12)
    assert [row.model_copy(update={"seconds": 0}) for row in again] == [
        row.model_copy(update={"seconds": 0}) for row in whole
    ]
    assert not (tmp_path / "out" / CHECKPOINTS).exists()


def test_two_processes_share_the_rows_and_give_the_same_result(world: Path, tmp_path: Path) -> None:
    models = [f"base={world / 'base'}", f"gguf={world / 'base.gguf'}"]
    options = ["--dataset", str(world / "dataset"), "--tasks", "research,arc_easy", "--limit", "20", "--seed", "3"]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, prefix in (("alone", []), ("shared", launch)):
        command = [sys.executable, *prefix, "-m", "jobs.evaluate", *models, *options, "--out", str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    assert [read_step(tmp_path / name).figures["processes"] for name in ("alone", "shared")] == [1, 2]
    alone, shared = items_of(tmp_path / "alone"), items_of(tmp_path / "shared")
    assert [row.model_copy(update={"seconds": 0}) for row in alone] == [
        row.model_copy(update={"seconds": 0}) for row in shared
    ]
    figures = [load(tmp_path / name / "metrics.json") for name in ("alone", "shared")]
    assert figures[0] | {"seconds": 0} == figures[1] | {"seconds": 0}


def test_a_model_of_nan_is_broken_and_named(world: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(world / "base")
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    model.save_pretrained(tmp_path / "nan")
    AutoTokenizer.from_pretrained(world / "base").save_pretrained(tmp_path / "nan")
    settings = Evaluation(tasks=("research",), limit=2)
    with pytest.raises(UserError, match=r"model base: .*scores that are not finite"):
        evaluate_models(world / "dataset", {"base": tmp_path / "nan"}, tmp_path / "out", evaluation=settings)
    assert not (tmp_path / "out").exists()


def test_a_question_longer_than_the_window_is_left_out_and_counted(world: Path, tmp_path: Path) -> None:
    draw = random.Random(1)
    questions = [make_question(draw, number, "research") for number in range(4)]
    questions[1] = questions[1].model_copy(update={"question": "word " * 2500})
    write_questions(tmp_path / "dataset" / "research_qa" / "test.parquet", questions)
    models: dict[str, Path | str] = {"base": world / "base", "gguf": world / "base.gguf"}
    settings = Evaluation(tasks=("research",), formulations=("letter",))
    record, _ = evaluate_models(tmp_path / "dataset", models, tmp_path / "out", evaluation=settings)
    metrics = load(tmp_path / "out" / "metrics.json")
    where = {"task": "research", "formulation": "letter (chat)", "row_id": "research/choice/1"}
    assert [{key: row[key] for key in where} for row in metrics["skipped"]["gguf"]] == [where]
    assert "the model reads 2048" in metrics["skipped"]["gguf"][0]["reason"]
    assert record.figures["skipped"]["gguf"] == 1
    assert metrics["models"]["gguf"]["results"][0]["n"] == 3
    assert metrics["comparisons"][0]["n"] == 3


def test_questions_of_which_none_fits_are_an_error(world: Path, tmp_path: Path) -> None:
    question = make_question(random.Random(1), 1, "research").model_copy(update={"question": "word " * 2500})
    write_questions(tmp_path / "dataset" / "research_qa" / "test.parquet", [question])
    with pytest.raises(UserError, match=r"research/choice/1, needs \d+ tokens and the model reads 2048"):
        evaluate_models(tmp_path / "dataset", {"base": world / "base.gguf"}, tmp_path / "out", evaluation=Evaluation())


def test_what_decides_the_figures_is_claimed(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the models, an adapter's base that is not evaluated itself, and the code: each runs it again."""
    settings = {"evaluation": Evaluation(tasks=("research",), formulations=("letter",), limit=2), "seed": 3}
    base = tmp_path / "base"
    shutil.copytree(world / "base", base)
    adapter = Path(shutil.copytree(world / "adapter", tmp_path / "adapter"))
    config = load(adapter / "adapter_config.json") | {"base_model_name_or_path": str(base)}
    (adapter / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    models: dict[str, Path | str] = {"adapter": adapter, "gguf": world / "base.gguf"}

    def again(models: dict[str, Path | str]) -> bool:
        return evaluate_models(world / "dataset", models, tmp_path / "out", base=base, **settings)[1]

    assert again(models)
    assert not again(models)
    assert read_step(tmp_path / "out").inputs.keys() == {"dataset", "adapter", "adapter.base", "gguf"}
    assert read_step(tmp_path / "out").arguments["order"] == ["adapter", "gguf"]
    assert again(dict(reversed(models.items())))
    assert load(tmp_path / "out" / "metrics.json")["order"] == ["gguf", "adapter"]
    (base / "generation_config.json").write_text("{}", encoding="utf-8")
    assert again(dict(reversed(models.items())))
    monkeypatch.setattr(evaluate, "source_sha256", lambda *_: "other code")
    assert again(dict(reversed(models.items())))


def test_the_code_that_is_hashed_asks_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    monkeypatch.setattr(evaluate, "source_sha256", lambda *modules: hashed.extend(each.__name__ for each in modules))
    evaluate._code()
    assert {"jobs.evaluate", "jobs.evaluation", "qa"} <= set(hashed)


@pytest.mark.parametrize("name", ["metrics", "dataset", "a b", "../x", ""])
def test_names_that_would_be_other_files_are_refused(name: str, world: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a model's name is"):
        evaluate_models(world / "dataset", {name: world / "base"}, tmp_path / "out", evaluation=Evaluation())
