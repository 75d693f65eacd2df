"""ROUGE-L (Lin 2004, `rouge_score`) as a metric of the `evaluate` library."""

from rouge_score.rouge_scorer import RougeScorer

from jobs.metrics.mean_score import MeanScore

SCORER = RougeScorer(["rougeL"], use_stemmer=True)


class RougeL(MeanScore):
    """Mean over answers of the best ROUGE-L F-measure against the references, 0 to 1.

    Words are stemmed by Porter. `rouge_score` reads ASCII letters and digits alone: a text without any scores 0.
    """

    @staticmethod
    def score(prediction: str, references: list[str]) -> float:
        return SCORER.score_multi(references, prediction)["rougeL"].fmeasure
