"""Citation precision (`qa.scoring.citation_precision`) as a metric of the `evaluate` library."""

from jobs.metrics.mean_score import NUMBERS, MeanScore
from qa.scoring import citation_marks, citation_precision


class CitationPrecision(MeanScore):
    """Mean over answers of the share of cited passages that hold the evidence; references are those passages' numbers.

    An answer that cites nothing scores 0.
    """

    references = NUMBERS

    @staticmethod
    def score(prediction: str, gold: list[int]) -> float:
        return citation_precision(citation_marks(prediction), gold)
