"""The earliest day from which a document can have been known, from the date it states and from arXiv's numbering."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

from jobs.sources.arxiv_ids import parse_id

_MONTHS = "january february march april may june july august september october november december".split()
_YEAR = r"(?P<year>(?:19|20)\d\d)"
_NUMERIC = (  # year first, or day and month, in either order, then the year
    re.compile(rf"{_YEAR}(?:(?P<sign>[-/.])(?P<month>\d\d?)(?:(?P=sign)(?P<day>\d\d?)(?:[T\sZ+].*)?)?)?"),
    re.compile(rf"(?:D:)?{_YEAR}(?P<month>\d\d)(?P<day>\d\d)(?:[T\d].*)?"),  # PDF's has `D:` and the time in digits
    re.compile(rf"(?P<day>\d\d?)(?P<sign>[-/.])(?P<month>\d\d?)(?P=sign){_YEAR}"),
    re.compile(rf"(?P<month>\d\d?)(?P<sign>[-/.])(?P<day>\d\d?)(?P=sign){_YEAR}"),
)
_LETTERS = re.compile(r"[a-z]{3,}", re.I)
_DAY = re.compile(r"(?<![\d:.])(?P<day>\d\d?)(?:st|nd|rd|th)?(?![\d:])")


def earliest_date(stated: str, source: str) -> date | None:
    """The earlier of the stated date and of the month in which `source` was numbered by arXiv; None where neither is.

    A bare year stands for its 1 January, a month for its first day, and 03/05/2024 for the earlier of its two readings.
    """
    return min(filter(None, (*_numeric(stated.strip()), _named(stated), _numbered(source))), default=None)


def _numeric(text: str) -> Iterator[date | None]:
    """Every reading of a date in numbers, ISO 8601 and its parts included."""
    for pattern in _NUMERIC:
        if found := pattern.fullmatch(text):
            yield _day(int(found["year"]), int(found["month"] or 1), int(found["day"] or 1))


def _named(text: str) -> date | None:
    """A date with its month in English letters, as in RFC 822: `Mon, 30 Sep 2024 10:00:00 GMT`, `May 2024`."""
    year = re.search(rf"(?<!\d){_YEAR}(?!\d)", text)
    words = (word.lower() for word in _LETTERS.findall(text))
    months = [place for word in words for place, month in enumerate(_MONTHS, start=1) if month.startswith(word)]
    if not months or not year:
        return None
    day = _DAY.search(text[: year.start()])
    return _day(int(year["year"]), months[0], int(day["day"]) if day else 1)


def _numbered(source: str) -> date | None:
    """The month that arXiv's number names: 2106.09685 is of June 2021, cs/0112017 of December 2001."""
    if not (found := parse_id(source)):
        return None
    digits = found.paper.rpartition("/")[2]
    year = int(digits[:2])
    return _day(year + (1900 if "/" in found.paper and year >= 91 else 2000), int(digits[2:4]), 1)


def _day(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None
