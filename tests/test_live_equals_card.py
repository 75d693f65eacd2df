"""The same rows and model give the card's numbers exactly: live samples that cover the test set, against the report."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.config import Evaluation
from jobs.evaluate import evaluate_models
from jobs.evaluation.tasks import load_tasks
from qa.choices import FORMULATIONS
from qa.engine import Engine
from qa.records import Answer
from space.evaluate import MOST_QUESTIONS, Row, draw, evaluate
from space.loading import N_CTX
from space.state import AppState
from tests.space_fakes import VISITOR, served
from tests.tiny import tiny_gguf, tiny_model
from tests.tiny_questions import make_dataset

QUESTIONS = 36
SETTINGS = Evaluation(tasks=("research",), formulations=FORMULATIONS, template="chat")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models as GGUF, questions, and the report of their evaluation."""
    world = tmp_path_factory.mktemp("card")
    make_dataset(world / "dataset", QUESTIONS)
    for seed, name in enumerate(("base", "tuned")):
        tiny_model(world / name, seed=seed)
        tiny_gguf(world / name, world / f"{name}.gguf")
    models = {name: world / f"{name}.gguf" for name in ("base", "tuned")}
    evaluate_models(world / "dataset", models, world / "report", evaluation=SETTINGS, seed=3)
    return world


@pytest.fixture(scope="module")
def state(world: Path) -> Iterator[AppState]:
    """The page's state over the same two files, loaded as the page loads them."""
    engines = {name: Engine.load(world / f"{name}.gguf", n_ctx=N_CTX, parallel=4) for name in ("base", "tuned")}
    state = served(**engines)
    (task,) = load_tasks(SETTINGS, world / "dataset", 3).tasks
    state.models._questions = list(task.choice)
    state.visitors.per_address = 1000
    yield state
    state.models.close()


def live(state: AppState, formulation: str) -> dict[str, Row]:
    """Every question's row, from as many samples as it takes."""
    rows: dict[str, Row] = {}
    questions, sample = state.models.questions(), 0
    while len(rows) < len(questions):
        new = {question.id for question in draw(questions, MOST_QUESTIONS, sample)} - set(rows)
        if len(new) >= min(8, len(questions) - len(rows)):  # a sample that adds little is left out
            *_, run = evaluate(state, VISITOR, MOST_QUESTIONS, formulation, sample, threading.Event())
            assert run.state == "done", run.problem
            rows |= {row.question.id: row for row in run.rows}
        sample += 1
    return rows


@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_live_rows_and_figures_are_those_of_the_report(world: Path, state: AppState, formulation: str) -> None:
    rows, name = live(state, formulation), f"{formulation} (chat)"
    table = [Answer.model_validate(row) for row in pq.read_table(world / "report" / "items.parquet").to_pylist()]
    for side in ("base", "tuned"):
        published = {row.row_id: row for row in table if (row.model, row.formulation) == (side, name)}
        assert set(published) == set(rows)
        for key, row in rows.items():
            assert getattr(row, f"{side}_logprobs") == tuple(published[key].option_logprobs)
            assert getattr(row, f"{side}_right") == published[key].correct
        figure = figure_of(json.loads((world / "report" / "metrics.json").read_text()), side, name)
        assert sum(getattr(row, f"{side}_right") for row in rows.values()) == figure["correct"]
        assert figure["n"] == len(rows) == QUESTIONS
    assert any(row.base_right != row.tuned_right for row in rows.values())


def figure_of(metrics: dict[str, Any], model: str, formulation: str) -> dict[str, Any]:
    """The line of the report whose metric counts picks as the page does: by characters in cloze."""
    lines = [line for line in metrics["models"][model]["results"] if line["formulation"] == formulation]
    return next(line for line in lines if line["metric"] == ("acc" if formulation == "letter (chat)" else "acc_norm"))
