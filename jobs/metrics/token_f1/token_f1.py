"""Token F1 (`qa.scoring.token_f1`) as a metric of the `evaluate` library."""

import datasets
import evaluate

from qa.scoring import token_f1

DESCRIPTION = """Mean over answers of the best token F1 against the references (SQuAD 1.1), 0 to 1."""


class TokenF1(evaluate.Metric):
    """Token F1."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        features = datasets.Features({"predictions": text, "references": datasets.List(text)})
        return evaluate.MetricInfo(description=DESCRIPTION, citation="", inputs_description="", features=features)

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        scores = [token_f1(*pair) for pair in zip(predictions, references, strict=True)]
        return {"token_f1": sum(scores) / len(scores)}
