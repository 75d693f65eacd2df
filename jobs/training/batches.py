"""What a step reads: whole rows laid one after another without padding, in an order that seed and epoch decide.

A row's positions begin at 0, which is how transformers tells rows apart: none attends to another's tokens. With
packing, rows are first put into packs of the longest length that a row may have (best fit, TRL's `pack_dataset`), and
a pack then counts as a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from datasets import Dataset, concatenate_datasets, disable_progress_bars
from torch.utils.data import Sampler
from trl import pack_dataset
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from jobs.training_rows import IGNORED

FILLER = {"input_ids": [0], "labels": [IGNORED]}  # in place of a row where processes could not all have as many


def packed(rows: Dataset, max_length: int) -> Dataset:
    """As many whole rows to each new row as fit in `max_length` tokens; `seq_lengths` says how long each was."""
    disable_progress_bars()  # one for what takes a moment
    return pack_dataset(rows, max_length, map_kwargs={"batch_size": len(rows)})


def filled(rows: Dataset, multiple: int) -> Dataset:
    """Rows with fillers at the end, so that each process has as many, and none gets a row of another twice."""
    missing = -len(rows) % multiple
    if not missing:
        return rows
    filler = FILLER | ({"seq_lengths": [1]} if "seq_lengths" in rows.column_names else {})
    return concatenate_datasets([rows, Dataset.from_list([filler] * missing, features=rows.features)])


class RowOrder(Sampler[int]):
    """The places of `count` rows, shuffled anew in each epoch; after them those of the fillers up to `total`."""

    def __init__(self, count: int, total: int, seed: int, epoch: Callable[[], int]) -> None:
        self.count, self.total, self.seed, self.epoch = count, total, seed, epoch

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch())
        yield from torch.randperm(self.count, generator=generator).tolist()
        yield from range(self.count, self.total)


class InLine(DataCollatorForLanguageModeling):
    """Rows as one line of tokens, with their positions and where each begins. A filler stays only where it is alone."""

    def __init__(self) -> None:
        super().__init__(pad_token_id=0, padding_free=True)  # one line needs no padding, but TRL wants its name

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        rows = [row for row in examples if row["labels"] != FILLER["labels"]]
        return super().torch_call(rows or examples[:1])
