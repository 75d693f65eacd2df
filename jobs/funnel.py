"""A funnel: what each filter was given, what it took, and what it left, in their order."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Funnel:
    """Counts by filter; `rows` are what figures and cards show: filter, given, taken, left (a filter not run: None)."""

    rows: list[dict[str, str | int | None]] = field(default_factory=list)

    def add(self, filter_name: str, given: int, taken: int) -> None:
        """A filter that looked at `given` and refused `taken` of them."""
        self.rows.append({"filter": filter_name, "given": given, "taken": taken, "left": given - taken})

    def skip(self, filter_name: str, why: str) -> None:
        """A filter that was not run, with the reason."""
        self.rows.append({"filter": filter_name, "given": None, "taken": None, "left": None, "not_run": why})
