"""The figures of an evaluation, recounted another way from the rows they were made from."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from jobs.evaluation.figures import SCHEMA, metrics_of
from jobs.evaluation.groups import headline_metric
from jobs.evaluation.tasks import Task
from qa.headline import headline_lines
from qa.records import Answer, Question
from tests.tiny_answers import choice_answers, make_task, rotated_answers, scored, written

LETTER, CLOZE, CHAT = "letter (chat, 5 shots)", "cloze (plain, 5 shots)", "chat (lm-eval)"
RESEARCH, ARC = make_task("research", 60, 12, left_out=("row 7",)), make_task("arc_easy", 45)


def rows_of(model: str, skill: float, seed: int) -> list[Answer]:
    rows = []
    for task in (RESEARCH, ARC):
        rows += choice_answers(model, task.choice, skill=skill, formulation=LETTER, seed=seed)
        rows += choice_answers(model, task.choice, skill=skill, formulation=CLOZE, seed=seed + 1)
    said = [row.model_copy(update={"formulation": CHAT, "option_logprobs": ()}) for row in rows[:20]]
    return rows + said + written(model, RESEARCH.open, lambda q: q.answer_text if skill > 1 else "I do not know.")


@pytest.fixture(scope="module")
def answers() -> dict[str, list[Answer]]:
    """The second model was not asked five rows that the first was."""
    return {"base": rows_of("base", 0.3, 1), "tuned": rows_of("tuned", 1.5, 2)[5:]}


@pytest.fixture(scope="module")
def metrics(answers: dict[str, list[Answer]]) -> dict[str, Any]:
    rotated = {
        name: [
            row.model_copy(update={"formulation": row.formulation.replace("letter (chat)", LETTER)})
            for row in rotated_answers(name, RESEARCH.choice[10:30], lambda question: question.labels[0])
        ]
        for name in answers
    }
    reason = {"task": "research", "formulation": LETTER, "row_id": "q", "reason": "needs 9 tokens"}
    return metrics_of(
        answers, rotated, (RESEARCH, ARC), {"base": [], "tuned": [reason]}, headline=("research", LETTER), seed=3
    )


def questions() -> dict[tuple[str, str], Question]:
    return {(task.name, question.id): question for task in (RESEARCH, ARC) for question in (*task.choice, *task.open)}


def these(rows: list[Answer], line: dict[str, Any]) -> list[Answer]:
    return [row for row in rows if (row.task, row.formulation) == (line["task"], line["formulation"])]


def test_it_is_plain_json_and_names_its_schema(metrics: dict[str, Any]) -> None:
    assert json.loads(json.dumps(metrics, allow_nan=False)) == json.loads(json.dumps(metrics))
    assert metrics["schema"] == SCHEMA == 2
    assert metrics["order"] == ["base", "tuned"]
    assert metrics["headline"] == {"task": "research", "formulation": LETTER, "metric": "acc"}
    assert metrics["left_out"]["research"] == [{"name": "row 7", "reason": "answerKey 'Z' is not among the labels"}]
    assert metrics["skipped"]["tuned"][0]["reason"] == "needs 9 tokens"
    assert "cited" not in metrics


def test_results_count_the_rows(metrics: dict[str, Any], answers: dict[str, list[Answer]]) -> None:
    for model, rows in answers.items():
        results = metrics["models"][model]["results"]
        assert {line["metric"] for line in results if line["formulation"] == CHAT} == {"exact_match"}
        assert len(results) == 2 * (1 + 2) + 1
        for line in results:
            mine = these(rows, line)
            right = [row.correct for row in mine]
            if (line["formulation"], line["metric"]) == (CLOZE, "acc"):
                right = [int(np.argmax(row.option_logprobs)) == questions()[row.task, row.row_id].gold for row in mine]
            assert (line["n"], line["correct"]) == (len(mine), sum(right))
            assert line["low"] < line["value"] < line["high"]


def test_the_metric_follows_the_formulation() -> None:
    names = (LETTER, CLOZE, CHAT, "open (chat)", "sources (chat)", "no source (chat)")
    assert [headline_metric(name) for name in names] == [
        *("acc", "acc_norm", "exact_match", "exact_match", "exact_match", "abstained")
    ]


def test_comparisons_are_made_on_rows_that_both_answered(
    metrics: dict[str, Any], answers: dict[str, list[Answer]]
) -> None:
    lines = metrics["comparisons"]
    assert len(lines) == 2 * 2 + 1 + 1
    for line in lines:
        theirs = {row.row_id: row.correct for row in these(answers["base"], line)}
        pairs = [(row.correct, theirs[row.row_id]) for row in these(answers["tuned"], line) if row.row_id in theirs]
        counts = (pairs.count((True, True)), pairs.count((True, False)), pairs.count((False, True)))
        assert (line["right_in_both"], line["gained"], line["lost"]) == counts
        assert line["documents"] == len({row.document for row in these(answers["tuned"], line) if row.row_id in theirs})
        assert line["wrong_in_both"] == pairs.count((False, False))
        assert line["n"] == len(pairs)
    assert {line["n"] for line in lines} == {55, 60, 45, 20, 12}
    adjusted = multipletests([line["p"] for line in lines], method="holm")[1]
    assert [line["p_holm"] for line in lines] == pytest.approx(list(adjusted))
    assert headline_lines(metrics)[1].verdict == lines[0]["verdict"]


def test_the_places_of_letter_answers(metrics: dict[str, Any], answers: dict[str, list[Answer]]) -> None:
    for model, rows in answers.items():
        assert [line["task"] for line in metrics["positions"][model]] == ["research", "arc_easy"]
        for line in metrics["positions"][model]:
            known = [(questions()[row.task, row.row_id], row) for row in these(rows, line)]
            for each in line["places"]:
                here = [row.correct for question, row in known if question.gold == each["place"]]
                chosen = [q for q, row in known if q.labels.index(row.predicted) == each["place"]]
                assert (each["n"], each["correct"], each["chosen"]) == (len(here), sum(here), len(chosen))
                assert each["value"] == (np.mean(here) if here else None)
            judged = [each["value"] for each in line["places"] if each["n"] >= 10]
            assert line["spread"] == pytest.approx(np.std(judged))
            assert sum(each["n"] for each in line["places"]) == line["n"] == len(known)


def test_a_place_that_is_never_right_has_no_accuracy() -> None:
    task = make_task("t", 12)
    task = Task("t", tuple(question for question in task.choice if question.gold != 1), ())
    rows = choice_answers("m", task.choice, skill=0)
    places = metrics_of({"m": rows}, {}, (task,), {}, headline=("t", "letter (chat)"), seed=0)["positions"]["m"][0]
    assert (places["places"][1]["n"], places["places"][1]["value"]) == (0, None)
    assert places["spread"] is None


def test_rotations_are_joined_with_the_rows_as_they_stand(
    metrics: dict[str, Any], answers: dict[str, list[Answer]]
) -> None:
    """Rotated, the first label is given: right once among k − 1 rotations, unless the right option is first at once."""
    line = metrics["rotations"]["base"][0]
    drawn = RESEARCH.choice[10:30]
    assert (line["task"], line["formulation"], line["n"]) == ("research", LETTER, 20)
    assert line["rotations"] == sum(len(question.choices) for question in drawn)
    plain = {row.row_id: row.correct for row in answers["base"] if row.formulation == LETTER}
    right = sum(plain[question.id] + (question.gold != 0) for question in drawn)
    assert line["value"] == pytest.approx(right / line["rotations"])
    assert line["unchanged"] == 0
    assert line["low"] < line["value"] < line["high"]


def test_calibration_is_of_letters_alone(metrics: dict[str, Any], answers: dict[str, list[Answer]]) -> None:
    for model in answers:
        assert [(line["task"], line["formulation"]) for line in metrics["calibration"][model]] == [
            ("research", LETTER),
            ("arc_easy", LETTER),
        ]
        for line in metrics["calibration"][model]:
            bins = line["bins"]
            assert sum(each["n"] for each in bins) == line["n"]
            gaps = [each["n"] * abs(each["confidence"] - each["accuracy"]) for each in bins]
            assert line["ece"] == pytest.approx(sum(gaps) / line["n"])
            assert line["ece_low"] <= line["ece"] <= line["ece_high"]
            assert line.keys() == {"task", "formulation", "n", "ece", "ece_low", "ece_high", "brier", "bins"}


def test_ties_and_seconds(metrics: dict[str, Any]) -> None:
    assert {line["tied"] for line in metrics["ties"]["base"]} == {0}
    assert len(metrics["ties"]["base"]) == 4  # what is written has no scores
    assert metrics["seconds"]["tuned"] == dict.fromkeys([LETTER, CLOZE, CHAT, "open (chat)"], 0.25)
    even = [scored("m", question, (-1.0,) * len(question.choices)) for question in ARC.choice]
    found = metrics_of({"m": even}, {}, (ARC,), {}, headline=("arc_easy", "letter (chat)"), seed=0)
    assert found["ties"]["m"] == [{"task": "arc_easy", "formulation": "letter (chat)", "tied": 45, "n": 45}]
    assert found["comparisons"] == []


def test_open_and_cited_answers_have_their_figures(metrics: dict[str, Any]) -> None:
    assert (metrics["open"]["base"]["exact_match"], metrics["open"]["tuned"]["exact_match"]) == (0, 1)
    assert metrics["open"]["base"]["abstained"] == 1
    asked = [question.model_copy(update={"passage": "p1"}) for question in RESEARCH.open]
    shown = [
        row.model_copy(update={"sources": ("p0", "p1")})
        for row in written("m", asked, lambda question: f"{question.answer_text} [2]", "sources (chat)")
    ]
    withheld = written("m", asked, lambda _: "I don't find this in my sources.", "no source (chat)")
    task = Task("research", RESEARCH.choice, tuple(asked))
    rows = choice_answers("m", RESEARCH.choice, skill=1) + shown + withheld
    found = metrics_of({"m": rows}, {}, (task,), {}, headline=("research", "letter (chat)"), seed=0)
    cited = found["cited"]["m"]
    assert (cited["n"], cited["n_withheld"], cited["citation_precision"]) == (12, 12, 1)
    assert (cited["exact_match"], cited["refused"], cited["abstained"]) == (1, 0, 1)
    assert found["open"] == {}
    assert len(found["models"]["m"]["results"]) == 1
