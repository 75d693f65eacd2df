"""What base and published model picked for every test question: the page shows it beside what they pick live."""

from __future__ import annotations

from itertools import product
from typing import Any, get_args

from jobs.card_facts import Run
from jobs.evaluation.built_tasks import OWN_TASK
from qa.choices import FORMULATIONS, Template, prompt_name
from qa.published_files import PublishedItem

MODELS = {"base": "base", "gguf": "tuned"}  # name in the evaluation → field
COLUMNS = ("model", "task", "formulation", "row_id", "predicted", "gold")
WAYS = {prompt_name(*way) for way in product(FORMULATIONS, get_args(Template))}  # without solved examples


def published_items(run: Run) -> list[PublishedItem]:
    """A line for each research question and way to put its options, in the evaluation's order; none asked, none."""
    from pyarrow import parquet

    path = run.folder / "evaluation" / "items.parquet"
    wanted = [("task", "==", OWN_TASK), ("model", "in", MODELS), ("formulation", "in", WAYS)]
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in parquet.read_table(path, columns=list(COLUMNS), filters=wanted).to_pylist():
        line = found.setdefault((row["formulation"], row["row_id"]), {"answer": row["gold"]})
        line[MODELS[row["model"]]] = row["predicted"]
    return [PublishedItem(id=row, formulation=way, **labels) for (way, row), labels in found.items()]
