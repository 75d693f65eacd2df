"""What the metrics of answers have in common: the mean over answers of a score between 0 and 1."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import datasets
import evaluate

TEXT = datasets.Value("string")
TEXTS = datasets.List(TEXT)
NUMBERS = datasets.List(datasets.Value("int32"))


class MeanScore(evaluate.Metric, ABC):
    """A metric named and described by its class; abstract, as `evaluate` takes the first concrete class of a file."""

    references: ClassVar[Any] = TEXTS  # what an answer is compared with; None where nothing is needed

    @staticmethod
    @abstractmethod
    def score(prediction: str, *reference: Any) -> float:
        """The score of one answer, 0 to 1."""

    def _info(self) -> evaluate.MetricInfo:
        columns = {"predictions": TEXT} | ({"references": self.references} if self.references else {})
        features = datasets.Features(columns)
        return evaluate.MetricInfo(description=str(self.__doc__), citation="", inputs_description="", features=features)

    def _compute(self, predictions: list[str], **references: list[Any]) -> dict[str, float]:
        scores = [self.score(*row) for row in zip(predictions, *references.values(), strict=True)]
        return {self.name: sum(scores) / len(scores)}
