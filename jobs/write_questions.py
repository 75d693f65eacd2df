# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#   "accelerate==1.15.0", "bm25s==0.3.16", "datatrove==0.10.1", "llama-cpp-python==0.3.36", "loguru==0.7.3",
#   "numpy==2.4.6", "openai==3.54.0", "packaging==26.3", "py3langid==0.4.0", "pyarrow==26.0.1", "pydantic==2.14.3",
#   "pydantic-core==2.50.4", "PyStemmer==3.1.0", "rensa==0.5.0", "rich==15.0.0", "safetensors==0.8.0", "scipy==1.17.1",
#   "torch==2.13.0", "tqdm==4.70.1", "transformers==5.23.0",
# ]
# [tool.uv]
# exclude-newer = "2026-11-23T00:00:00Z"
# [tool.hf-jobs]  # written by scripts/job_headers.py
# flavor = "cpu-upgrade"
# timeout = "12h"
# secrets = ["HF_TOKEN"]
# volumes = ["./qa:/app/qa", "./jobs:/app/jobs", "./data_cards:/app/data_cards", "./scripts:/app/scripts"]
# env.PYTHONPATH = "/app"
# env.PYTHONSAFEPATH = "1"
# env.UV_WORKING_DIR = "/app"
# env.CMAKE_ARGS = "-DLLAVA_BUILD=OFF -DCMAKE_PROJECT_llama.cpp_INCLUDE=/app/scripts/llama-core.cmake"
# env.SKBUILD_BUILD_TARGETS = "llama"
# ///

"""Write questions: passages → filtered questions with answer and evidence, whose documents were split before.

    python -m jobs.write_questions PASSAGES_DIR --out DIR [--index DIR] [--writer offline|openai|...] [--model NAME]

`DIR/questions.jsonl` holds the questions that passed every filter, `DIR/splits.json` the group and the side of the
split that each document was put on before any question was written, and `DIR/rejected.parquet` what was refused, by
which filter and why. The key of an OpenAI-compatible endpoint is read from OPENAI_API_KEY.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jobs.asker
import jobs.groups
import jobs.question_filters
import jobs.question_models
import jobs.sentences
import jobs.shingles
import jobs.similar_texts
import jobs.splits
import jobs.writers
import qa.prompts
import qa.retrieval
import qa.scoring
from jobs.arguments import path_argument
from jobs.data_config import Dataset, Scale, Writer
from jobs.documents import DocumentText
from jobs.errors import UserError, run_main
from jobs.groups import group_documents
from jobs.index_of import check_index
from jobs.lots import number
from jobs.question_figures import figures_of, report, why_none
from jobs.question_filters import filter_questions
from jobs.question_filters.round_trip import open_index
from jobs.question_models import Models
from jobs.rejections import FILE as REJECTED
from jobs.rejections import write_rejections
from jobs.splits import assign_splits
from jobs.step import CHECKPOINTS, StepRecord, source_sha256, write_json
from jobs.team import Team, one_voice, run_shared
from jobs.writer_arguments import add_writer_arguments, writer_of
from jobs.writers.offline import write_offline
from jobs.writers.written import Written
from qa.records import Passage, Question, Split, read_records, write_records

PASSAGES, DOCUMENTS, QUESTIONS, SPLIT_FILE = "passages.jsonl", "documents.jsonl", "questions.jsonl", "splits.json"
ONE_PROCESS = Scale()
SOURCES = (
    *(jobs.writers, jobs.question_filters, jobs.sentences),
    *(jobs.splits, jobs.lots, jobs.groups, jobs.shingles, jobs.similar_texts),
    *(jobs.asker, jobs.question_models, qa.prompts, qa.retrieval, qa.scoring),
)
MADE = "questions made"  # of facts or pairs, each in one form or two
SAME_ROWS = {"concurrency", "cache"}  # of the writer: whatever they are, the questions are the same


def write_questions(
    passages: Path,
    out: Path,
    *,
    writer: Writer,
    dataset: Dataset,
    seed: int,
    index: Path | None = None,
    scale: Scale = ONE_PROCESS,
) -> tuple[StepRecord, bool]:
    """Write questions from the passages of a folder that `collect` made. Raises `UserError` where none is left.

    The offline writer takes every fact that it finds; `pairs_per_passage` bounds the teachers alone. `index` is the
    folder of an index over the same passages (`UserError` for one of others); without one the filter builds its own.
    """
    if not (passages / PASSAGES).is_file():
        raise UserError(f"{passages}: no {PASSAGES} in it; make it with python -m jobs.collect")
    if writer.reader.kind == "writer" and writer.kind == "offline":
        raise UserError("writer.reader.kind: the offline writer is no model that could read; name another reader")
    split = {"salt": dataset.salt, "fractions": list(dataset.fractions)}
    code = source_sha256(*SOURCES, sys.modules[__name__])
    team = Team.current()
    models = Models(writer, team)
    return run_shared(
        team,
        "write_questions",
        out,
        arguments={"writer": writer.model_dump(mode="json", exclude=SAME_ROWS), "seed": seed, **split, "code": code},
        inputs={"passages": passages} | ({"index": index} if index else {}),
        work=_Step(passages, index, writer, dataset, seed, scale, models).lead,
        share=lambda folder: models.help_out(),
    )


@dataclass
class _Step:
    """One run: its settings, and the models that it asks."""

    source: Path
    index: Path | None
    writer: Writer
    dataset: Dataset
    seed: int
    scale: Scale
    models: Models
    usage: dict[str, Any] = field(default_factory=dict)

    def lead(self, folder: Path) -> dict[str, Any]:
        """Do the work, with the others' help where they hold the models that are asked."""
        with self.models.helped():
            return self._work(folder)

    def _work(self, folder: Path) -> dict[str, Any]:
        passages = list(read_records(self.source / PASSAGES, Passage))
        if not passages:
            raise UserError(f"{self.source / PASSAGES}: holds no passage; collect documents first")
        groups = self._groups(passages)
        splits = assign_splits(groups, self.dataset.salt, self.dataset.fractions)
        sides = {"salt": self.dataset.salt, "fractions": self.dataset.fractions, "documents": splits, "groups": groups}
        write_json(folder / SPLIT_FILE, sides)
        self._open_models(passages)
        asked = _sample(passages, self.writer.max_passages, self.seed)
        written = self._write(asked, splits, folder / CHECKPOINTS)
        made_of = written.funnel.rows[-1]["left"]
        written.funnel.turn(MADE, given=made_of, left=len(written.questions), unit="questions")
        kept = self._filtered(written, passages, folder / CHECKPOINTS)
        if not kept:
            why = why_none(written, len(asked), self.writer.kind)
            raise UserError(f"{self.source}: {why}{_left_behind(folder / CHECKPOINTS, written)}")
        write_records(folder / QUESTIONS, kept)
        write_rejections(folder / REJECTED, written.rejected)
        return figures_of(kept, written, splits) | {"groups": len(set(groups.values())), "usage": self.usage}

    def _groups(self, passages: Sequence[Passage]) -> dict[str, str]:
        """Document → group; without the documents' texts each document is its own."""
        groups = {passage.document: passage.document for passage in passages}
        if (texts := self.source / DOCUMENTS).is_file():
            groups |= group_documents(read_records(texts, DocumentText))
        return groups

    def _write(self, passages: Sequence[Passage], splits: Mapping[str, Split], folder: Path) -> Written:
        writer = self.writer
        if writer.kind == "offline":
            return write_offline(passages, splits, writer=writer, seed=self.seed, folder=folder, scale=self.scale)
        from jobs.writers.taught import write_taught

        written = write_taught(passages, self.models.teacher, writer=writer, seed=self.seed)
        self.usage["writer"] = written.usage
        return written

    def _filtered(self, written: Written, passages: Sequence[Passage], folder: Path) -> list[Question]:
        """What is left of the writer's questions; the funnel and the rejections go on where it left them."""
        asker = self.models.reader_after(self.usage.get("writer", {}))
        kept, rejected, funnel = filter_questions(
            written.questions,
            passages,
            index=self.index,
            writer=self.writer,
            asker=asker,
            folder=folder,
            scale=self.scale,
        )
        written.rejected += rejected
        written.funnel.rows += funnel.rows
        if asker:
            self.usage["writer" if self.writer.reader.kind == "writer" else "reader"] = asker.usage.figures()
        return kept

    def _open_models(self, passages: Sequence[Passage]) -> None:
        """Open all that is asked before the first is paid: what is wrong with the last would waste what others cost."""
        if self.index and self.writer.found_within:
            check_index(open_index(str(self.index)), self.index, passages)
        self.models.open()


def _left_behind(folder: Path, written: Written) -> str:
    """Keep what was refused and the funnel where no result will stand, and say where; nothing if there is nothing."""
    if not written.rejected:
        return ""
    folder.mkdir(exist_ok=True)
    write_rejections(folder / REJECTED, written.rejected)
    write_json(folder / "funnel.json", written.funnel.rows)
    return f"; all that was refused stands in {folder / REJECTED}"


def _sample(passages: Sequence[Passage], most: int | None, seed: int) -> Sequence[Passage]:
    """At most so many passages, drawn by lot over all documents and left in order."""
    if most is None or most >= len(passages):
        return passages
    drawn = sorted(passages, key=lambda passage: number(seed, "sample", passage.id))[:most]
    chosen = {passage.id for passage in drawn}
    return [passage for passage in passages if passage.id in chosen]


def main() -> None:
    """Parse the command line and write."""
    parser = argparse.ArgumentParser(prog="python -m jobs.write_questions", description=__doc__.split("\n")[0])
    parser.add_argument("passages", type=path_argument, metavar="PASSAGES_DIR", help="folder that jobs.collect made")
    parser.add_argument(
        "--out", type=path_argument, required=True, metavar="DIR", help="folder for questions.jsonl and the rest"
    )
    parser.add_argument(
        "--index", type=path_argument, metavar="DIR", help="folder that jobs.build_index made (default: a new index)"
    )
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--salt", default=Dataset().salt, help="of the split by document (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes that check questions (default: %(default)s)")
    add_writer_arguments(parser)
    given = parser.parse_args()
    if given.workers < 1:
        raise UserError("--workers: expected 1 or more")
    record, worked = write_questions(
        given.passages,
        given.out,
        writer=writer_of(given),
        dataset=Dataset(salt=given.salt),
        seed=given.seed,
        index=given.index,
        scale=Scale(workers=given.workers),
    )
    if Team.current().leads:
        report(record.figures, worked, given.out)


if __name__ == "__main__":
    run_main(one_voice(main))
