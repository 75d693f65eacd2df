# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#   "accelerate==1.15.0", "bm25s==0.3.16", "datasets==5.2.0", "evaluate==0.4.6", "httpx2==2.16.2",
#   "huggingface-hub==2.4.0", "Jinja2==3.1.6", "llama-cpp-python==0.3.36", "matplotlib==3.11.2", "numpy==2.4.6",
#   "openai==3.54.0", "packaging==26.3", "peft==0.21.2", "py3langid==0.4.0", "pyarrow==26.0.1", "pydantic==2.14.3",
#   "pydantic-core==2.50.4", "PyStemmer==3.1.0", "PyYAML==6.0.3", "rouge-score==0.1.2", "safetensors==0.8.0",
#   "torch==2.13.0", "tqdm==4.70.1", "transformers==5.23.0",
# ]
# [tool.uv]
# exclude-newer = "2026-11-23T00:00:00Z"
# [tool.hf-jobs]  # written by scripts/job_headers.py
# flavor = "l40sx1"
# timeout = "12h"
# secrets = ["HF_TOKEN"]
# volumes = ["./qa:/app/qa", "./jobs:/app/jobs", "./data_cards:/app/data_cards", "./scripts:/app/scripts"]
# env.PYTHONPATH = "/app"
# env.PYTHONSAFEPATH = "1"
# env.UV_WORKING_DIR = "/app"
# env.CMAKE_ARGS = "-DLLAVA_BUILD=OFF -DCMAKE_PROJECT_llama.cpp_INCLUDE=/app/scripts/llama-core.cmake"
# env.SKBUILD_BUILD_TARGETS = "llama"
# ///

"""Evaluate any models on the same questions, and say what is significant.

    python -m jobs.evaluate MODEL… --tasks arc_challenge,arc_easy --formulation cloze,letter --out DIR

MODEL is a repository on the Hub, a folder, an adapter's folder or a GGUF file, optionally as NAME=PLACE; the first is
what the others are compared with. A task is one of the data set's (`--dataset`), arc_challenge, arc_easy, mmlu:SUBJECT,
or a Parquet or JSON Lines file in ARC's schema. Multiple-choice questions are scored by the log-probability of their
options, open ones by a greedy answer. Writes `report.md` with its pictures, `metrics.json` (every model against the
first, paired by question), `items.parquet` (a row for each question, model and formulation) and one `<model>.json`
each. Killed, it goes on at the row where it was; `accelerate launch` or `torchrun` shares the rows between processes.
All of it: docs/evaluation.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jobs.arc
import jobs.evaluation
import jobs.metrics
import qa
from jobs.config import Evaluation
from jobs.errors import run_main
from jobs.evaluation.examination import Examination, Rows, ask_all, collect_rows
from jobs.evaluation.figures import SCHEMA, metrics_of
from jobs.evaluation.judge import check_judge, judge_answers, shown_name
from jobs.evaluation.options import check_names, parse_options
from jobs.evaluation.plan import plan
from jobs.evaluation.report import plot, print_report, write_items, write_report
from jobs.evaluation.sources import find_source
from jobs.evaluation.tasks import load_tasks
from jobs.step import StepRecord, source_sha256, write_json
from jobs.team import Team, one_voice, run_shared
from qa.headline import FIGURES, headline_lines


def evaluate_models(
    dataset: Path | str | None,
    models: dict[str, Path | str],
    out: Path,
    *,
    evaluation: Evaluation,
    base: Path | str | None = None,
    seed: int = 17,
    passages: Path | None = None,
) -> tuple[StepRecord, bool]:
    """Put the test questions to every model and write the report into `out`.

    The first model is what the others are compared with. `dataset` is a folder that build_dataset made, or a repository
    of such a data set; `base` is what adapters are put on, without it the model that their configuration names;
    `passages` is the folder that collect made, for questions with sources.
    """
    check_names(models)
    sources = {name: find_source(name, location, base) for name, location in models.items()}
    tasks = load_tasks(evaluation, dataset, seed)
    tasks, parts = plan(tasks, evaluation, passages, seed, models=len(models))
    exam, team = Examination(sources, tasks, parts, evaluation, seed), Team.current()

    def share(folder: Path) -> None:
        ask_all(folder, exam, team)
        team.wait()  # the others' rows are on the disk

    def work(folder: Path) -> dict[str, Any]:
        return _work(folder, exam, team, share)

    arguments, inputs = _arguments(exam), _inputs(exam, passages)
    return run_shared(team, "evaluate", out, arguments=arguments, inputs=inputs, work=work, share=share)


def _arguments(exam: Examination) -> dict[str, Any]:
    """What decides the result, beside the inputs; places on this machine stay out of it."""
    bases = {name: source.base for name, source in exam.sources.items() if source.base}
    settings = exam.evaluation.model_dump(mode="json", exclude={"tasks", "judge"})
    judge = exam.evaluation.judge
    return settings | {
        "judge": {"model": shown_name(judge), "limit": judge.limit} if judge.endpoint else None,
        "order": list(exam.sources),
        "models": {name: source.kind if source.path else source.shown for name, source in exam.sources.items()},
        "bases": {name: "folder" if Path(base).exists() else base for name, base in bases.items()},
        "tasks": [[task.name, task.origin] for task in exam.tasks.tasks],  # in order: the first leads
        "seed": exam.seed,
        "code": _code(),
    }


def _inputs(exam: Examination, passages: Path | None) -> dict[str, Path]:
    inputs = exam.tasks.inputs | {name: source.path for name, source in exam.sources.items() if source.path}
    bases = {name: source.base for name, source in exam.sources.items() if source.base}
    inputs |= {f"{name}.base": Path(base) for name, base in bases.items() if _is_another(base, inputs.values())}
    return inputs | ({"passages": passages} if passages and exam.evaluation.sources else {})


def _is_another(base: str, inputs: Iterable[Path]) -> bool:
    """Whether an adapter's base is a folder that is not among the inputs already."""
    return Path(base).exists() and Path(base).resolve() not in {path.resolve() for path in inputs}


def _code() -> str:
    """Hash of what decides an answer or a figure."""
    return source_sha256(sys.modules[__name__], jobs.evaluation, jobs.metrics, jobs.arc, qa)


def _work(folder: Path, exam: Examination, team: Team, ask: Callable[[Path], None]) -> dict[str, Any]:
    if exam.evaluation.judge.endpoint:
        check_judge(exam.evaluation.judge)  # before the models are asked, not hours later
    ask(folder)
    asked, rotated, skipped = collect_rows(folder, exam)
    first = exam.parts[0]
    metrics = metrics_of(
        asked, rotated, exam.tasks.tasks, skipped, headline=(first.task, first.formulation), seed=exam.seed
    )
    metrics["absent_tasks"] = list(exam.tasks.absent)
    metrics["benchmarks"] = {task.name: asdict(task.benchmark) for task in exam.tasks.tasks if task.benchmark}
    if exam.evaluation.judge.endpoint:
        metrics["judge"] = _judge(folder, exam, asked)
    _write(folder, exam, metrics, asked, rotated)
    return _summary(metrics, exam) | {"processes": team.world}


def _judge(folder: Path, exam: Examination, asked: Rows) -> list[dict[str, Any]]:
    """Every model's open answers beside the first's, by the judge; its own words stay in `judge.jsonl`."""
    first, *others = asked
    questions = [question for task in exam.tasks.tasks for question in task.open]
    journal = folder / "judge.jsonl"
    return [judge_answers(exam.evaluation.judge, questions, asked[name], asked[first], journal) for name in others]


def _write(folder: Path, exam: Examination, metrics: dict[str, Any], asked: Rows, rotated: Rows) -> None:
    for name, source in exam.sources.items():
        record = {"schema": SCHEMA, "model": name, "kind": source.kind, "source": source.shown}
        write_json(folder / f"{name}.json", record | metrics["models"][name] | {"open": metrics["open"].get(name)})
    write_json(folder / "metrics.json", metrics)
    write_items(folder / "items.parquet", [row for rows in asked.values() for row in rows])
    if any(rotated.values()):
        write_items(folder / "rotated.parquet", [row for rows in rotated.values() for row in rows])
    plot(folder, metrics, exam.tasks.tasks)
    write_report(folder, metrics, asked, exam.tasks.tasks, _about(exam))


def _about(exam: Examination) -> dict[str, Any]:
    """The settings that the report names."""
    kept = ("template", "shots", "limit", "rotations", "sources", "dtype", "batch_tokens")
    places = {name: f"{source.shown} ({source.kind})" for name, source in exam.sources.items()}
    settings = {key: getattr(exam.evaluation, key) for key in kept}
    return {"models": places, "seed": exam.seed, "settings": settings}


def _summary(metrics: dict[str, Any], exam: Examination) -> dict[str, Any]:
    """The figures of `step.json`: the headline of every model, counts, seconds, warnings."""
    lines = headline_lines(metrics)
    return {
        "order": metrics["order"],
        "headline": metrics["headline"],
        "models": {line.model: {key: getattr(line, key) for key in FIGURES} for line in lines},
        "verdicts": {line.model: line.verdict for line in lines if line.verdict},
        "choice_questions": sum(len(task.choice) for task in exam.tasks.tasks),
        "open_questions": sum(len(task.open) for task in exam.tasks.tasks),
        "left_out": {task.name: len(task.left_out) for task in exam.tasks.tasks if task.left_out},
        "skipped": {name: len(rows) for name, rows in metrics["skipped"].items() if rows},
        "absent_tasks": metrics["absent_tasks"],
        "warnings": metrics["warnings"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    given = parse_options(__doc__ or "", arguments)
    record, new = evaluate_models(**given)
    if Team.current().leads:
        print_report(record, given["out"], new)


if __name__ == "__main__":
    run_main(one_voice(main))
