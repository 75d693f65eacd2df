"""Rows of a data set → token ids and labels. The loss falls on the completion alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import UserError
from qa.prompts import PromptEncoder

if TYPE_CHECKING:
    from datasets import Dataset

IGNORED = -100  # label of a token that the loss does not see, in PyTorch's convention
CONFIGS = ("research_qa", "arc")


Turns = list[dict[str, str]]


def encode_row(prompt: Turns, completion: Turns, encoder: PromptEncoder) -> dict[str, Any]:
    """`input_ids` and `labels`, both of the row's length in tokens; the prompt's labels are ignored."""
    asked = encoder.prompt(prompt)
    answered = encoder.completion(completion[0]["content"])
    return {"input_ids": asked + answered, "labels": [IGNORED] * len(asked) + answered}


def load_split(dataset: Path, split: str, encoder: PromptEncoder, max_length: int) -> tuple[Dataset, int]:
    """All configs of a split as one data set of ids and labels, and how many rows were too long for `max_length`."""
    import pyarrow.parquet as pq
    from datasets import Dataset

    files = [dataset / config / f"{split}.parquet" for config in CONFIGS]
    present = [file for file in files if file.is_file()]
    if not present:
        raise UserError(f"{dataset}: no {split}.parquet in {' or '.join(CONFIGS)}; run build_dataset first")
    rows = [row for file in present for row in pq.read_table(file, columns=["prompt", "completion"]).to_pylist()]
    encoded = [encode_row(row["prompt"], row["completion"], encoder) for row in rows]
    fitting = [row for row in encoded if len(row["input_ids"]) <= max_length]
    if not fitting:
        raise UserError(f"{dataset}: the {split} split has no row of at most {max_length} tokens; raise max_length")
    return Dataset.from_list(fitting), len(rows) - len(fitting)
