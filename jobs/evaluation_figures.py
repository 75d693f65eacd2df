"""From answers to figures: accuracies with intervals, paired comparisons, and signs that something is broken.

Every figure is recounted from the rows of `items.parquet` and the questions; a test does it another way round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from qa.records import Answer, Question
from qa.scoring import abstains
from qa.statistics import paired_difference, verdict, wilson

SCHEMA = 1
OPEN = "open (chat)"
CANARY_ROWS = 40  # fewer questions leave chance inside any interval
TIED_SHARE = 0.5


def is_open(answer: Answer) -> bool:
    """Whether a row answers an open question."""
    return answer.formulation == OPEN


def headline_metric(formulation: str) -> str:
    """The metric by which a row of this formulation counts as correct."""
    if formulation == OPEN:
        return "exact_match"
    return "acc_norm" if formulation.startswith("cloze") else "acc"


def figures_of(answers: Sequence[Answer], questions: Mapping[str, Question]) -> list[dict[str, Any]]:
    """Results of one model: each task, formulation and metric with its Wilson interval. Open answers are apart."""
    results = []
    for (task, formulation), rows in _groups(answers).items():
        counts = {headline_metric(formulation): sum(row.correct for row in rows)}
        if formulation.startswith("cloze"):
            counts["acc"] = sum(_likeliest(row) == questions[row.row_id].gold for row in rows)
        for metric, correct in counts.items():
            low, high = wilson(correct, len(rows))
            figure = {"value": correct / len(rows), "low": low, "high": high, "n": len(rows), "correct": correct}
            results.append({"task": task, "formulation": formulation, "metric": metric} | figure)
    return results


def open_figures(answers: Sequence[Answer]) -> dict[str, Any]:
    """Exact match (with interval), token F1 and share of abstentions over the open questions of one model."""
    from jobs.metrics import load_metric

    predictions, references = [row.predicted for row in answers], [[row.gold] for row in answers]
    matched = load_metric("exact_match").compute(predictions=predictions, references=references)["exact_match"]
    f1 = load_metric("token_f1").compute(predictions=predictions, references=references)["token_f1"]
    low, high = wilson(sum(row.correct for row in answers), len(answers))
    return {
        "exact_match": matched,
        "low": low,
        "high": high,
        "token_f1": f1,
        "abstained": sum(abstains(text) for text in predictions) / len(answers),
        "n": len(answers),
    }


def comparisons(model: str, ours: Sequence[Answer], theirs: Sequence[Answer], seed: int) -> list[dict[str, Any]]:
    """One model against the first, paired by question, for each task and formulation."""
    found, others = [], _groups(theirs)
    for (task, formulation), rows in _groups(ours).items():
        match = {row.row_id: row for row in others[task, formulation]}
        against = [match[row.row_id] for row in rows]
        difference = paired_difference(
            [row.correct for row in rows],
            [row.correct for row in against],
            [row.document for row in rows],
            seed=seed,
        )
        values = asdict(difference)
        values["difference"] = values.pop("value")
        names = {"model": model, "against": theirs[0].model, "task": task, "formulation": formulation}
        found.append(names | {"metric": headline_metric(formulation)} | values | {"verdict": verdict(difference)})
    return found


def canaries(model: str, answers: Sequence[Answer], questions: Mapping[str, Question]) -> list[str]:
    """What looks broken rather than bad: chance, one letter always or never, ties, in each task and formulation."""
    found = []
    for (task, formulation), rows in _groups(answers).items():
        if formulation == OPEN or len(rows) < CANARY_ROWS:
            continue
        where = f"{model}, {task}, {formulation}"
        asked = [questions[row.row_id] for row in rows]
        chance = sum(1 / len(question.choices) for question in asked) / len(asked)
        correct = sum(row.correct for row in rows)
        if wilson(correct, len(rows))[0] <= chance:
            found.append(f"{where}: {correct} of {len(rows)} right is no better than chance ({chance:.1%})")
        if formulation.startswith("letter"):
            found += [f"{where}: {fault}" for fault in _letter_faults(rows, asked)]
        tied = sum(sorted(row.option_logprobs)[-1] == sorted(row.option_logprobs)[-2] for row in rows)
        if tied > TIED_SHARE * len(rows):
            found.append(f"{where}: the two likeliest options tie in {tied} of {len(rows)} questions")
    return found


def _letter_faults(rows: Sequence[Answer], asked: Sequence[Question]) -> list[str]:
    offered = Counter(label for question in asked for label in question.labels)
    given = Counter(row.predicted for row in rows)
    often = [label for label, count in offered.items() if count > len(rows) / 2]
    if len(given) == 1:
        return [f"the answer is always {next(iter(given))}"]
    return [f"the answer is never {label}" for label in often if label not in given]


def prompts_differ(answers: Mapping[str, Sequence[Answer]]) -> list[str]:
    """Models that read other token ids than the first for the same question: another tokenizer or template."""
    first, *others = answers
    known = {(row.formulation, row.row_id): row.prompt_sha256 for row in answers[first]}
    found = []
    for model in others:
        count = sum(known[row.formulation, row.row_id] != row.prompt_sha256 for row in answers[model])
        if count:
            found.append(f"{model}: {count} prompts have other token ids than {first}'s")
    return found


def _likeliest(row: Answer) -> int:
    return row.option_logprobs.index(max(row.option_logprobs))


def _groups(answers: Sequence[Answer]) -> dict[tuple[str, str], list[Answer]]:
    groups: dict[tuple[str, str], list[Answer]] = {}
    for row in answers:
        groups.setdefault((row.task, row.formulation), []).append(row)
    return groups
