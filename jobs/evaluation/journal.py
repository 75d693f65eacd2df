"""Answers written down as they come, so that a killed evaluation goes on at the row where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from jobs.placing import flush
from jobs.step import write_json
from qa.records import Answer


def cut_torn_line(file: BinaryIO) -> None:
    """Cut off the last line of a file of lines if a kill has torn it; the file then stands at its end."""
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)


class Journal:
    """The rows of one model and part: a file for each process that asks, and the questions that cannot be asked.

    A process killed while it wrote leaves a torn last line, which is cut off.
    """

    def __init__(self, folder: Path, name: str, rank: int) -> None:
        self._folder, self._name, self._rank = folder, name, rank
        self._whole = False
        folder.mkdir(parents=True, exist_ok=True)

    def answers(self) -> dict[str, Answer]:
        """All rows of all processes by question."""
        found = {}
        for path in sorted(self._folder.glob(f"{self._name}.*.jsonl")):
            whole, _, _ = path.read_bytes().rpartition(b"\n")
            rows = (Answer.model_validate_json(line) for line in whole.splitlines())
            found |= {row.row_id: row for row in rows}
        return found

    def append(self, rows: Sequence[Answer]) -> None:
        """Add rows; when this returns they are on the disk."""
        path = self._folder / f"{self._name}.{self._rank}.jsonl"
        with path.open("a+b") as file:
            if not self._whole:
                cut_torn_line(file)
                self._whole = True
            file.write("".join(f"{row.model_dump_json()}\n" for row in rows).encode())
            file.flush()
            flush(file.fileno())

    def skipped(self) -> dict[str, str] | None:
        """Why questions were not asked, by question; None before they were looked at."""
        path = self._folder / f"{self._name}.skipped.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def skip(self, reasons: dict[str, str]) -> None:
        """Write down which questions are not asked."""
        if self._rank == 0:
            write_json(self._folder / f"{self._name}.skipped.json", reasons)
