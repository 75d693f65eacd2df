"""Choice accuracy (`qa.scoring.choice_accuracy`) as a metric of the `evaluate` library."""

import datasets
import evaluate

from qa.scoring import choice_accuracy

DESCRIPTION = """Share of predicted labels that are the right ones, 0 to 1."""


class ChoiceAccuracy(evaluate.Metric):
    """Choice accuracy."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        features = datasets.Features({"predictions": text, "references": text})
        return evaluate.MetricInfo(description=DESCRIPTION, citation="", inputs_description="", features=features)

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        return {"choice_accuracy": choice_accuracy(predictions, references)}
