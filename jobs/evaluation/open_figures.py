"""From answers in words to figures: how often they match, what they cite, and when they abstain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.metrics import load_metric
from qa.records import Answer, Question
from qa.scoring import without_marks
from qa.statistics import wilson


def open_figures(rows: Sequence[Answer]) -> dict[str, Any]:
    """One model's answers without sources: exact match with its Wilson interval, token F1, ROUGE-L, abstentions."""
    predictions, references = [row.predicted for row in rows], [[row.gold] for row in rows]
    low, high = wilson(sum(row.correct for row in rows), len(rows))
    scores = {name: _mean(name, predictions, references) for name in ("exact_match", "token_f1", "rouge_l")}
    return scores | {"low": low, "high": high, "abstained": _mean("abstention", predictions), "n": len(rows)}


def cited_figures(
    shown: Sequence[Answer], withheld: Sequence[Answer], questions: Mapping[tuple[str, str], Question]
) -> dict[str, Any]:
    """One model's answers where the passage with the evidence is among the sources, and where it is withheld.

    A citation is right where it names the passage that the question was made from: a check by number that needs no
    judge, and that asks nothing of what the sentence says of it. `refused` is the share of abstentions although the
    answer is shown, `abstained` the share where it is withheld; what was asked of nobody is None. `questions` are by
    task and id.
    """
    texts = [without_marks(row.predicted) for row in shown]
    answers = [row.predicted for row in shown]
    references = [[row.gold] for row in shown]
    gold = [[row.sources.index(questions[row.task, row.row_id].passage) + 1] for row in shown]
    return {
        "n": len(shown),
        "exact_match": _mean("exact_match", texts, references),
        "token_f1": _mean("token_f1", texts, references),
        "citation_precision": _mean("citation_precision", answers, gold),
        "citation_recall": _mean("citation_recall", answers, gold),
        "refused": _mean("abstention", answers),
        "abstained": _mean("abstention", [row.predicted for row in withheld]),
        "n_withheld": len(withheld),
    }


def _mean(name: str, predictions: list[str], references: list[Any] | None = None) -> float | None:
    """A metric over answers; None where there are none."""
    if not predictions:
        return None
    given = {"predictions": predictions} | ({"references": references} if references else {})
    return load_metric(name).compute(**given)[name]
