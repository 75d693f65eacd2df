"""Dates of documents: what is stated in any usual form, and what arXiv's numbers tell."""

from __future__ import annotations

from datetime import date

import pytest

from jobs.dates import earliest_date

STATED = {
    "2024-09-30": date(2024, 9, 30),
    " 2024-09-30T23:30:00-05:00 ": date(2024, 9, 30),
    "2024-09-30 10:00": date(2024, 9, 30),
    "2024-09-30Z": date(2024, 9, 30),
    "2024/5/3": date(2024, 5, 3),
    "20240503": date(2024, 5, 3),
    "D:20240930120000Z": date(2024, 9, 30),
    "2024-05": date(2024, 5, 1),
    "2024": date(2024, 1, 1),
    "May 2024": date(2024, 5, 1),
    "3 May 2024": date(2024, 5, 3),
    "3rd May, 2024": date(2024, 5, 3),
    "Sept. 2024": date(2024, 9, 1),
    "September 30th 2024 10:30": date(2024, 9, 30),
    "Friday, May 31, 2024": date(2024, 5, 31),
    "Mon, 30 Sep 2024 10:00:00 GMT": date(2024, 9, 30),
    "25/12/2023": date(2023, 12, 25),
    "12/25/2023": date(2023, 12, 25),
    "03/05/2024": date(2024, 3, 5),  # or 3 May: the earlier
    "05/03/2024": date(2024, 3, 5),
}
NONSENSE = [
    "",
    "soon",
    "13",
    "2024-13",
    "2024-02-31",
    "May",
    "maybe 2024",
    "1/13/13",
    "12345",
    "v2024.1",
    "31 Feb 2024",
]


@pytest.mark.parametrize("stated", STATED)
def test_a_stated_date_is_read(stated: str) -> None:
    assert earliest_date(stated, "") == STATED[stated]


@pytest.mark.parametrize("stated", NONSENSE)
def test_nonsense_is_no_date(stated: str) -> None:
    assert earliest_date(stated, "https://example.org/2106.09685") is None


@pytest.mark.parametrize(
    ("source", "month"),
    [
        ("https://arxiv.org/abs/2106.09685v2", date(2021, 6, 1)),
        ("https://arxiv.org/pdf/2409.12186.pdf", date(2024, 9, 1)),
        ("arXiv:0704.0001", date(2007, 4, 1)),
        ("https://arxiv.org/abs/cs/0112017", date(2001, 12, 1)),
        ("arxiv:hep-th/9901001", date(1999, 1, 1)),
        ("arxiv:2113.00001", None),
    ],
)
def test_an_arxiv_number_names_a_month(source: str, month: date | None) -> None:
    assert earliest_date("", source) == month


def test_the_earlier_of_the_two_counts() -> None:
    source = "https://arxiv.org/abs/2106.09685"
    assert earliest_date("2024-10-05", source) == date(2021, 6, 1)
    assert earliest_date("May 2021", source) == date(2021, 5, 1)
    assert earliest_date("nonsense", source) == date(2021, 6, 1)
