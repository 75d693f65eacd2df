"""A run's figures in the Hub's two forms: `model-index` in a card, and `.eval_results/*.yaml` beside it.

The first names every accuracy, calibration and open score. The second feeds the leaderboards of public benchmarks, so
it holds only what was asked of a whole benchmark from the Hub: no excerpt from a folder, no draw of its questions, none
of which a row was left out or not asked, no set of our own.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, eval_result_entries_to_yaml

from jobs.arc import task_name
from jobs.card_facts import ARC, OWN, Run
from jobs.evaluation.built_tasks import OWN_TASK, RECENT, RECENT_SPLIT
from qa.artifacts import METRICS_FILE

EVAL_RESULTS = ".eval_results"
OWN_SPLITS = {OWN_TASK: "test", RECENT: RECENT_SPLIT}  # of the questions made from documents, by task
OPEN_METRICS = (
    ("exact_match", "exact match", "exact_match"),
    ("token_f1", "token F1", "f1"),
    ("rouge_l", "ROUGE-L", "rouge"),
)


def model_index(run: Run, model: str) -> list[EvalResult]:
    """One model's figures for its `model-index`, as shares from 0 to 1; none where it was not evaluated."""
    results = run.metrics["models"].get(model, {"results": []})["results"]
    return [_choice(run, model, result) for result in results] + _calibration(run, model) + _open(run, model)


def _choice(run: Run, model: str, result: dict[str, Any]) -> EvalResult:
    return EvalResult(
        task_type="multiple-choice",
        metric_type="exact_match" if result["metric"] == "exact_match" else "accuracy",
        metric_name=f"{result['task']}, {result['formulation']}, {result['metric']}",
        metric_value=result["value"],
        metric_args={key: result[key] for key in ("n", "low", "high")},
        **_asked_of(run, model, result["task"]),
    )


def _calibration(run: Run, model: str) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="multiple-choice",
            metric_type="ece",
            metric_name=f"{line['task']}, {line['formulation']}, ECE",
            metric_value=line["ece"],
            metric_args={"n": line["n"], "low": line["ece_low"], "high": line["ece_high"]},
            **_asked_of(run, model, line["task"]),
        )
        for line in run.metrics["calibration"].get(model, [])
    ]


def _open(run: Run, model: str) -> list[EvalResult]:
    scores = run.metrics["open"].get(model)
    if scores is None:
        return []
    return [
        EvalResult(
            task_type="question-answering",
            metric_type=kind,
            metric_name=f"{OWN_TASK}, open (chat), {name}",
            metric_value=scores[key],
            metric_args={"n": scores["n"]},
            **_asked_of(run, model, OWN_TASK),
        )
        for key, name, kind in OPEN_METRICS
    ]


def _asked_of(run: Run, model: str, task: str) -> dict[str, Any]:
    """The data set of a task, and under `dataset_args` what says that a model was not asked the whole of its split."""
    named, missing = _data_set(run, task), _missing(run, model, task)
    return named | {"dataset_args": named.get("dataset_args", {}) | missing} if missing else named


def _missing(run: Run, model: str, task: str) -> dict[str, int]:
    """The draw of the questions, and how many rows of the task nobody or this model was asked."""
    drawn = run.steps["evaluation"].arguments
    draw = {key: drawn[key] for key in ("limit", "seed")} if drawn.get("limit") else {}
    skipped = {row["row_id"] for row in run.metrics["skipped"].get(model, []) if row["task"] == task}
    counts = {"left_out": len(run.metrics["left_out"].get(task, [])), "skipped": len(skipped)}
    return draw | {key: count for key, count in counts.items() if count}


def _data_set(run: Run, task: str) -> dict[str, Any]:
    """The data set of a task, in the terms of a model-index.

    Our own data set has no revision yet when the cards are written; the file's hash says which questions were asked. A
    task from somebody's own file has no data set on the Hub, and goes by its name alone.
    """
    if public := run.metrics["benchmarks"].get(task):
        return _public(**public)
    configs = {task_name(config): config for config in run.steps["dataset"].arguments.get("arc_configs", [])}
    if task not in OWN_SPLITS and task not in configs:
        return {"dataset_type": task, "dataset_name": task}
    if task not in OWN_SPLITS and run.arc:  # of which a row or more was damaged or too long, so that it is no benchmark
        revision = run.steps["dataset"].figures["arc"]["revision"]
        return _public(run.arc, configs[task], "test", revision)
    config, split = (OWN, OWN_SPLITS[task]) if task in OWN_SPLITS else (ARC, "test")
    file = f"{config}/{split}.parquet"
    asked = {"file": file, "sha256": run.steps["dataset"].outputs[file]["sha256"]}
    names = {"dataset_type": run.names.dataset, "dataset_name": run.names.dataset}
    return names | {"dataset_config": config, "dataset_split": split, "dataset_args": asked}


def _public(dataset: str, config: str, split: str, revision: str) -> dict[str, str]:
    names = {"dataset_type": dataset, "dataset_name": dataset}
    return names | {"dataset_config": config, "dataset_split": split, "dataset_revision": revision}


def eval_results(run: Run, model: str, repository: str) -> dict[str, bytes]:
    """One model's `.eval_results` files by path in its repository: one for each public benchmark that was asked whole.

    A file has an entry for each formulation and metric. Benchmarks of which only some questions were drawn (`limit`),
    or a row was left out or not asked of this model, have none.
    """
    lines = run.metrics["models"].get(model, {"results": []})["results"]
    files = {}
    for task, public in run.metrics["benchmarks"].items():
        entries = [_entry(run, public, line, repository) for line in lines if line["task"] == task]
        if entries and not _missing(run, model, task):
            text = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True, width=1000)
            files[f"{EVAL_RESULTS}/{re.sub(r'[^a-z0-9]+', '_', task.lower())}.yaml"] = text.encode()
    return files


def _entry(run: Run, public: dict[str, str], line: dict[str, Any], repository: str) -> EvalResultEntry:
    step = run.steps["evaluation"]
    return EvalResultEntry(
        dataset_id=public["dataset"],
        task_id=public["config"],  # a benchmark's eval.yaml names its tasks; ARC's and MMLU's are their configurations
        value=round(100 * line["value"], 2),  # the format names no unit: percent is our choice, and `notes` says it
        dataset_revision=public["revision"],
        date=step.started,
        source_url=f"https://huggingface.co/{repository}/blob/main/{METRICS_FILE}",
        source_name="metrics.json",
        notes=_notes(line),
    )


def _notes(line: dict[str, Any]) -> str:
    """How it was asked: leaderboards mix figures that only this tells apart."""
    interval = f"95 % Wilson interval {100 * line['low']:.1f} to {100 * line['high']:.1f}"
    share = f"{line['correct']} of {line['n']} questions ({100 * line['value']:.2f} %)"
    return f"{line['formulation']}, {line['metric']}, {share}, {interval}"
