"""Token F1 (`qa.scoring.token_f1`) as a metric of the `evaluate` library."""

from jobs.metrics.mean_score import MeanScore
from qa.scoring import token_f1


class TokenF1(MeanScore):
    """Mean over answers of the best token F1 against the references (SQuAD 1.1), 0 to 1."""

    score = staticmethod(token_f1)
