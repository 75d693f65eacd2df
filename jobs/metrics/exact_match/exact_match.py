"""Exact match (`qa.scoring.exact_match`) as a metric of the `evaluate` library."""

from jobs.metrics.mean_score import MeanScore
from qa.scoring import exact_match


class ExactMatch(MeanScore):
    """Share of answers that equal a reference after SQuAD's normalisation, 0 to 1."""

    score = staticmethod(exact_match)
