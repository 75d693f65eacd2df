"""Scores of answers, alone and as metrics of the `evaluate` library."""

from __future__ import annotations

import pytest

from jobs.metrics import NAMES, load_metric
from qa.scoring import (
    abstains,
    choice_accuracy,
    citation_marks,
    citation_precision,
    citation_recall,
    exact_match,
    normalise,
    token_f1,
)


def test_normal_form_is_squads() -> None:
    assert normalise("  The Transformer, an  Attention-based\tmodel! ") == "transformer attentionbased model"


def test_exact_match_over_references() -> None:
    assert exact_match("the Adam optimiser.", ["SGD", "Adam optimiser"])
    assert not exact_match("Adam", ["Adam optimiser"])


@pytest.mark.parametrize(
    ("prediction", "references", "score"),
    [
        ("a low-rank update", ["low-rank update"], 1.0),
        ("rank", ["rank decomposition matrices"], 0.5),
        ("rank rank", ["rank decomposition"], 0.5),
        ("nothing shared", ["other words"], 0.0),
        ("", ["word"], 0.0),
        ("the", ["a"], 1.0),
        ("two words", ["none", "two words here"], 0.8),
    ],
)
def test_token_f1(prediction: str, references: list[str], score: float) -> None:
    assert token_f1(prediction, references) == pytest.approx(score)


def test_choice_accuracy_counts_labels() -> None:
    assert choice_accuracy(["A", "1", "C"], ["A", "2", "C"]) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="longer"):
        choice_accuracy(["A"], ["A", "B"])


@pytest.mark.parametrize("text", ["I do not know.", "I don’t know which one", "", "It is not mentioned in the text."])
def test_abstentions_are_seen(text: str) -> None:
    assert abstains(text)


@pytest.mark.parametrize("text", ["LoRA keeps the weights frozen.", "It was not trained on images."])
def test_answers_are_no_abstentions(text: str) -> None:
    assert not abstains(text)


def test_citations() -> None:
    assert citation_marks("Frozen [1], and merged [3, 1]. See [x] and [12].") == [1, 3, 12]
    assert citation_precision([1, 3, 12], [1, 2]) == pytest.approx(1 / 3)
    assert citation_recall([1, 3, 12], [1, 2]) == 0.5
    assert citation_precision([], [1]) == 0.0
    assert citation_recall([], []) == 1.0


def test_metrics_of_the_evaluate_library_need_no_network() -> None:
    references = {
        "choice_accuracy": ["A", "C"],
        "exact_match": [["a"], ["C d", "e"]],
        "token_f1": [["a"], ["C d", "e"]],
    }
    expected = {"choice_accuracy": 0.5, "exact_match": 0.0, "token_f1": 0.25}
    for name in NAMES:
        predictions = ["A", "B"] if name == "choice_accuracy" else ["b", "c f"]
        assert load_metric(name).compute(predictions=predictions, references=references[name]) == {
            name: pytest.approx(expected[name])
        }
