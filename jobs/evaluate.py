"""Evaluate any artefact on the same questions.

    python -m jobs.evaluate DATASET --models base=ID_OR_DIR adapter=DIR merged=DIR gguf=FILE.gguf --out DIR

Reads `research_qa/test.parquet` and `arc/test.parquet`. Multiple-choice questions are scored by the log-probability of
their options, open ones by a greedy answer. Writes one `<model>.json` each, `metrics.json` (every model against the
first, paired by question), `items.parquet` (one row for each question, model and formulation) and `accuracy.png`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

from tqdm import tqdm

from jobs.arguments import path_argument
from jobs.backends import Source, find_source, open_backend
from jobs.config import Evaluation
from jobs.errors import UserError, run_main
from jobs.evaluation_figures import (
    SCHEMA,
    canaries,
    comparisons,
    figures_of,
    headline_metric,
    is_open,
    open_figures,
    prompts_differ,
)
from jobs.evaluation_report import plot, print_report, write_items
from jobs.evaluation_rows import TestRows, read_rows
from jobs.examiner import Examiner
from jobs.progress import bar
from jobs.step import CHECKPOINTS, StepRecord, run_step, source_sha256, write_json
from qa.choices import Formulation, Template, prompt_name
from qa.headline import FIGURES, headline_lines
from qa.records import Answer, read_records, write_records

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
RESERVED = ("metrics", "step", "claim", "dataset")  # other files in the folder, and another input

Answers = dict[str, list[Answer]]  # by model


def evaluate_models(
    dataset: Path,
    models: dict[str, Path | str],
    out: Path,
    *,
    evaluation: Evaluation,
    base: Path | str | None = None,
    seed: int = 17,
) -> tuple[StepRecord, bool]:
    """Put the dataset's test questions to every model and write the report into `out`.

    The first model is what the others are compared with. `base` is what adapters are put on; without it, the model
    that their configuration names.
    """
    for name in models:
        if not _NAME.fullmatch(name) or name in RESERVED:
            raise UserError(f"--models {name}=…: a model's name is letters, digits, - and _, and not {RESERVED}")
    sources = {name: find_source(name, location, base) for name, location in models.items()}
    bases = {name: source.base for name, source in sources.items() if source.base}
    arguments = {
        "order": list(sources),  # the first is what the others are compared with
        "models": {name: source.kind if source.path else source.location for name, source in sources.items()},
        "bases": {name: "folder" if Path(base).exists() else base for name, base in bases.items()},
        "tasks": evaluation.tasks,
        "formulations": evaluation.formulations,
        "template": evaluation.template,
        "limit": evaluation.limit,
        "seed": seed,
        "code": _code(),
    }
    inputs = {"dataset": dataset} | {name: source.path for name, source in sources.items() if source.path}
    inputs |= {f"{name}.base": Path(base) for name, base in bases.items() if _is_another(base, inputs.values())}
    if not dataset.is_dir():
        raise UserError(f"{dataset}: no such folder; build the dataset first")
    rows = read_rows(dataset, evaluation, seed)
    return run_step(
        "evaluate",
        out,
        arguments=arguments,
        inputs=inputs,
        work=lambda folder: _work(folder, rows, sources, evaluation, seed),
    )


def _code() -> str:
    """Hash of what decides an answer or a figure."""
    import jobs.backends
    import jobs.evaluation_figures
    import jobs.evaluation_report
    import jobs.evaluation_rows
    import jobs.examiner
    import jobs.likelihood
    import jobs.report_plots
    import qa.choices
    import qa.engine
    import qa.headline
    import qa.llama
    import qa.prompts
    import qa.scoring
    import qa.statistics

    here = sys.modules[__name__]
    asked = (qa.prompts, qa.choices, jobs.backends, jobs.likelihood, jobs.examiner, qa.engine, qa.llama)
    counted = (jobs.evaluation_rows, jobs.evaluation_figures, qa.scoring, qa.statistics, qa.headline)
    return source_sha256(here, *asked, *counted, jobs.evaluation_report, jobs.report_plots)


def _is_another(base: str, inputs: Iterable[Path]) -> bool:
    """Whether an adapter's base is a folder that is not among the inputs already."""
    return Path(base).exists() and Path(base).resolve() not in {path.resolve() for path in inputs}


def _work(
    folder: Path, rows: TestRows, sources: dict[str, Source], evaluation: Evaluation, seed: int
) -> dict[str, Any]:
    total = len(sources) * (len(rows.choice) * len(evaluation.formulations) + len(rows.open))
    checkpoints = folder / CHECKPOINTS
    checkpoints.mkdir(exist_ok=True)
    with bar(total, "evaluate", unit="answer") as moved:
        answers = {name: _ask(name, source, checkpoints, rows, evaluation, moved) for name, source in sources.items()}
    metrics = _metrics(answers, rows, evaluation, seed)
    for name, source in sources.items():
        record = {"schema": SCHEMA, "model": name, "kind": source.kind, "source": Path(source.location).name}
        write_json(folder / f"{name}.json", record | metrics["models"][name] | {"open": metrics["open"].get(name)})
    write_json(folder / "metrics.json", metrics)
    write_items(folder / "items.parquet", [row for model in answers.values() for row in model])
    plot(folder / "accuracy.png", metrics, rows)
    return _summary(metrics, rows, answers)


def _ask(
    name: str, source: Source, checkpoints: Path, rows: TestRows, evaluation: Evaluation, moved: tqdm
) -> list[Answer]:
    """All answers of one model; those that an earlier, killed run has finished are read back."""
    files = {part: checkpoints / f"{name}.{part}.jsonl" for part in (*evaluation.formulations, "open")}
    missing = [part for part, path in files.items() if not path.is_file()]
    moved.update(sum(len(rows.open if part == "open" else rows.choice) for part in files if part not in missing))
    if missing:
        moved.set_postfix_str(name, refresh=False)
        with closing(open_backend(name, source, batch_tokens=evaluation.batch_tokens)) as backend:
            examiner = Examiner(name, backend, evaluation, moved.update)
            for part in missing:
                answers = examiner.open(rows.open) if part == "open" else examiner.choices(rows.choice, part)
                write_records(files[part], answers)
    return [answer for path in files.values() for answer in read_records(path, Answer)]


def _metrics(answers: Answers, rows: TestRows, evaluation: Evaluation, seed: int) -> dict[str, Any]:
    questions = {question.id: question for question in (*rows.choice, *rows.open)}
    first, *others = answers
    choice = {name: [row for row in given if not is_open(row)] for name, given in answers.items()}
    free = {name: [row for row in given if is_open(row)] for name, given in answers.items()}
    formulation = prompt_name(evaluation.formulations[0], evaluation.template)
    task = rows.choice[0].task
    warnings = [fault for name in answers for fault in canaries(name, choice[name], questions)]
    return {
        "schema": SCHEMA,
        "order": list(answers),
        "headline": {"task": task, "formulation": formulation, "metric": headline_metric(formulation)},
        "models": {name: {"results": figures_of(choice[name], questions)} for name in answers},
        "open": {name: open_figures(free[name]) for name in answers if free[name]},
        "comparisons": [line for name in others for line in comparisons(name, answers[name], answers[first], seed)],
        "absent_tasks": list(rows.absent),
        "warnings": [*prompts_differ(answers), *warnings],
    }


def _summary(metrics: dict[str, Any], rows: TestRows, answers: Answers) -> dict[str, Any]:
    """The figures of `step.json`: the headline of every model, counts, seconds, warnings."""
    lines = headline_lines(metrics)
    return {
        "order": list(answers),
        "headline": metrics["headline"],
        "models": {line.model: {key: getattr(line, key) for key in FIGURES} for line in lines},
        "verdicts": {line.model: line.verdict for line in lines if line.verdict},
        "choice_questions": len(rows.choice),
        "open_questions": len(rows.open),
        "absent_tasks": metrics["absent_tasks"],
        "answer_seconds": {name: round(sum(row.seconds for row in given), 3) for name, given in answers.items()},
        "warnings": metrics["warnings"],
    }


def _pair(text: str) -> tuple[str, str]:
    name, equals, location = text.partition("=")
    if not (name and equals and location):
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=FOLDER, NAME=FILE.gguf or NAME=REPOSITORY")
    return name, location


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", type=path_argument, help="folder that build_dataset made")
    parser.add_argument(
        "--models", type=_pair, nargs="+", required=True, metavar="NAME=PLACE", help="the first is base"
    )
    parser.add_argument("--out", type=path_argument, required=True)
    parser.add_argument("--base", help="what adapters are put on (default: what their configuration names)")
    parser.add_argument("--tasks", type=_list, help="for example research,arc_challenge (default: those there are)")
    parser.add_argument("--formulations", type=_list, help=f"of {', '.join(get_args(Formulation))}; the first leads")
    parser.add_argument("--template", choices=get_args(Template))
    parser.add_argument("--limit", type=int, help="questions of each task")
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    names = [name for name, _ in options.models]
    if twice := [name for name in names if names.count(name) > 1]:
        parser.error(f"--models: {twice[0]} is named twice")
    keys = ("tasks", "formulations", "template", "limit")
    given = {key: value for key in keys if (value := getattr(options, key)) is not None}
    unknown = set(given.get("formulations", ())) - set(get_args(Formulation))
    if unknown or (options.limit is not None and options.limit < 1):
        parser.error(f"--formulations {', '.join(sorted(unknown))}: unknown" if unknown else "--limit: at least 1")
    record, new = evaluate_models(
        options.dataset,
        dict(options.models),
        options.out,
        evaluation=Evaluation(**given),
        base=options.base,
        seed=options.seed,
    )
    print_report(record, options.out, new)


if __name__ == "__main__":
    run_main(main)
