"""The whole loop: `python -m jobs.pipeline --config FILE [--documents PATH…] [--arxiv ID…] [--arc REPOSITORY]`.

documents → passages → index, questions → data set → adapter → merged → GGUF → examples, evaluation → Hub. Each step is
skipped where its folder is complete and its arguments and inputs are the same; a run that was killed goes on where it
was.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.arguments import path_argument
from jobs.config import RunConfig
from jobs.config_file import load_config
from jobs.errors import UserError, run_main
from jobs.pipeline_steps import steps
from jobs.step import STEP_FILE, StepRecord

RUNS = Path("runs")


@dataclass(frozen=True)
class Done:
    """A step of the loop that is complete: its folder, its record, and whether this call did the work."""

    name: str
    folder: Path
    record: StepRecord
    new: bool


def run_pipeline(config: RunConfig, run: Path, until: str = "") -> Iterator[Done]:
    """Do the steps in order, each yielded as it is complete. Raises `UserError` from the step that cannot go on.

    What would end a run after hours is looked for before its first step. `until` is the folder of the last step that
    is done; empty: all.
    """
    if until and until not in (folders := [folder for _, folder, _ in steps(config, run)]):
        raise UserError(f"--until {until}: no such folder of this run; its steps make {', '.join(folders)}")
    config = _pinned(config)
    if not until and not (run / "adapter" / STEP_FILE).is_file():
        from jobs.preflight import refuse_early

        refuse_early(config, run)
    for name, folder, step in steps(config, run):
        record, new = step(run / folder)
        yield Done(name, run / folder, record, new)
        if folder == until:
            return


def _pinned(config: RunConfig) -> RunConfig:
    """The configuration with the base's branch or tag replaced by its commit, so that every step has the same base."""
    if config.base.pretrain or Path(config.base.model).is_dir():
        return config
    from jobs.hub import commit_of

    commit = commit_of(config.base.model, config.base.revision)
    return config.model_copy(update={"base": config.base.model_copy(update={"revision": commit})})


def configure(options: argparse.Namespace) -> RunConfig:
    """The configuration with what the command line says on top."""
    given = {"dataset.arc": options.arc, "publish.namespace": options.namespace, "scale.workers": options.workers}
    named = {
        "paths": [str(path) for path in options.documents or ()],
        "arxiv": options.arxiv,
        "urls": options.url,
        "hub": options.hub,
    }
    values = {key: value for key, value in given.items() if value}
    if any(named.values()):  # documents named here stand for those of the file, not beside them
        values |= {f"documents.{key}": places or [] for key, places in named.items()}
    return load_config(options.config, options.set, values)


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m jobs.pipeline", description=__doc__.split("\n\n")[0])
    result.add_argument("--config", type=path_argument, required=True, help="for example jobs/configs/tiny.yaml")
    result.add_argument(
        "--documents", type=path_argument, nargs="+", metavar="PATH", help="files and folders to learn from"
    )
    result.add_argument("--arxiv", nargs="+", metavar="ID", help="papers of arXiv, or files with an id a line")
    result.add_argument("--url", nargs="+", metavar="URL", help="pages of the web, or files with an address a line")
    result.add_argument("--hub", nargs="+", metavar="REPOSITORY", help="data sets of papers on the Hub")
    result.add_argument("--arc", metavar="REPOSITORY", help="data set of ARC's schema, for example allenai/ai2_arc")
    result.add_argument("--namespace", help="user or organisation to publish under; without one nothing is published")
    result.add_argument("--run", type=path_argument, help="folder of the run (default: runs/<name>)")
    result.add_argument("--workers", type=int, help="processes that read documents and filter questions at once")
    result.add_argument("--until", default="", metavar="FOLDER", help="stop after the step that makes it: questions")
    result.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="set any value")
    result.add_argument("--dry-run", action="store_true", help="print the configuration, check, estimate, and stop")
    return result


def main() -> None:
    options = parser().parse_args()
    config = configure(options)
    run = options.run or RUNS / config.name
    if options.dry_run:
        from jobs.preflight_report import report

        raise SystemExit(report(config, run))
    from jobs.summary import announce, print_summary

    steps = []
    for done in run_pipeline(config, run, options.until):
        steps.append(done)
        announce(done.name, done.folder, done.record, done.new)
    print_summary([(done.name, done.record, done.new) for done in steps], run)


if __name__ == "__main__":
    run_main(main)
