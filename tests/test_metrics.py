"""Metrics of the `evaluate` library: each against its own source, and all of them without a network."""

from __future__ import annotations

import os
import socket
import string
import subprocess
import sys
from pathlib import Path

import pytest
from rouge_score.rouge_scorer import RougeScorer

from jobs.metrics import NAMES, load_metric

ROOT = Path(__file__).parents[1]
ANSWERS = [
    "LoRA trains two low-rank matrices [1].",
    "",
    "東京 naïve!",
    "I don't find this in my sources.",
    "Adam [2, 3]",
]
REFERENCES = [
    ["Two low rank matrices are trained", "matrices"],
    ["the SGD"],
    ["naïve 東京"],
    ["Edward Hu"],
    ["the Adam"],
]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a metric reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize(
    ("name", "references", "expected"),
    [
        ("exact_match", REFERENCES, 0.0),
        ("citation_precision", [[1], [1], [1], [2], [2]], (1 + 0.5) / 5),
        ("citation_recall", [[1, 2], [1], [1], [2], [2]], (0.5 + 1) / 5),
        ("abstention", None, 2 / 5),
    ],
)
def test_a_metric_is_the_mean_over_answers(name: str, references: list | None, expected: float) -> None:
    given = {"references": references} if references else {}
    assert load_metric(name).compute(predictions=ANSWERS, **given) == {name: pytest.approx(expected)}


def test_an_exact_match_of_any_reference_counts() -> None:
    answers, references = ["The Adam.", "naïve", ""], [["SGD", "adam"], ["naïve"], ["x"]]
    assert load_metric("exact_match").compute(predictions=answers, references=references) == {
        "exact_match": pytest.approx(2 / 3)
    }


def test_token_f1_is_that_of_the_squad_script() -> None:
    """The formula of evaluate-v1.1.py, written again: normalise, split, count what is shared."""

    def words(text: str) -> list[str]:
        bare = "".join(sign for sign in text.lower() if sign not in string.punctuation)
        return [word for word in bare.split() if word not in ("a", "an", "the")]

    def f1(ours: list[str], theirs: list[str]) -> float:
        same = sum(min(ours.count(word), theirs.count(word)) for word in set(ours))
        if same == 0:
            return 0.0
        precision, recall = same / len(ours), same / len(theirs)
        return 2 * precision * recall / (precision + recall)

    scores = [max(f1(words(a), words(r)) for r in rs) for a, rs in zip(ANSWERS, REFERENCES, strict=True)]
    assert 0 < sum(scores) < len(scores)
    found = load_metric("token_f1").compute(predictions=ANSWERS, references=REFERENCES)
    assert found == {"token_f1": pytest.approx(sum(scores) / len(scores))}


def test_rouge_l_is_rouge_scores_best_over_the_references() -> None:
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    scores = [
        max(scorer.score(reference, answer)["rougeL"].fmeasure for reference in references)
        for answer, references in zip(ANSWERS, REFERENCES, strict=True)
    ]
    assert scores[1] == 0  # the empty answer
    assert scores[0] > 0.5
    found = load_metric("rouge_l").compute(predictions=ANSWERS, references=REFERENCES)
    assert found == {"rouge_l": pytest.approx(sum(scores) / len(scores))}


def test_rouge_l_stems_and_follows_the_order() -> None:
    metric = load_metric("rouge_l")

    def score(answer: str, reference: str) -> float:
        return metric.compute(predictions=[answer], references=[[reference]])["rouge_l"]

    assert score("training matrices", "trained matrix") == 0.5  # train is train, matric is not matrix
    assert score("weights frozen keeps", "keeps weights frozen") == pytest.approx(
        2 / 3
    )  # the longest common run in order
    assert score("the cat", "") == 0
    assert score("東京", "東京") == 0  # rouge_score reads ASCII alone


def test_metrics_name_and_describe_themselves() -> None:
    metrics = [load_metric(name) for name in NAMES]
    assert [metric.name for metric in metrics] == list(NAMES)
    assert len({metric.description for metric in metrics} - {""}) == len(NAMES)


def test_a_wrong_number_of_references_is_an_error() -> None:
    with pytest.raises(ValueError, match="Mismatch"):
        load_metric("token_f1").compute(predictions=["a", "b"], references=[["a"]])


def test_they_load_offline(tmp_path: Path) -> None:
    code = "from jobs.metrics import NAMES, load_metric\nprint(*[load_metric(name).name for name in NAMES])"
    world = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=world, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.split() == list(NAMES)
