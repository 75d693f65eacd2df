"""One row of the ladder: a file measured beside the one that it was made from, and what all rows say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs.evaluation.backends import GgufBackend
from jobs.gguf_export.quantizer import bits_per_weight
from jobs.gguf_ladder.divergence import divergence, opened, ratio_of_klds
from jobs.gguf_ladder.held_out import HeldOut
from jobs.gguf_ladder.speed import measure_speed
from jobs.progress import progress
from qa.choices import ChoicePrompt, Formulation, pick
from qa.engine import threads_for
from qa.statistics import holm, paired_difference, verdict, verdict_among, wilson


@dataclass(frozen=True)
class Exam:
    """What every file is asked, and the file that all are compared with; the multiple choice is by the chat template.

    `formulation` is letter or cloze, `seed` that of the resamples.
    """

    reference: Path
    held_out: HeldOut
    formulation: Formulation
    seed: int

    @property
    def prompt(self) -> ChoicePrompt:
        """How a multiple-choice question is put."""
        return ChoicePrompt(self.formulation)


def measure(path: Path, exam: Exam, what: str) -> dict[str, Any]:
    """All figures of a file, as JSON values.

    `right` tells of each multiple-choice question whether it got it, `text_klds` are divergences summed by text, and
    `bits_per_weight` is of the tensors alone, without the vocabulary. `what` heads the bars.
    """
    n_threads, texts = threads_for(exam.reference), exam.held_out.texts
    with opened(exam.reference, n_threads) as reference, opened(path, n_threads) as other:
        far, text_klds = divergence(reference, other, texts, seed=exam.seed, what=what)
        ids = [number for text in texts for number in text.ids]
        speed = measure_speed(reference, other, ids, n_threads, f"{what} speed")
    return {
        "bytes": path.stat().st_size,
        "bits_per_weight": bits_per_weight(path),
        "divergence": asdict(far),
        "text_klds": text_klds,
        "speed": asdict(speed),
        "right": _answers(path, exam, what),
    }


def _answers(path: Path, exam: Exam, what: str) -> list[bool]:
    """Whether the file picks the right option, question by question."""
    backend = GgufBackend(what, path)
    try:
        questions = exam.held_out.choice
        items = exam.prompt.items(backend.encoder, questions)
        asked = progress(zip(questions, items, strict=True), f"{what} questions", total=len(items), unit="question")
        return [
            pick(backend.option_logprobs([item])[0], question, exam.formulation) == question.gold
            for question, item in asked
        ]
    finally:
        backend.close()


def compared(rows: Sequence[dict[str, Any]], exam: Exam) -> list[dict[str, Any]]:
    """The rows as `ladder.json` has them: with accuracy, `difference` from the first row's (None of itself), and worth.

    Holm's p is among all of the differences. `matrix_worth` is the mean KL divergence with importance matrix over that
    without, with its 95 % bounds; None where a row is not the same type's second.
    """
    clusters = [question.document for question in exam.held_out.choice]
    first, *others = rows
    differences = [paired_difference(row["right"], first["right"], clusters, seed=exam.seed) for row in others]
    adjusted = holm([difference.p for difference in differences])
    told: list[dict[str, Any] | None] = [None]
    for difference, p_holm in zip(differences, adjusted, strict=True):
        sentence = verdict_among(verdict(difference), p_holm, len(others))
        told.append(asdict(difference) | {"p_holm": p_holm, "verdict": sentence})
    return [
        _kept(row) | {"accuracy": _accuracy(row), "difference": entry, "matrix_worth": _worth(row, before, exam)}
        for row, before, entry in zip(rows, [{}, *rows], told, strict=False)
    ]


def _kept(row: dict[str, Any]) -> dict[str, Any]:
    """Without what is there for each question and each text."""
    return {key: value for key, value in row.items() if key not in ("right", "text_klds")}


def _accuracy(row: dict[str, Any]) -> dict[str, Any]:
    right, n = sum(row["right"]), len(row["right"])
    low, high = wilson(right, n)
    return {"value": right / n, "low": low, "high": high, "correct": right, "n": n}


def _worth(row: dict[str, Any], before: dict[str, Any], exam: Exam) -> dict[str, float] | None:
    if not row["matrix"]:
        return None
    documents = [text.document for text in exam.held_out.texts]
    ratio, low, high = ratio_of_klds(row["text_klds"], before["text_klds"], documents, seed=exam.seed)
    return {"ratio": ratio, "low": low, "high": high}
