"""The whole loop: `python -m jobs.pipeline --config FILE [--documents PATH…] [--arc REPOSITORY]`.

documents → passages → index, questions → data set → adapter → merged → GGUF → evaluation → Hub. Each step is skipped
where its folder is complete and its arguments and inputs are the same; a run that was killed goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.arguments import path_argument
from jobs.config import RunConfig
from jobs.config_file import load_config
from jobs.errors import UserError, run_main
from jobs.step import STEP_FILE, StepRecord

if TYPE_CHECKING:
    from qa.artifacts import Repositories

Outcome = tuple[StepRecord, bool]
RUNS = Path("runs")


@dataclass(frozen=True)
class Done:
    """A step of the loop that is complete: its folder, its record, and whether this call did the work."""

    name: str
    folder: Path
    record: StepRecord
    new: bool


def run_pipeline(config: RunConfig, run: Path) -> Iterator[Done]:
    """Do the steps in order, each yielded as it is complete. Raises `UserError` from the step that cannot go on.

    What would end a run after hours is looked for before its first step.
    """
    config = _pinned(config)
    if not (run / "adapter" / STEP_FILE).is_file():
        from jobs.preflight import refuse_early

        refuse_early(config, run)
    for name, folder, step in _steps(config, run):
        record, new = step(run / folder)
        yield Done(name, run / folder, record, new)


def _steps(config: RunConfig, run: Path) -> Iterator[tuple[str, str, Any]]:
    """(name, folder, function of the output folder) of every step of this configuration."""
    base = str(run / "base") if config.base.pretrain else config.base.model
    yield "collect", "passages", lambda out: _collect(config, out)
    yield "build index", "index", lambda out: _build_index(run, out)
    yield "write questions", "questions", lambda out: _write_questions(config, run, out)
    if config.base.pretrain:
        yield "pretrain base", "base", lambda out: _pretrain(config, run, out)
    yield "build data set", "dataset", lambda out: _build_dataset(config, run, base, out)
    yield "train adapter", "adapter", lambda out: _train(config, run, base, out)
    yield "merge", "merged", lambda out: _merge(config, run, base, out)
    yield "export", "gguf", lambda out: _export(config, run, out)
    yield "export base", "base_gguf", lambda out: _export_base(config, base, out)
    yield "evaluate", "evaluation", lambda out: _evaluate(config, run, base, out)
    if config.publish.namespace:
        yield "publish", "cards", lambda out: _publish(config, run)


def _collect(config: RunConfig, out: Path) -> Outcome:
    from jobs.collect import collect

    if not config.documents.paths:
        raise UserError("no documents: name files or folders with --documents, or under documents.paths")
    return collect([Path(path) for path in config.documents.paths], out, documents=config.documents)


def _build_index(run: Path, out: Path) -> Outcome:
    from jobs.build_index import build_index

    return build_index(run / "passages", out)


def _write_questions(config: RunConfig, run: Path, out: Path) -> Outcome:
    from jobs.write_questions import write_questions

    return write_questions(run / "passages", out, writer=config.writer, dataset=config.dataset, seed=config.seed)


def _pretrain(config: RunConfig, run: Path, out: Path) -> Outcome:
    from jobs.build_dataset import check_sides
    from jobs.pretrain import pretrain

    check_sides(run / "questions", config.dataset)  # before the minutes of work that a data set needs first

    return pretrain(run / "passages", out, shape=config.base.pretrain, seed=config.seed)


def _build_dataset(config: RunConfig, run: Path, base: str, out: Path) -> Outcome:
    from jobs.build_dataset import build_dataset

    return build_dataset(run / "questions", out, tokenizer=base, revision=config.base.revision, dataset=config.dataset)


def _train(config: RunConfig, run: Path, base: str, out: Path) -> Outcome:
    from jobs.train import train

    return train(
        run / "dataset",
        out,
        base=base,
        revision=config.base.revision,
        settings=config.train,
        max_length=config.dataset.max_length,
        seed=config.seed,
    )


def _merge(config: RunConfig, run: Path, base: str, out: Path) -> Outcome:
    from jobs.merge import merge

    return merge(base, run / "adapter", out, revision=config.base.revision)


def _export(config: RunConfig, run: Path, out: Path) -> Outcome:
    from jobs.export import export
    from jobs.gguf_export.writer import Provenance

    names = _repositories(config)
    provenance = Provenance(
        config.publish.name,
        licence=_licence(config),
        base_model=(names.base if names else "") if config.base.pretrain else config.base.model,
        datasets=(names.dataset,) if names else (),
    )
    return export(run / "merged", out, types=config.export.types, provenance=provenance)


def _export_base(config: RunConfig, base: str, out: Path) -> Outcome:
    """The base by the same quantiser: what the page compares with, whatever others have published of it."""
    from jobs.export import export
    from jobs.gguf_export.writer import Provenance
    from jobs.merge import base_folder

    origin = "" if config.base.pretrain else config.base.model
    provenance = Provenance(f"{config.publish.name}-base", licence=_licence(config), base_model=origin)
    folder = base_folder(base, config.base.revision)
    return export(folder, out, types=(config.export.served,), provenance=provenance)


def _licence(config: RunConfig) -> str:
    """The base's own licence; the documents' licences of a base that was made from them are in its card."""
    if config.base.pretrain or Path(config.base.model).is_dir():
        return ""
    from jobs.licences import base_licence

    return base_licence(config.base.model, config.base.revision).words


def _repositories(config: RunConfig) -> Repositories | None:
    from qa.artifacts import Repositories

    return Repositories(config.publish.namespace, config.publish.name) if config.publish.namespace else None


def _evaluate(config: RunConfig, run: Path, base: str, out: Path) -> Outcome:
    from jobs.evaluate import evaluate_models

    base = base if config.base.pretrain else f"{base}@{config.base.revision}"
    models: dict[str, Path | str] = {
        "base": base,
        "adapter": run / "adapter",
        "merged": run / "merged",
        "gguf": run / "gguf" / f"{config.publish.name}-{config.export.served}.gguf",
    }
    return evaluate_models(
        run / "dataset",
        models,
        out,
        evaluation=config.evaluation,
        base=base,
        seed=config.seed,
        passages=run / "passages",
    )


def _publish(config: RunConfig, run: Path) -> Outcome:
    from jobs.publish import publish

    names = config.publish
    return publish(run, namespace=names.namespace, name=names.name, private=names.private)


def _pinned(config: RunConfig) -> RunConfig:
    """The configuration with the base's branch or tag replaced by its commit, so that every step has the same base."""
    if config.base.pretrain or Path(config.base.model).is_dir():
        return config
    from jobs.hub import commit_of

    commit = commit_of(config.base.model, config.base.revision)
    return config.model_copy(update={"base": config.base.model_copy(update={"revision": commit})})


def configure(options: argparse.Namespace) -> RunConfig:
    """The configuration with what the command line says on top."""
    given = {
        "documents.paths": [str(path) for path in options.documents or ()],
        "dataset.arc": options.arc,
        "publish.namespace": options.namespace,
    }
    return load_config(options.config, options.set, {key: value for key, value in given.items() if value})


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m jobs.pipeline", description=__doc__.split("\n\n")[0])
    result.add_argument("--config", type=path_argument, required=True, help="for example jobs/configs/tiny.yaml")
    result.add_argument(
        "--documents", type=path_argument, nargs="+", metavar="PATH", help="files and folders to learn from"
    )
    result.add_argument("--arc", metavar="REPOSITORY", help="data set of ARC's schema, for example allenai/ai2_arc")
    result.add_argument("--namespace", help="user or organisation to publish under; without one nothing is published")
    result.add_argument("--run", type=path_argument, help="folder of the run (default: runs/<name>)")
    result.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="set any value")
    result.add_argument("--dry-run", action="store_true", help="print the configuration, check, estimate, and stop")
    return result


def main() -> None:
    options = parser().parse_args()
    config = configure(options)
    run = options.run or RUNS / config.name
    if options.dry_run:
        from jobs.preflight import report

        raise SystemExit(report(config, run))
    from jobs.summary import announce, print_summary

    steps = []
    for done in run_pipeline(config, run):
        steps.append(done)
        announce(done.name, done.folder, done.record, done.new)
    print_summary([(done.name, done.record, done.new) for done in steps], run)


if __name__ == "__main__":
    run_main(main)
