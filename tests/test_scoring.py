"""Scores of answers: SQuAD's own cases, abstentions and citations."""

from __future__ import annotations

import pytest

from qa.scoring import (
    abstains,
    citation_marks,
    citation_precision,
    citation_recall,
    exact_match,
    normalise,
    token_f1,
    without_marks,
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


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "I do not know.",
        "I don’t know which one",
        "Sorry. I don't know.",
        "It is not mentioned in the text.",
        "I don't find this in my sources.",
        "I'm sorry, but I don’t find this in my sources [1].",
        "I could not find any mention of the learning rate.",
        "Based on the sources, the learning rate is not given in the passages.",
        "The sources do not mention the learning rate.",
        "No information.",
        "There is no information about it.",
        "This question is unanswerable.",
        "I am unable to answer.",
    ],
)
def test_abstentions_are_seen(text: str) -> None:
    assert abstains(text)


@pytest.mark.parametrize(
    "text",
    [
        "LoRA keeps the weights frozen.",
        "It was not trained on images.",
        "The rank is 8, although the learning rate is not mentioned in the table.",
        "T5, which is not mentioned in the table, is larger.",
        "The rank is 8 [1]. The learning rate is not given in the text.",
        "SQuAD 2.0 adds unanswerable questions.",
        "There is no information loss in a residual connection.",
        "The passage does not mention BLEU but reports 0.41 ROUGE-L.",
        "知りません。",
    ],
)
def test_answers_are_no_abstentions(text: str) -> None:
    assert not abstains(text)


def test_citations() -> None:
    assert citation_marks("Frozen [1], and merged [3, 1]. See [x] and [12].") == [1, 3, 12]
    assert citation_precision([1, 3, 12], [1, 2]) == pytest.approx(1 / 3)
    assert citation_recall([1, 3, 12], [1, 2]) == 0.5
    assert citation_precision([], [1]) == 0.0
    assert citation_recall([], []) == 1.0


def test_answers_without_their_citations() -> None:
    assert without_marks("Frozen [1], and merged[3, 1]. See [x] and [12].") == "Frozen, and merged. See [x] and."
    assert without_marks("[1] LoRA [1][2]") == " LoRA"
    assert exact_match(without_marks("The Adam optimiser [2]."), ["Adam optimiser"])


# Worked by hand from evaluate-v1.1.py: articles go, also where they are a letter by themselves; hyphens go without a
# space; only ASCII punctuation is punctuation.
@pytest.mark.parametrize(
    ("prediction", "reference", "match", "f1"),
    [
        ("Denver Broncos", "the Denver Broncos!", True, 1.0),
        ("Santa Clara, California", "Levi's Stadium in Santa Clara, California", False, 2 * 1 * 0.5 / 1.5),
        ("vitamin A", "vitamin", True, 1.0),
        ("low-rank", "low rank", False, 0.0),
        ("“LoRA”", "LoRA", False, 0.0),
        ("NAÏVE Bayes", "naïve bayes", True, 1.0),
        ("東京", "東京", True, 1.0),
        ("", "", True, 1.0),
        ("", "LoRA", False, 0.0),
    ],
)
def test_known_values_of_squad(prediction: str, reference: str, match: bool, f1: float) -> None:
    assert exact_match(prediction, [reference]) is match
    assert token_f1(prediction, [reference]) == pytest.approx(f1)
