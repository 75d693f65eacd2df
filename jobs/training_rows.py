"""Rows of a data set → token ids and labels. The loss falls on the completion alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.config import Dataset as DatasetSettings
from jobs.errors import UserError
from jobs.step import STEP_FILE, read_step
from qa.prompts import PromptEncoder

if TYPE_CHECKING:
    from datasets import Dataset

IGNORED = -100  # label of a token that the loss does not see, in PyTorch's convention
CONFIGS = ("research_qa", "reading", "arc")

Turns = list[dict[str, str]]


def encode_row(prompt: Turns, completion: Turns, encoder: PromptEncoder) -> dict[str, Any]:
    """`input_ids` and `labels`, both of the row's length in tokens; the prompt's labels are ignored."""
    asked = encoder.prompt(prompt)
    answered = encoder.completion(completion[0]["content"])
    return {"input_ids": asked + answered, "labels": [IGNORED] * len(asked) + answered}


def fitting_rows(rows: Iterable[dict[str, Any]], encoder: PromptEncoder, max_length: int) -> Iterator[dict[str, Any]]:
    """Encoded rows of at most `max_length` tokens; a longer one is left out, never cut."""
    encoded = (encode_row(row["prompt"], row["completion"], encoder) for row in rows)
    return (row for row in encoded if len(row["input_ids"]) <= max_length)


def read_split(dataset: Path, split: str) -> list[list[dict[str, Any]]]:
    """Rows of a split, prompt and completion, of each config that the data set has, in `CONFIGS`' order."""
    import pyarrow.parquet as pq

    files = [file for config in CONFIGS if (file := dataset / config / f"{split}.parquet").is_file()]
    if not files:
        places = f"{', '.join(CONFIGS[:-1])} or {CONFIGS[-1]}"
        raise UserError(f"{dataset}: no {split}.parquet in {places}; run build_dataset first")
    return [pq.read_table(file, columns=["prompt", "completion"]).to_pylist() for file in files]


def longest_row(dataset: Path) -> int:
    """Tokens that a row may have: what build_dataset recorded, or the default where the folder has no record."""
    if not (dataset / STEP_FILE).is_file():
        return DatasetSettings().max_length
    limit = read_step(dataset).arguments.get("max_length")
    if not isinstance(limit, int):
        raise UserError(f"{dataset}: {STEP_FILE} names no max_length; give a folder that build_dataset made")
    return limit


def load_split(dataset: Path, split: str, encoder: PromptEncoder, max_length: int) -> tuple[Dataset, int]:
    """All configs of a split as one data set of ids and labels, and how many rows were too long for `max_length`."""
    from datasets import Dataset

    rows = [row for part in read_split(dataset, split) for row in part]
    fitting = list(fitting_rows(rows, encoder, max_length))
    if not fitting:
        raise UserError(f"{dataset}: the {split} split has no row of at most {max_length} tokens; raise max_length")
    return Dataset.from_list(fitting), len(rows) - len(fitting)
