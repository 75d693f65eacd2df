# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#   "llama-cpp-python==0.3.36", "numpy==2.4.6", "packaging==26.3", "py3langid==0.4.0", "pydantic==2.14.3",
#   "pydantic-core==2.50.4", "tqdm==4.70.1",
# ]
# [tool.uv]
# exclude-newer = "2026-11-23T00:00:00Z"
# [tool.hf-jobs]  # written by scripts/job_headers.py
# flavor = "cpu-upgrade"
# timeout = "1h"
# secrets = []
# volumes = ["./qa:/app/qa", "./jobs:/app/jobs", "./data_cards:/app/data_cards", "./scripts:/app/scripts"]
# env.PYTHONPATH = "/app"
# env.PYTHONSAFEPATH = "1"
# env.UV_WORKING_DIR = "/app"
# env.CMAKE_ARGS = "-DLLAVA_BUILD=OFF -DCMAKE_PROJECT_llama.cpp_INCLUDE=/app/scripts/llama-core.cmake"
# env.SKBUILD_BUILD_TARGETS = "llama"
# ///

"""Let the published file answer example questions: `python -m jobs.answer_examples GGUF --out DIR [--questions TEXT…]`.

GGUF is a folder that export made. The file of it that is served answers under the page's own settings, so that the page
can show these answers at once. Writes `examples.json`; a question that the model says nothing to is left out.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from jobs.arguments import path_argument
from jobs.card_gguf import served_file
from jobs.config import Examples as Settings
from jobs.errors import UserError, run_main
from jobs.progress import progress
from jobs.step import StepRecord, read_step, run_step, source_sha256, write_json
from qa.artifacts import EXAMPLES_FILE
from qa.ask_settings import AskSettings
from qa.published_files import ExampleAnswer, Examples

if TYPE_CHECKING:
    from qa.engine import Engine

FILE = PurePosixPath(EXAMPLES_FILE).name


def answer_examples(gguf: Path, out: Path, *, questions: Sequence[str]) -> tuple[StepRecord, bool]:
    """Answer the questions with the served file of `gguf`, a folder that export made, into `out/examples.json`.

    Raises `UserError` for a folder without a file to serve, and for a question that does not fit its window.
    """
    if (record := read_step(gguf)).step != "export":
        raise UserError(f"{gguf}: made by {record.step}, not by export; name the folder of the GGUF files")
    file = served_file(gguf, record)
    sha256, settings = str(record.outputs[file]["sha256"]), AskSettings()
    return run_step(
        "answer_examples",
        out,
        arguments={"questions": questions, "settings": settings.as_dict(), "file": file, "code": _code()},
        inputs={"gguf": gguf},
        work=lambda folder: _work(gguf / file, sha256, questions, settings, folder),
    )


def _code() -> str:
    """Hash of what decides an answer."""
    import qa

    return source_sha256(sys.modules[__name__], qa)


def _work(path: Path, sha256: str, questions: Sequence[str], settings: AskSettings, folder: Path) -> dict[str, Any]:
    from qa.engine import Engine, ModelFileError, PromptTooLong

    try:
        with Engine.load(path) as engine:
            asked = progress(questions, "answering", total=len(questions), unit="question")
            found = [answer for question in asked if (answer := _answer(engine, question, settings))]
    except (ModelFileError, PromptTooLong) as error:
        raise UserError(str(error)) from None
    examples = Examples(schema=1, file=path.name, sha256=sha256, settings=settings, answers=tuple(found))
    write_json(folder / FILE, examples.model_dump(mode="json", by_alias=True))
    return {
        "questions": len(questions),
        "answered": len(found),
        "tokens": sum(answer.tokens for answer in found),
        "tokens_per_second": _rate(found),
    }


def _answer(engine: Engine, question: str, settings: AskSettings) -> ExampleAnswer | None:
    """What the page would show, whatever was asked before; None where the model ends its turn at once."""
    from qa.prompts import ask_messages

    begun = time.monotonic()
    chunks = list(engine.stream(ask_messages(question), reuse=False, **settings.as_dict()))
    seconds, text, last = time.monotonic() - begun, "".join(chunk.text for chunk in chunks), chunks[-1]
    if not text.strip():
        return None
    return ExampleAnswer(
        question=question, answer=text, tokens=last.tokens, seconds=round(seconds, 3), finish=last.finish
    )


def _rate(answers: Sequence[ExampleAnswer]) -> float | None:
    seconds = sum(answer.seconds for answer in answers)
    return round(sum(answer.tokens for answer in answers) / seconds, 1) if seconds else None


def _questions(texts: Sequence[str]) -> tuple[str, ...]:
    """Questions from the command line, under the rules of the configuration."""
    try:
        return Settings(questions=tuple(texts)).questions
    except ValidationError as error:
        fault = error.errors()[0]
        raise UserError(f"--questions: {fault['msg'].removeprefix('Value error, ')}") from None


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m jobs.answer_examples", description=__doc__.split("\n\n")[0])
    parser.add_argument("gguf", type=path_argument, metavar="GGUF", help="folder that export made")
    parser.add_argument("--out", type=path_argument, required=True, metavar="DIR", help="folder for examples.json")
    parser.add_argument("--questions", nargs="+", metavar="TEXT", default=Settings().questions, help="at most 8")
    given = parser.parse_args(arguments)
    record, new = answer_examples(given.gguf, given.out, questions=_questions(given.questions))
    counts = record.figures
    print(f"{'answered' if new else 'already answered'}: {counts['answered']} of {counts['questions']} questions")


if __name__ == "__main__":
    run_main(main)
