"""Citation recall (`qa.scoring.citation_recall`) as a metric of the `evaluate` library."""

from jobs.metrics.mean_score import NUMBERS, MeanScore
from qa.scoring import citation_marks, citation_recall


class CitationRecall(MeanScore):
    """Mean over answers of the share of passages with the evidence that are cited; references are their numbers."""

    references = NUMBERS

    @staticmethod
    def score(prediction: str, gold: list[int]) -> float:
        return citation_recall(citation_marks(prediction), gold)
