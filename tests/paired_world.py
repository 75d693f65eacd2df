"""The app whose two models answer in words that they share in part. Not a test: `python -m tests.paired_world`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

ANSWERS = (
    "**Adapters** train two small matrices and keep the weights frozen.",
    "**Adapters** train two small matrices beside each layer and keep the weights frozen.",
)


def main() -> None:
    """The real app but for the texts of its models."""
    import app
    from qa.engine import Engine

    step, answers = Engine.step, dict[Any, str]()

    def written(self: Any) -> Any:
        answer = answers.setdefault(self, ANSWERS[len(answers) % 2])
        return [(generation, _instead(chunk, answer)) for generation, chunk in step(self)]

    Engine.step = written
    app.main()


def _instead(chunk: Any, answer: str) -> Any:
    return replace(chunk, text=answer if chunk.finish in ("stop", "length") else "")


if __name__ == "__main__":
    main()
