"""Write questions: passages → question–answer pairs, each with its passage and an evidence span found in it verbatim.

    python -m jobs.write_questions PASSAGES_DIR --out DIR [--writer offline|openai|transformers] [--model NAME]

`DIR/questions.jsonl` holds the questions, `DIR/splits.json` the side of the split each document was put on before any
question was written, and `DIR/rejected.jsonl` what was refused, with the reason. The key of an OpenAI-compatible
endpoint is read from OPENAI_API_KEY.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jobs.sentences
import jobs.splits
import jobs.writers
from jobs.arguments import path_argument
from jobs.config import Dataset, Writer
from jobs.errors import UserError, run_main
from jobs.splits import assign_splits
from jobs.step import StepRecord, run_step, source_sha256, write_json
from jobs.writers.offline import Written, write_offline
from jobs.writers.wording import number
from qa.records import Passage, Split, read_records, write_records

QUESTIONS, REJECTED, SPLIT_FILE = "questions.jsonl", "rejected.jsonl", "splits.json"


def write_questions(
    passages: Path, out: Path, *, writer: Writer, dataset: Dataset, seed: int
) -> tuple[StepRecord, bool]:
    """Write questions from the passages of a folder that `collect` made. Raises `UserError` where none comes of it.

    The offline writer takes every fact that it finds; `pairs_per_passage` bounds the teachers alone.
    """
    if not (passages / "passages.jsonl").is_file():
        raise UserError(f"{passages}: no passages.jsonl in it; make it with python -m jobs.collect")
    split = {"salt": dataset.salt, "fractions": list(dataset.fractions)}
    code = source_sha256(jobs.writers, jobs.sentences, jobs.splits, sys.modules[__name__])
    return run_step(
        "write_questions",
        out,
        arguments={"writer": writer.model_dump(mode="json"), "seed": seed, **split, "code": code},
        inputs={"passages": passages},
        work=lambda folder: _write(passages, folder, writer, dataset, seed),
    )


def _write(source: Path, folder: Path, writer: Writer, dataset: Dataset, seed: int) -> dict[str, Any]:
    passages = list(read_records(source / "passages.jsonl", Passage))
    if not passages:
        raise UserError(f"{source / 'passages.jsonl'}: holds no passage; collect documents first")
    splits = assign_splits((passage.document for passage in passages), dataset.salt, dataset.fractions)
    written = _ask(_sample(passages, writer.max_passages, seed), splits, folder, writer, seed)
    if not written.questions:
        first = written.rejected[0].reason if written.rejected else "no sentence states a fact in a wording it knows"
        raise UserError(f"{source}: the {writer.kind} writer made no question of {len(passages)} passages ({first})")
    write_records(folder / QUESTIONS, written.questions)
    write_records(folder / REJECTED, written.rejected)
    write_json(folder / SPLIT_FILE, {"salt": dataset.salt, "fractions": dataset.fractions, "documents": splits})
    return _figures(written, splits)


def _sample(passages: Sequence[Passage], most: int | None, seed: int) -> Sequence[Passage]:
    """At most so many passages, drawn by lot over all documents and left in order."""
    if most is None or most >= len(passages):
        return passages
    drawn = sorted(passages, key=lambda passage: number(seed, "sample", passage.id))[:most]
    chosen = {passage.id for passage in drawn}
    return [passage for passage in passages if passage.id in chosen]


def _ask(passages: Sequence[Passage], splits: Mapping[str, Split], folder: Path, writer: Writer, seed: int) -> Written:
    if writer.kind == "offline":
        return write_offline(passages, splits, seed)
    from jobs.writers.taught import AT_ONCE, write_taught
    from jobs.writers.teachers import open_teacher

    return write_taught(
        passages,
        open_teacher(writer),
        folder,
        pairs_per_passage=writer.pairs_per_passage,
        seed=seed,
        at_once=AT_ONCE if writer.kind == "openai" else 1,
    )


def _figures(written: Written, splits: Mapping[str, Split]) -> dict[str, Any]:
    questions = written.questions
    return {
        "questions": len(questions),
        "rejected": len(written.rejected),
        "funnel": written.funnel,
        "rejected_by_reason": dict(Counter(_kind_of(entry.reason) for entry in written.rejected).most_common()),
        "questions_by_kind": dict(Counter(question.kind for question in questions).most_common()),
        "questions_by_split": dict(Counter(splits[question.document] for question in questions).most_common()),
        "questions_by_form": dict(Counter("choice" if question.choices else "open" for question in questions)),
        "documents_asked": len({question.document for question in questions}),
        "passages_asked": len({question.passage for question in questions}),
    }


def _kind_of(reason: str) -> str:
    return "asked already" if reason.startswith("asked already") else reason.split(": ")[0]


def main() -> None:
    """Parse the command line and write."""
    defaults = Writer()
    parser = argparse.ArgumentParser(prog="python -m jobs.write_questions", description=__doc__.split("\n")[0])
    parser.add_argument("passages", type=path_argument, metavar="PASSAGES_DIR", help="folder that jobs.collect made")
    parser.add_argument(
        "--out", type=path_argument, required=True, metavar="DIR", help="folder for questions.jsonl and the rest"
    )
    parser.add_argument("--writer", choices=("offline", "openai", "transformers"), default=defaults.kind)
    parser.add_argument("--model", default="", help="the teacher: a name at the endpoint, or a Hub id or folder")
    parser.add_argument("--endpoint", default="", help="address of an OpenAI-compatible server, such as http://.../v1")
    parser.add_argument("--pairs-per-passage", type=int, default=defaults.pairs_per_passage, help="asked of a teacher")
    parser.add_argument("--max-passages", type=int, help="ask about so many passages, drawn by lot (default: all)")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--salt", default=Dataset().salt, help="of the split by document (default: %(default)s)")
    given = parser.parse_args()
    if not 1 <= given.pairs_per_passage <= 20 or (given.max_passages is not None and given.max_passages < 1):
        raise UserError("--pairs-per-passage: expected 1 to 20; --max-passages: expected 1 or more")
    writer = Writer(
        kind=given.writer,
        model=given.model,
        endpoint=given.endpoint,
        pairs_per_passage=given.pairs_per_passage,
        max_passages=given.max_passages,
    )
    record, worked = write_questions(
        given.passages, given.out, writer=writer, dataset=Dataset(salt=given.salt), seed=given.seed
    )
    counts = record.figures
    print(
        f"{'written' if worked else 'already written'}: {counts['questions']} questions, {counts['rejected']} refused"
    )


if __name__ == "__main__":
    run_main(main)
