"""The dry run: the effective configuration, every check and the estimate on the terminal, and the exit code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jobs.config import RunConfig
from jobs.errors import UserError
from jobs.preflight import Preflight


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `problem` is empty where it is well."""

    what: str
    found: str
    problem: str = ""


def report(config: RunConfig, run: Path) -> int:
    """Print the effective configuration, every check and the estimate; returns the exit code (2: a check failed)."""
    console, preflight = Console(), Preflight(config, run)
    console.print(escape(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)), highlight=False)
    checks = [_guard(what, look) for what, look in preflight.checks()]
    table = Table(title="checks", title_justify="left", box=None, pad_edge=False)
    for column in ("", "what", "found"):
        table.add_column(column)
    for check in checks:
        mark = "[red]✗[/red]" if check.problem else "[green]✓[/green]"
        table.add_row(mark, check.what, escape(check.problem or check.found))
    console.print(table)
    console.print()
    console.print(preflight.estimate())
    return 2 if any(check.problem for check in checks) else 0


def _guard(what: str, look: Callable[[], str]) -> Check:
    try:
        return Check(what, look())
    except UserError as error:
        return Check(what, "", str(error))
