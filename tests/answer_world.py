"""The app whose models answer in every form that Markdown has. Not a test: `python -m tests.answer_world`."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

PACE = 0.02  # seconds between two tokens
WIDE = " ".join(f"column{number}" for number in range(12))
ROW = "| " + " | ".join(WIDE.split()) + " |"
SUM = " + ".join([r"\frac{a}{b}"] * 40)
ANSWER = f"""# Adapters

A *low-rank* update is \\( W + BA \\), and at length

$$ {SUM} $$

{ROW}
|{"---|" * 12}
{ROW}

```python
{WIDE} {WIDE}
```

- one

  - two

---

שלום עולם
"""


def main() -> None:
    """The real app but for the texts of its models."""
    import app
    from qa.engine import Engine

    step = Engine.step

    def slow(self: Any) -> Any:
        time.sleep(PACE)
        return [(generation, _instead(chunk)) for generation, chunk in step(self)]

    Engine.step = slow
    app.main()


def _instead(chunk: Any) -> Any:
    """The whole answer at its end, and nothing before it or where it is stopped."""
    return replace(chunk, text=ANSWER if chunk.finish in ("stop", "length") else "")


if __name__ == "__main__":
    main()
