"""Multiple choice beside lm-eval's transformers back end: the same ARC rows, the same random model of 0.5B shape, CPU.

Each side answers in a process of its own, in turn. Timed is what lies between questions and answers (see
`scoring_sides`); peak memory is that of the whole process, and what of it came after the model was loaded.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.paired import Usage, measure
from benchmarks.scoring_sides import BATCH, Exam, Result, contexts
from jobs.errors import UserError, first_line
from jobs.gguf_ladder.speed import cpu_name
from qa.choices import prompt_name
from qa.records import Question

ARC = Path(__file__).parents[1] / "jobs" / "sample" / "arc"
TOKENIZER = "Qwen/Qwen2.5-0.5B-Instruct"
DESCRIPTION = "The following are multiple choice questions (with answers) about science.\n\n"
# By formulation and solved examples. We read those once, so that more rows favour us: a whole test set has 1,172.
ROWS = {("cloze", 0): 24, ("cloze", 5): 24, ("letter", 0): 24, ("letter", 5): 64}
ROUNDS = 2
SEED = 17
CLOSE = 1e-4  # nats, of an option's summed log-probability: what the tests hold us to beside lm-eval
STARTING = 3_000  # characters that lm-eval reads in the time of starting both processes
MAKE = "import sys; from benchmarks.scoring_sides import make_model; make_model(sys.argv[1], int(sys.argv[2]))"
TAKE = "import sys; from benchmarks.scoring_sides import take; take(*sys.argv[1:])"
COLUMNS = (
    *("", "threads", "rows", "lm-eval\nCPU s/row", "ours\nCPU s/row", "lm-eval / ours\n(lowest–highest)"),
    *("lm-eval\npeak MB", "ours\npeak MB", "ours /\nlm-eval", "beyond the model:\nlm-eval MB", "ours MB"),
    *("largest\ndifference", "equal\nanswers"),
)


@dataclass(frozen=True)
class Run:
    """One side's process: what it answered and what it took."""

    result: Result
    usage: Usage


@dataclass(frozen=True)
class Pair:
    """Both sides on the same exam, one after the other."""

    ours: Run
    theirs: Run

    @property
    def equal(self) -> int:
        """How many answers are the same."""
        return sum(a == b for a, b in zip(self.ours.result.answers, self.theirs.result.answers, strict=True))

    @property
    def difference(self) -> float:
        """The largest difference of an option's summed log-probability."""
        both = zip(self.ours.result.logprobs, self.theirs.result.logprobs, strict=True)
        return max(abs(a - b) for left, right in both for a, b in zip(left, right, strict=True))


def main(*, arc: str = str(ARC), tokenizer: str = TOKENIZER, rows: int | None = None, rounds: int = ROUNDS) -> None:
    """Run every setting on both sides and print the table. Ends with exit code 1 where they do not agree."""
    title = heading(rounds)
    questions, shots = draw(arc, rows or max(ROWS.values()))
    console = Console()
    with tempfile.TemporaryDirectory(prefix="footnote-bench-") as folder:
        save_tokenizer(tokenizer, Path(folder))
        console.print("making a random model of Qwen2.5-0.5B's shape")
        measure(MAKE, folder, str(SEED))
        exams = list(settings(folder, questions, shots, rows))
        pairs = run(exams, rounds, console)
    console = Console(width=max(console.width, 190))  # a log has no width of its own
    console.print(table(title, exams, pairs))
    if wrong := disagreement(exams, pairs):
        raise SystemExit(f"evaluate: {wrong}")


def draw(arc: str, rows: int) -> tuple[list[Question], tuple[Question, ...]]:
    """ARC-Challenge's test questions and solved examples from its training split, both drawn with a fixed seed."""
    from jobs.arc import load_arc

    found, _, _ = load_arc(arc, ["ARC-Challenge"])
    if len(found["test"]) < rows:
        raise UserError(f"{arc}: {len(found['test'])} test questions and --rows {rows}; name fewer, or another --arc")
    shots = random.Random(SEED).sample(found["train"], max(count for _, count in ROWS))
    return random.Random(SEED).sample(found["test"], rows), tuple(shots)


def save_tokenizer(name: str, folder: Path) -> None:
    """Put the tokenizer beside the model. Raises `UserError` where there is none, or none that fits."""
    from transformers import AutoTokenizer

    from qa.prompts import PromptEncoder

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        PromptEncoder.from_transformers(tokenizer)
    except (OSError, ValueError) as error:
        raise UserError(f"--tokenizer {name}: {first_line(error)}; name a folder with Qwen2.5's tokenizer") from None
    tokenizer.save_pretrained(folder)


def settings(
    model: str, questions: Sequence[Question], shots: tuple[Question, ...], rows: int | None
) -> Iterator[Exam]:
    """Both formulations without and with solved examples, each with one thread and with all cores."""
    for (formulation, count), usual in ROWS.items():
        for threads in sorted({1, os.cpu_count() or 1}):
            yield Exam(
                model=model,
                threads=threads,
                formulation=formulation,
                description=DESCRIPTION if formulation == "letter" else "",
                shots=shots[:count],
                questions=tuple(questions[: rows or usual]),
            )


def run(exams: Sequence[Exam], rounds: int, console: Console) -> list[list[Pair]]:
    """Every exam's pairs, one for each round; says what runs and how long is left."""
    pairs: list[list[Pair]] = [[] for _ in exams]
    total, done, begun = rounds * sum(map(work, exams)), 0.0, time.monotonic()
    for number in range(1, rounds + 1):
        for exam, found in zip(exams, pairs, strict=True):
            left = f", about {(time.monotonic() - begun) / done * (total - done) / 60:.0f} min left" if done else ""
            console.print(f"round {number} of {rounds}: {name(exam)}, threads: {exam.threads}{left}")
            found.append(Pair(ours=run_side("ours", exam), theirs=run_side("lm_eval", exam)))
            done += work(exam)
    return pairs


def run_side(side: str, exam: Exam) -> Run:
    """Let one side take the exam in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "exam.json", Path(folder) / "result.json"
        asked.write_text(exam.model_dump_json())
        usage = measure(TAKE, side, str(asked), str(answered))
        return Run(Result.model_validate_json(answered.read_text()), usage)


def work(exam: Exam) -> float:
    """About how long both sides take, in the characters that lm-eval reads."""
    reads = [len(question.choices) if exam.formulation == "cloze" else 1 for question in exam.questions]
    read = sum(len(context) * times for context, times in zip(contexts(exam), reads, strict=True))
    return STARTING + read / exam.threads


def name(exam: Exam) -> str:
    """How the table names an exam."""
    return prompt_name(exam.formulation, "plain", len(exam.shots))


def disagreement(exams: Sequence[Exam], pairs: Sequence[Sequence[Pair]]) -> str:
    """Where an answer differs, or a log-probability by more than `CLOSE`, in one line; empty where none does."""
    met = [(exam, pair) for exam, found in zip(exams, pairs, strict=True) for pair in found]
    answers = [
        f"{name(exam)}, threads: {exam.threads} ({len(exam.questions) - pair.equal} of {len(exam.questions)})"
        for exam, pair in met
        if pair.equal < len(exam.questions)
    ]
    scores = [
        f"{name(exam)}, threads: {exam.threads} ({pair.difference:.1e})"
        for exam, pair in met
        if pair.difference > CLOSE
    ]
    said = {"answers differ from lm-eval's": answers, f"log-probabilities differ by more than {CLOSE:.0e}": scores}
    return "; ".join(f"{what}: {', '.join(where)}" for what, where in said.items() if where)


def table(title: str, exams: Sequence[Exam], pairs: Sequence[Sequence[Pair]]) -> Table:
    """One row for each exam: medians over the rounds, the worst difference, the fewest equal answers."""
    shown = Table(title=title, title_justify="left", box=None)
    for column in COLUMNS:
        shown.add_column(column, justify="right" if column else "left", no_wrap=True)
    for exam, found in zip(exams, pairs, strict=True):
        shown.add_row(name(exam), str(exam.threads), str(len(exam.questions)), *_cells(found, len(exam.questions)))
    return shown


def _cells(found: Sequence[Pair], rows: int) -> list[str]:
    seconds = [(pair.theirs.result.cpu_seconds / rows, pair.ours.result.cpu_seconds / rows) for pair in found]
    peaks = [(pair.theirs.usage.peak_bytes / 1e6, pair.ours.usage.peak_bytes / 1e6) for pair in found]
    quicker = [theirs / ours for theirs, ours in seconds]
    return [
        *(f"{statistics.median(side):.3f}" for side in zip(*seconds, strict=True)),
        f"{statistics.median(quicker):.2f} ({min(quicker):.2f}–{max(quicker):.2f})",
        *(f"{statistics.median(side):.0f}" for side in zip(*peaks, strict=True)),
        f"{statistics.median(ours / theirs for theirs, ours in peaks):.2f}",
        *(f"{statistics.median(side):.0f}" for side in zip(*map(_beyond, found), strict=True)),
        f"{max(pair.difference for pair in found):.1e}",
        f"{min(pair.equal for pair in found)} of {rows}",
    ]


def _beyond(pair: Pair) -> tuple[float, float]:
    """Megabytes at the peak beyond the loaded model: lm-eval's and ours."""
    theirs, ours = ((run.usage.peak_bytes - run.result.loaded_bytes) / 1e6 for run in (pair.theirs, pair.ours))
    return theirs, ours


def heading(rounds: int) -> str:
    """What was compared, on what machine. Raises `UserError` where lm-eval is not installed."""
    try:
        versions = ", ".join(f"{package} {version(package)}" for package in ("torch", "transformers", "lm-eval"))
    except PackageNotFoundError as error:
        raise UserError(f"{error.name} is not installed; install the extras jobs and dev") from None
    machine = f"{os.cpu_count()} cores of {cpu_name()}"
    return f"multiple choice: ours against lm-eval's (batches of {BATCH}), rounds: {rounds}\n{machine}; {versions}"
