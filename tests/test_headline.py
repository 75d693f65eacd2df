"""The headline figures are read from evaluation's metrics in one place."""

from __future__ import annotations

import json

import pytest

from qa.headline import HeadlineLine, headline_lines
from tests.runs import EVALUATED, tiny_run


def test_every_model_has_its_line_in_evaluations_order() -> None:
    metrics = json.loads((tiny_run() / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    metrics["order"] = ["gguf", "base", "adapter", "merged"]
    lines = headline_lines(metrics)
    assert [line.model for line in lines] == metrics["order"]
    first = metrics["headline"]
    for line in lines:
        results = metrics["models"][line.model]["results"]
        [result] = [each for each in results if all(each[key] == value for key, value in first.items())]
        assert (line.value, line.low, line.high) == (result["value"], result["low"], result["high"])
        assert line.correct == result["correct"] == line.value * line.n
    verdicts = {line["model"]: line["verdict"] for line in metrics["comparisons"]}
    assert {line.model: line.verdict for line in lines} == {"base": ""} | verdicts


def test_a_model_without_the_figure_is_left_out_and_other_schemas_are_errors() -> None:
    metrics = json.loads((tiny_run() / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    metrics["models"]["merged"]["results"] = []
    assert [line.model for line in headline_lines(metrics)] == [name for name in EVALUATED if name != "merged"]
    assert all(isinstance(line, HeadlineLine) for line in headline_lines(metrics))
    del metrics["order"]
    with pytest.raises(KeyError):
        headline_lines(metrics)
