"""A funnel: what each filter was given, what it took, and what it left, in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


@dataclass
class Funnel:
    """Counts by filter; `rows` are what figures and cards show: filter, given, taken, left.

    None stands for the counts of a filter that was not run, and for what is taken where the unit changes (`turn`).
    """

    rows: list[dict[str, str | int | None]] = field(default_factory=list)

    def add(self, filter_name: str, given: int, taken: int) -> None:
        """A filter that looked at `given` and refused `taken` of them."""
        self.rows.append({"filter": filter_name, "given": given, "taken": taken, "left": given - taken})

    def turn(self, name: str, given: int, left: int, unit: str) -> None:
        """What is counted changes: `left` things of another `unit` were made of the `given` ones."""
        self.rows.append({"filter": name, "given": given, "taken": None, "left": left, "unit": unit})

    def skip(self, filter_name: str, why: str) -> None:
        """A filter that was not run, with the reason."""
        self.rows.append({"filter": filter_name, "given": None, "taken": None, "left": None, "not_run": why})


def funnel_table(rows: Sequence[Mapping[str, str | int | None]]) -> Table:
    """The rows as a table for a terminal; a filter that was not run says why, and a change of unit to what."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("filter")
    for name in ("given", "taken", "left"):
        table.add_column(name, justify="right")
    table.add_column("")
    for row in rows:
        counts = ("–" if row[name] is None else f"{row[name]:,}" for name in ("given", "taken", "left"))
        table.add_row(escape(str(row["filter"])), *counts, escape(str(row.get("not_run") or row.get("unit") or "")))
    return table
