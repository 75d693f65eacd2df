"""The scores of `qa.scoring` as metrics of the `evaluate` library, loaded from this folder without the network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evaluate import Metric

NAMES = ("exact_match", "token_f1", "rouge_l", "citation_precision", "citation_recall", "abstention")


def load_metric(name: str) -> Metric:
    """One of `NAMES`, ready to `compute(predictions=…, references=…)`."""
    import evaluate

    return evaluate.load(str(Path(__file__).parent / name), keep_in_memory=True)
