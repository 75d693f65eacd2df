"""Work done shard by shard: the items alone decide how many there are, and no finished shard is done twice.

`run_shards` cuts items into shards of equal length and has datatrove run them: in this process, in several, on Slurm
or on Ray. Its state stands in `folder/name/`:

    items.jsonl          the items, where they came as a list
    offsets              where each shard begins in them
    shards.json          for which items, written after the two
    results/00000.jsonl  what a shard gave
    failures/00000.json  what ended a shard
    datatrove/           its logs, and a completion mark for each shard
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any

from jobs.data_config import Scale
from jobs.errors import UserError
from jobs.placing import flush
from jobs.provenance import main_module
from jobs.step import write_json
from qa.records import RecordError

Work = Callable[[list[dict[str, Any]]], Iterable[dict[str, Any]]]
OFFSET_BYTES = 8
USERS = {error.__name__: error for error in (UserError, RecordError)}  # errors that end a command with one line


def run_shards(
    name: str,
    items: Sequence[Mapping[str, Any]] | Path,
    work: Work,
    folder: Path,
    *,
    scale: Scale,
    size: int = 64,
) -> Iterator[dict[str, Any]]:
    """What `work` makes of the items, `size` of them at a time, in the items' order whatever `scale` says.

    Items are JSON objects, as a list or as a JSON Lines file, which is never loaded whole. `work` is a function at a
    module's top level, or a partial of one, with arguments that can be pickled. All shards are done on return. What a
    shard raises ends the run, as it is from a process of this machine and as `UserError`, `RecordError` or
    `RuntimeError` with its words from another; shards that are done by then are kept. State for other items is
    removed; other code or arguments are not noticed: `folder` has to be theirs alone.
    """
    shards = _laid_out(folder / name, items, size)
    if shards.count:
        from jobs.shard_executors import run_all

        run_all(name, shards, _by_name(work), scale)
    return chain.from_iterable(map(shards.results, range(shards.count)))


@dataclass(frozen=True)
class Shards:
    """Items in a JSON Lines file, cut into shards, and where their state is."""

    source: Path
    state: Path
    count: int

    @property
    def logs(self) -> Path:
        """Datatrove's own folder."""
        return self.state / "datatrove"

    def items(self, shard: int) -> list[dict[str, Any]]:
        """The items of one shard, from its own lines."""
        with (self.state / "offsets").open("rb") as file:
            file.seek(shard * OFFSET_BYTES)
            start, end = (int.from_bytes(file.read(OFFSET_BYTES)) for _ in range(2))
        with self.source.open("rb") as file:
            file.seek(start)
            return [json.loads(line) for line in file.read(end - start).splitlines()]

    def keep(self, shard: int, results: Iterable[Mapping[str, Any]]) -> None:
        """Write a shard's results, whole or not at all."""
        _write_lines(self.state / "results" / f"{shard:05d}.jsonl", results)

    def results(self, shard: int) -> Iterator[dict[str, Any]]:
        """What a finished shard gave."""
        with (self.state / "results" / f"{shard:05d}.jsonl").open("rb") as file:
            yield from map(json.loads, file)

    def note_failure(self, shard: int, error: Exception) -> None:
        """Keep in words what ended a shard, for a driver on another machine."""
        failures = self.state / "failures"
        failures.mkdir(exist_ok=True)
        write_json(failures / f"{shard:05d}.json", {"error": type(error).__name__, "says": str(error)})

    def failure(self) -> Exception | None:
        """What ended the first of the shards that failed, or nothing where none did."""
        for path in sorted((self.state / "failures").glob("*.json")):
            found = json.loads(path.read_text(encoding="utf-8"))
            if user := USERS.get(found["error"]):
                return user(found["says"])
            return RuntimeError(f"{found['error']}: {found['says']} (shard {path.stem}, log in {self.logs})")
        return None

    def forget_failures(self) -> None:
        """A new start: shards that failed are tried again."""
        shutil.rmtree(self.state / "failures", ignore_errors=True)


def _laid_out(state: Path, items: Sequence[Mapping[str, Any]] | Path, size: int) -> Shards:
    """Shards of these items, with their state where it is of the same items, and without where it is not."""
    state.mkdir(parents=True, exist_ok=True)
    source = items.resolve() if isinstance(items, Path) else state / "items.jsonl"
    if not isinstance(items, Path):
        _write_lines(source, items)
    digest, offsets = _index(source, size)
    claim, mark = {"sha256": digest, "bytes": offsets[-1], "size": size}, state / "shards.json"
    if not mark.is_file() or json.loads(mark.read_text(encoding="utf-8")) != claim:
        mark.unlink(missing_ok=True)
        for name in ("datatrove", "results", "failures"):
            shutil.rmtree(state / name, ignore_errors=True)
        (state / "results").mkdir()
        (state / "offsets").write_bytes(b"".join(offset.to_bytes(OFFSET_BYTES) for offset in offsets))
        write_json(mark, claim)
    return Shards(source, state.resolve(), len(offsets) - 1)


def _index(source: Path, size: int) -> tuple[str, list[int]]:
    """SHA-256 of a JSON Lines file, and at which byte each shard of `size` lines begins; its end comes last."""
    digest, offsets, at = hashlib.sha256(), [], 0
    with source.open("rb") as file:
        for number, line in enumerate(file):
            if number % size == 0:
                offsets.append(at)
            digest.update(line)
            at += len(line)
    return digest.hexdigest(), [*offsets, at]


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """JSON Lines under a temporary name of this process alone, flushed to disk, then renamed."""
    partial_path = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial_path.open("w", encoding="ascii") as file:  # escapes: half of a surrogate pair survives too
        file.writelines(json.dumps(row) + "\n" for row in rows)
        file.flush()
        flush(file.fileno())
    partial_path.replace(path)


def _by_name(work: Work) -> Work:
    """The same function under its module's own name: in another process `__main__` is another module."""
    if isinstance(work, partial):
        return partial(_by_name(work.func), *work.args, **work.keywords)
    module = main_module() if work.__module__ == "__main__" else None
    return attrgetter(work.__qualname__)(import_module(module)) if module else work
