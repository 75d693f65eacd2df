# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#   "datasets==5.2.0", "gguf==0.19.0", "httpx2==2.16.2", "huggingface-hub==2.4.0", "llama-cpp-python==0.3.36",
#   "matplotlib==3.11.2", "numpy==2.4.6", "packaging==26.3", "peft==0.21.2", "py3langid==0.4.0", "pyarrow==26.0.1",
#   "pydantic==2.14.3", "pydantic-core==2.50.4", "PyYAML==6.0.3", "rich==15.0.0", "safetensors==0.8.0", "torch==2.13.0",
#   "tqdm==4.70.1", "transformers==5.23.0",
# ]
# [tool.uv]
# exclude-newer = "2026-11-23T00:00:00Z"
# [tool.hf-jobs]  # written by scripts/job_headers.py
# flavor = "cpu-xl"
# timeout = "12h"
# secrets = ["HF_TOKEN"]
# volumes = ["./qa:/app/qa", "./jobs:/app/jobs", "./data_cards:/app/data_cards", "./scripts:/app/scripts"]
# env.PYTHONPATH = "/app"
# env.PYTHONSAFEPATH = "1"
# env.UV_WORKING_DIR = "/app"
# env.CMAKE_ARGS = "-DLLAVA_BUILD=OFF -DCMAKE_PROJECT_llama.cpp_INCLUDE=/app/scripts/llama-core.cmake"
# env.SKBUILD_BUILD_TARGETS = "llama"
# ///

"""What each type of a GGUF costs and keeps: `python -m jobs.ladder GGUF --dataset DIR --passages DIR --out DIR`.

GGUF is a folder that export made, with an F16 or BF16 file. Each type is quantised from that, without and with the
folder's importance matrix (a published file is taken where it is that), measured beside it and deleted again: size,
bits a weight, KL divergence, top-1 agreement and perplexity on held-out text (jobs/gguf_ladder/held_out.py says which),
accuracy on multiple-choice test questions with the paired difference, tokens per second here. Writes `ladder.json` and
`ladder.png`. Killed, it goes on at the row where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from jobs.arguments import path_argument
from jobs.config import Ladder as Settings
from jobs.disk import check_room
from jobs.errors import UserError, run_main
from jobs.gguf_export.quantizer import QUANTISED, quantize
from jobs.gguf_ladder.plan import Exported, Rung
from jobs.gguf_ladder.table import label_of, ladder_table
from jobs.progress import bar
from jobs.step import CHECKPOINTS, StepRecord, run_step, source_sha256, write_json
from qa.choices import Formulation

if TYPE_CHECKING:
    from jobs.gguf_ladder.rows import Exam

TOKENS, QUESTIONS = Settings().tokens, Settings().questions
LARGEST = 0.6  # of the F16 file's bytes: Q8_0 has 8.5 bits a weight, and vocabulary and norms stay as they are
SCHEMA = 1


def ladder(
    gguf: Path,
    dataset: Path,
    out: Path,
    *,
    types: tuple[str, ...] = tuple(QUANTISED),
    tokens: int = TOKENS,
    questions: int = QUESTIONS,
    seed: int = 17,
    passages: Path | None = None,
    formulation: Formulation = "letter",
) -> tuple[StepRecord, bool]:
    """Measure every type of the model in `gguf` on the test split of `dataset`, and write `ladder.json` into `out`.

    `tokens` are predicted in the held-out text, half of them in `passages` (a folder that collect made) where that is
    given; at most so many multiple-choice `questions` are asked. Raises `UserError` for an unknown type, a folder that
    export did not make or without a file to compare with, a data set without test rows, too little disk.
    """
    _check_types(types)
    if not dataset.is_dir():
        raise UserError(f"{dataset}: no such folder; name one that build_dataset made")
    work = _Work(Exported.read(gguf), dataset, passages, types, tokens, questions, seed, formulation)
    arguments = {"types": types, "tokens": tokens, "questions": questions, "seed": seed, "formulation": formulation}
    inputs = {"gguf": gguf, "dataset": dataset} | ({"passages": passages} if passages else {})
    return run_step("ladder", out, arguments=arguments | {"code": _code()}, inputs=inputs, work=work.into)


def _check_types(types: Sequence[str]) -> None:
    if unknown := next((kind for kind in types if kind not in QUANTISED), None):
        raise UserError(f"--types {unknown}: unknown; known are {', '.join(QUANTISED)}")
    if not types:
        raise UserError(f"--types: name at least one of {', '.join(QUANTISED)}")


def _code() -> str:
    """Hash of what decides a figure; the table and the plot are not among it, and hours need not be spent for them."""
    import jobs.rows
    import qa
    from jobs.evaluation import backends, built_tasks, task_rows
    from jobs.gguf_export import quantizer, reference
    from jobs.gguf_ladder import divergence, held_out, plan, rows, speed

    measured = divergence, plan, rows, quantizer, speed, backends
    asked = held_out, reference, jobs.rows, built_tasks, task_rows
    return source_sha256(sys.modules[__name__], *measured, *asked, qa)


@dataclass(frozen=True)
class _Work:
    exported: Exported
    dataset: Path
    passages: Path | None
    types: tuple[str, ...]
    tokens: int
    questions: int
    seed: int
    formulation: Formulation

    def into(self, folder: Path) -> dict[str, Any]:
        """Measure the rows that are not under `checkpoints/` yet, and write what all of them say."""
        from jobs.gguf_ladder.plot import plot_ladder
        from jobs.gguf_ladder.rows import compared

        check_room(folder, int(LARGEST * self.exported.source.stat().st_size), "the largest quantised file")
        exam = self._exam()
        rows = compared(list(self._rows(folder / CHECKPOINTS, exam)), exam)
        found = self._about(exam) | {"schema": SCHEMA, "rows": rows}
        write_json(folder / "ladder.json", found)
        plot_ladder(found, folder / "ladder.png")
        return {"kld": {label_of(row): row["divergence"]["kld"] for row in rows}, "rows": len(rows)}

    def _exam(self) -> Exam:
        from jobs.gguf_ladder.divergence import opened
        from jobs.gguf_ladder.held_out import read_held_out
        from jobs.gguf_ladder.rows import Exam

        with opened(self.exported.source, 1) as context:
            held_out = read_held_out(
                self.dataset,
                self.passages,
                context.model.encoder,
                tokens=self.tokens,
                questions=self.questions,
                seed=self.seed,
            )
        return Exam(self.exported.source, held_out, self.formulation, self.seed)

    def _rows(self, checkpoints: Path, exam: Exam) -> Iterator[dict[str, Any]]:
        rungs = self.exported.rungs(self.types)
        checkpoints.mkdir(exist_ok=True)
        with bar(len(rungs), "ladder", unit="row") as shown:
            for rung in rungs:
                path = checkpoints / f"{rung.name}.json"
                if not path.is_file():
                    write_json(path, self._row(rung, checkpoints, exam))
                yield json.loads(path.read_text(encoding="utf-8"))
                shown.update()

    def _row(self, rung: Rung, checkpoints: Path, exam: Exam) -> dict[str, Any]:
        """Measure the published file, or one that is made for it and deleted after."""
        from jobs.gguf_ladder.rows import measure

        begun, published = time.monotonic(), self.exported.published(rung)
        path = published or checkpoints / f"{rung.name}.gguf"
        if not path.is_file():  # there already: of a ladder that was killed while it measured, and whole
            matrix = self.exported.folder / self.exported.matrix if rung.matrix else None
            quantize(exam.reference, path, rung.kind, matrix)
        figures = measure(path, exam, rung.name)
        if not published:
            path.unlink()
        made = {"type": rung.kind, "matrix": rung.matrix, "published": published is not None}
        return made | figures | {"seconds": round(time.monotonic() - begun, 3)}

    def _about(self, exam: Exam) -> dict[str, Any]:
        """What the rows were measured on."""
        held_out = exam.held_out
        text = {"passages": len(held_out.passages), "answered": len(held_out.answered), "tokens": held_out.tokens}
        return {
            "name": self.exported.source.name,
            "reference": self.exported.reference,
            "text": text | {"documents": len({text.document for text in held_out.texts})},
            "prompt": exam.prompt.name,
            "seed": self.seed,
        }


def print_ladder(out: Path) -> None:
    """The table on the terminal, and the sentences below it."""
    from rich.console import Console
    from rich.table import Table

    found = ladder_table(json.loads((out / "ladder.json").read_text(encoding="utf-8")))
    shown = Table(box=None, pad_edge=False)
    for header in (headers := found.short):
        shown.add_column(header, justify="left" if header == headers[0] else "right", no_wrap=True)
    for row in found.rows:
        shown.add_row(*(row[header] for header in headers))
    console = Console()
    console.print(shown)
    for note in found.notes:
        console.print(note, markup=False, highlight=False)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.ladder", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("gguf", type=path_argument, metavar="GGUF", help="folder that export made")
    parser.add_argument("--dataset", type=path_argument, required=True, help="folder that build_dataset made")
    parser.add_argument("--passages", type=path_argument, help="folder that collect made: held-out text beside")
    parser.add_argument("--out", type=path_argument, required=True)
    parser.add_argument("--types", default=",".join(QUANTISED), help="separated by commas (default: %(default)s)")
    parser.add_argument("--tokens", type=_count, default=TOKENS, help="predicted in held-out text (%(default)s)")
    parser.add_argument("--questions", type=_count, default=QUESTIONS, help="of multiple choice (%(default)s)")
    parser.add_argument("--formulation", choices=get_args(Formulation), default="letter", help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=17)
    options = vars(parser.parse_args(arguments))
    options["types"] = tuple(kind.strip() for kind in options["types"].split(",") if kind.strip())
    _, new = ladder(**options)
    print(f"{options['out']}: {'measured' if new else 'nothing to do, done already'}")
    print_ladder(options["out"])


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text}: 1 or more")
    return number


if __name__ == "__main__":
    run_main(main)
