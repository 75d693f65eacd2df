"""Abstention (`qa.scoring.abstains`) as a metric of the `evaluate` library."""

from jobs.metrics.mean_score import MeanScore
from qa.scoring import abstains


class Abstention(MeanScore):
    """Share of answers that say they do not know, 0 to 1; it takes no references."""

    references = None
    score = staticmethod(abstains)
