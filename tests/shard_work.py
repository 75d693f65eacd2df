"""Work for shards that leaves traces, under a name that every process finds."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.errors import UserError

Rows = list[dict[str, Any]]


class StubbornError(Exception):
    """An exception that cannot be read back in another process."""

    def __init__(self, *, detail: str) -> None:
        super().__init__(f"no luck with {detail}")


def trace(items: Rows, folder: str, pause: float = 0.0) -> Iterator[dict[str, Any]]:
    """Squares; adds the shard's first item and the process to `folder/traces`."""
    with (Path(folder) / "traces").open("a") as file:
        file.write(f"{items[0]['n']} {os.getpid()}\n")
    print("a library's notice", file=sys.stderr)
    for item in items:
        time.sleep(pause)
        yield {"n": item["n"], "square": item["n"] ** 2, "text": item.get("text", "")}


def fail(items: Rows, folder: str, how: str) -> Iterator[dict[str, Any]]:
    """As `trace`, until the item 6 and before `folder/mended` is there."""
    for row in trace(items, folder):
        if row["n"] == 6 and not (Path(folder) / "mended").exists():
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise {
                "user": UserError("paper.pdf: cannot be used; remove it"),
                "value": ValueError("six"),
                "stubborn": StubbornError(detail="six"),
            }[how]
        yield row


def traces(folder: Path) -> list[int]:
    """The first items of the shards that were begun, sorted."""
    return sorted(int(line.split()[0]) for line in (folder / "traces").read_text().splitlines())
