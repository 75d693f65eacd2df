# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#   "accelerate==1.15.0", "bitsandbytes==0.50.2", "bm25s==0.3.16", "datasets==5.2.0", "datatrove==0.10.1",
#   "docutils==0.23", "evaluate==0.4.6", "gguf==0.19.0", "httpx2==2.16.2", "huggingface-hub==2.4.0", "Jinja2==3.1.6",
#   "llama-cpp-python==0.3.36", "loguru==0.7.3", "lxml==6.1.3", "markdown-it-py==4.3.0", "matplotlib==3.11.2",
#   "mdit-py-plugins==0.7.0", "numpy==2.4.6", "openai==3.54.0", "packaging==26.3", "peft==0.21.2", "pip==26.3",
#   "protego==0.7.0", "py3langid==0.4.0", "pyarrow==26.0.1", "pydantic==2.14.3", "pydantic-core==2.50.4",
#   "pylatexenc==2.11", "pypdfium2==5.15.2", "PyStemmer==3.1.0", "PyYAML==6.0.3", "rensa==0.5.0", "rich==15.0.0",
#   "rouge-score==0.1.2", "safetensors==0.8.0", "scipy==1.17.1", "torch==2.13.0", "tqdm==4.70.1", "trackio==0.43.0",
#   "trafilatura==2.3.1", "transformers==5.23.0", "trl==1.16.0",
# ]
# [tool.uv]
# exclude-newer = "2026-11-23T00:00:00Z"
# [tool.hf-jobs]  # written by scripts/job_headers.py
# flavor = "l40sx1"
# timeout = "24h"
# secrets = ["HF_TOKEN"]
# volumes = ["./qa:/app/qa", "./jobs:/app/jobs", "./data_cards:/app/data_cards", "./scripts:/app/scripts"]
# env.PYTHONPATH = "/app"
# env.PYTHONSAFEPATH = "1"
# env.UV_WORKING_DIR = "/app"
# env.CMAKE_ARGS = "-DLLAVA_BUILD=OFF -DCMAKE_PROJECT_llama.cpp_INCLUDE=/app/scripts/llama-core.cmake"
# env.SKBUILD_BUILD_TARGETS = "llama"
# ///

"""The whole loop: `python -m jobs.pipeline --config FILE [--documents PATH…] [--arxiv ID…] [--arc REPOSITORY]`.

documents → passages → index, questions → data set → adapter → merged → GGUF → examples, evaluation → Hub. Each step is
skipped where its folder is complete and its arguments and inputs are the same; a run that was killed goes on where it
was. Under `accelerate launch --config_file jobs/configs/accelerate/eight_gpus.yaml -m jobs.pipeline …` all processes
share the writing of questions by a local model, the training and the evaluation; while the first does the other steps,
the rest wait.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.arguments import path_argument
from jobs.config import Base, RunConfig
from jobs.config_file import load_config
from jobs.errors import UserError, run_main
from jobs.pipeline_steps import steps
from jobs.step import STEP_FILE, StepRecord, write_json
from jobs.team import Team, one_voice

RUNS = Path("runs")
COMMIT = re.compile("[0-9a-f]{40}")
BASE = "base.json"  # in a run's folder: with which commit of its base the run began
SHARED = ("questions", "adapter", "evaluation")  # folders of the steps in which every process of a team has its share


@dataclass(frozen=True)
class Done:
    """A step of the loop that is complete: its folder, its record, and whether this call did the work."""

    name: str
    folder: Path
    record: StepRecord
    new: bool


def run_pipeline(config: RunConfig, run: Path, until: str = "") -> Iterator[Done]:
    """Do the steps in order, each yielded as it is complete. Raises `UserError` from the step that cannot go on.

    Of a team's processes the leader alone yields them.
    What would end a run after hours is looked for before its first step. `until` is the folder of the last step that
    is done; empty: all.
    """
    if until and until not in (folders := [folder for _, folder, _ in steps(config, run)]):
        raise UserError(f"--until {until}: no such folder of this run; its steps make {', '.join(folders)}")
    team = Team.current()
    asked, config = config.base, _pinned(config, run, team)
    if team.leads and not until and not (run / "adapter" / STEP_FILE).is_file():
        from jobs.preflight import refuse_early

        refuse_early(config, run)
    if team.leads and asked != config.base:
        _remember(run, asked, config.base.revision)
    for name, folder, step in steps(config, run):
        if team.leads or folder in SHARED:
            record, new = step(run / folder)
        team.wait()
        if team.leads:
            yield Done(name, run / folder, record, new)
        if folder == until:
            return


def _pinned(config: RunConfig, run: Path, team: Team) -> RunConfig:
    """The configuration with the base's branch or tag replaced by its commit, so that every step has the same base."""
    if config.base.pretrain or Path(config.base.model).is_dir():
        return config
    commit = team.tell(_commit(config.base, run) if team.leads else "")
    return config.model_copy(update={"base": config.base.model_copy(update={"revision": commit})})


def _commit(base: Base, run: Path) -> str:
    """The commit that this run began with, or else that of now: a push to the base in between is not another run."""
    from jobs.hub import commit_of

    known = _known(run)
    if (known.get("model"), known.get("revision")) == (base.model, base.revision):
        return known["commit"]
    return base.revision if COMMIT.fullmatch(base.revision) else commit_of(base.model, base.revision)


def _known(run: Path) -> dict[str, str]:
    try:
        return json.loads((run / BASE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{run / BASE}: cannot be read ({error}); delete it and start again") from None


def _remember(run: Path, asked: Base, commit: str) -> None:
    base = {"model": asked.model, "revision": asked.revision, "commit": commit}
    if _known(run) != base:
        run.mkdir(parents=True, exist_ok=True)
        write_json(run / BASE, base)


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
    if steps:
        print_summary([(done.name, done.record, done.new) for done in steps], run)


if __name__ == "__main__":
    run_main(one_voice(main))
