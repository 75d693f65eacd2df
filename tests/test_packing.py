"""Questions in rows: where each token stands, what it belongs to, what is read from it; and batches of rows."""

from __future__ import annotations

import random

import pytest

from jobs.evaluation.packing import ROW, Row, arrange, batches, by_head, row_tokens
from qa.choices import Item
from qa.stops import cut

ITEM = Item([7, 8, 1, 2, 3], [[10], [20, 21, 22], [30, 31]], head=2)


def test_a_row_holds_prompts_once_and_options_apart() -> None:
    row = Row()
    row.add(4, ITEM)
    row.add(6, Item([7, 8, 5], [[11, 12]], head=2))
    assert row.ids == [1, 2, 3, 20, 21, 30, 5, 11]
    assert row.positions == [2, 3, 4, 5, 6, 5, 2, 3]
    assert row.questions == [4] * 6 + [6] * 2
    assert row.options == [0, 0, 0, 2, 2, 3, 0, 1]
    assert row.reads[:6] == [(2, 10, 4, 0), (2, 20, 4, 1), (3, 21, 4, 1), (4, 22, 4, 1), (2, 30, 4, 2), (5, 31, 4, 2)]
    assert row.reads[6:] == [(6, 11, 6, 0), (7, 12, 6, 0)]
    assert row_tokens(ITEM) == 6


def test_rows_hold_every_question_once_and_are_nearly_equal() -> None:
    draw = random.Random(1)
    items = [Item([1] * draw.randint(20, 110), [[2] * draw.randint(1, 6) for _ in range(4)]) for _ in range(60)]
    numbers = list(range(0, 60, 2))
    rows = arrange(items, numbers)
    assert sorted({number for row in rows for number in row.questions}) == numbers
    assert sum(len(row.ids) for row in rows) == sum(row_tokens(items[number]) for number in numbers)
    longest = max(len(row.ids) for row in rows)
    assert longest <= 1.05 * ROW
    assert longest - min(len(row.ids) for row in rows) <= 40
    assert [len(row.ids) for row in arrange([Item([1] * 900, [[2]]), *items], [0, 1])] == [900, row_tokens(items[0])]


def test_what_cannot_be_laid_out_is_said() -> None:
    with pytest.raises(ValueError, match="prompt of 3 tokens ends within its head of 3"):
        row_tokens(Item([1, 2, 3], [[4]], head=3))
    with pytest.raises(ValueError, match="without tokens"):
        row_tokens(Item([1, 2, 3], [[4], []]))


def test_items_are_grouped_by_the_ids_of_their_heads() -> None:
    items = [ITEM, Item([7, 8, 9], [[1]], 2), Item([7, 7, 9], [[1]], 2), Item([7, 8, 9], [[1]])]
    assert by_head(items) == {(7, 8): [0, 1], (7, 7): [2], (): [3]}


def test_batches_hold_every_row_once_within_the_budget() -> None:
    lengths = [random.Random(1).randint(1, 90) for _ in range(50)] + [400]
    found = list(batches(lengths, 200))
    assert sorted(index for batch in found for index in batch) == list(range(51))
    assert all(len(batch) * max(lengths[index] for index in batch) <= 200 for batch in found if len(batch) > 1)
    assert found[0] == [50]


def test_text_is_cut_before_the_first_stop() -> None:
    assert cut("one\n\ntwo. three", (".", "\n\n")) == "one"
    assert cut("one. two\n\nthree", (".", "\n\n")) == "one"
    assert cut("one two", (".", "\n\n")) == cut("one two", ()) == "one two"
    assert cut("abc", ("bc", "c", "abcd")) == "a"
