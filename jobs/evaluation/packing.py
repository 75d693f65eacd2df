"""Questions laid out in rows for a model: a prompt once with its options behind it, several questions in one row.

Pure bookkeeping over token ids; `likelihood.py` turns it into tensors and an attention mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from qa.choices import Item

ROW = 256  # tokens of a row shared by questions: some 2 % of padding, and attention within a row stays cheap


@dataclass(frozen=True)
class Row:
    """Tokens of one or more questions, without the head that all of them follow.

    For each token: its id, its position, the question it belongs to, and its option (from 1; 0 in the prompt). `reads`
    are (index of a token, id that may follow it, question, option from 0).
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    questions: list[int] = field(default_factory=list)
    options: list[int] = field(default_factory=list)
    reads: list[tuple[int, int, int, int]] = field(default_factory=list)

    def add(self, number: int, item: Item) -> None:
        """Append question `number`. The last token of an option is only ever predicted, so it is not there."""
        self._append(number, 0, item.prompt[item.head :], item.head)
        last = len(self.ids) - 1
        for option, ids in enumerate(item.options):
            self.reads.append((last, ids[0], number, option))
            begun = len(self.ids)
            self.reads.extend((begun + place, after, number, option) for place, after in enumerate(ids[1:]))
            self._append(number, option + 1, ids[:-1], len(item.prompt))

    def _append(self, number: int, option: int, ids: Sequence[int], position: int) -> None:
        self.ids.extend(ids)
        self.positions.extend(range(position, position + len(ids)))
        self.questions.extend([number] * len(ids))
        self.options.extend([option] * len(ids))


def row_tokens(item: Item) -> int:
    """How much of a row the item takes. Raises ValueError for a prompt that ends in its head, and an empty option."""
    if len(item.prompt) <= item.head:
        raise ValueError(f"a prompt of {len(item.prompt)} tokens ends within its head of {item.head}")
    if not all(item.options):
        raise ValueError("an option without tokens cannot be scored")
    return len(item.prompt) - item.head + sum(len(option) - 1 for option in item.options)


def arrange(items: Sequence[Item], numbers: Sequence[int]) -> list[Row]:
    """Rows of about `ROW` tokens, or of the longest item's, that hold the items of these numbers.

    The longest first, each into the emptiest row, so that the rows are nearly equal.
    """
    lengths = {number: row_tokens(items[number]) for number in numbers}
    rows = [Row() for _ in range(-(-sum(lengths.values()) // max(ROW, *lengths.values())))]
    for number in sorted(numbers, key=lambda number: -lengths[number]):
        min(rows, key=lambda row: len(row.ids)).add(number, items[number])
    return rows


def by_head(items: Sequence[Item]) -> dict[tuple[int, ...], list[int]]:
    """Numbers of the items that have the same head, by its ids."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, item in enumerate(items):
        groups.setdefault(tuple(item.prompt[: item.head]), []).append(number)
    return groups


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices in batches of like lengths, longest first, each of at most `budget` tokens if padded to its longest."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
