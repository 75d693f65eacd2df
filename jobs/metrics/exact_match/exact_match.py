"""Exact match (`qa.scoring.exact_match`) as a metric of the `evaluate` library."""

import datasets
import evaluate

from qa.scoring import exact_match

DESCRIPTION = """Share of answers that equal a reference after SQuAD's normalisation, 0 to 1."""


class ExactMatch(evaluate.Metric):
    """Exact match."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        features = datasets.Features({"predictions": text, "references": datasets.List(text)})
        return evaluate.MetricInfo(description=DESCRIPTION, citation="", inputs_description="", features=features)

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        scores = [exact_match(*pair) for pair in zip(predictions, references, strict=True)]
        return {"exact_match": sum(scores) / len(scores)}
