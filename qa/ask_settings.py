"""How an answer in words is drawn and bounded: the page's settings, and those of the published examples."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

QUESTION_CHARACTERS = 600
MOST_TOKENS = 300
MOST_SEED = 2**31 - 1
EXAMPLES = (
    "What does LoRA train, and what does it leave frozen?",
    "Why did the Chinchilla paper train on more tokens?",
    "What problem does batch normalization address?",
    "How does retrieval-augmented generation use documents?",
)  # of the page where a model brings no others, and of a run that names none


@dataclass(frozen=True)
class AskSettings:
    """Settings of `Engine.stream`. Qwen2.5-Instruct's own configuration has the same top-k and repetition penalty."""

    temperature: float = 0.3
    top_p: float = 0.9
    top_k: int = 20
    repeat_penalty: float = 1.05
    seed: int = 0
    max_tokens: int = 200  # about 28 s of a 3B on two cores of AVX2

    @classmethod
    def greedy(cls, max_tokens: int = 200) -> Self:
        """The likeliest token each time: what a comparison of two models is made with."""
        return cls(temperature=0.0, top_p=1.0, top_k=1, repeat_penalty=1.0, max_tokens=max_tokens)

    @classmethod
    def clamped(cls, **values: Any) -> Self:
        """Settings from what a visitor or a program sent, each brought into its range; nonsense becomes the default."""
        bounds = {
            "temperature": (0.0, 1.5), "top_p": (0.05, 1.0), "top_k": (1, 100), "repeat_penalty": (1.0, 1.5),
            "seed": (0, MOST_SEED), "max_tokens": (16, MOST_TOKENS),
        }  # fmt: skip
        found = {}
        for field in fields(cls):
            value = values.get(field.name, field.default)
            low, high = bounds[field.name]
            usable = value if _is_number(value) else field.default
            found[field.name] = type(field.default)(min(max(usable, low), high))
        return cls(**found)

    def as_dict(self) -> dict[str, float | int]:
        """The arguments of `Engine.stream`."""
        return asdict(self)


def _is_number(value: object) -> bool:
    """Whether it has a place on the number line. An integer may be too large for `math.isfinite`."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)
