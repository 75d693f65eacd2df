"""The benchmark of the data steps: its sides find what was planted, and its tables say what was measured."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks import data_preparation as bench
from benchmarks.data_material import Chain, CopyTask, NearTask, copy_documents, copy_task, near_task
from benchmarks.data_sides import SIDES, Clock, Taken
from qa.records import Record

PASSAGES = [
    "A language model is trained on text and learns which word comes next; the loss is the cross-entropy of each word.",
    "Attention weighs the values by how well each key fits the query, and the result of all heads is put together.",
    "Dropout leaves out units at random while the network is trained, so that no unit can rely on the others alone.",
] * 2


@pytest.fixture(scope="module")
def copies() -> CopyTask:
    return copy_task(Chain(PASSAGES), items=12, rows=60, length=80)


@pytest.fixture(scope="module")
def near() -> NearTask:
    return near_task(Chain(PASSAGES), texts=40, changed=20, length=60)


def taken(side: str, task: Record, folder: Path) -> Taken:
    path = folder / "task.json"
    path.write_text(task.model_dump_json())
    return SIDES[side](str(path))


def shown(table: Any) -> list[list[str]]:
    """The cells of a table's rows, as printed."""
    output = io.StringIO()
    Console(file=output, width=200).print(table)
    return [line.split() for line in output.getvalue().splitlines()]


def made(seconds: dict[str, float], done: int, *found: str, digest: str = "") -> Taken:
    return Taken(wall=seconds, cpu=seconds, done=done, found=found, digest=digest)


def test_made_text_is_the_same_each_time_and_of_the_passages_words(copies: CopyTask) -> None:
    assert copies == copy_task(Chain(PASSAGES), items=12, rows=60, length=80)
    assert {word for row in copies.rows for word in row.split()} <= {word for text in PASSAGES for word in text.split()}
    assert copies.planted == ("0 0", "10 1", "20 2", "30 3", "40 4", "50 5")
    assert copies.rows[10].endswith(" ".join((copies.items[1].question, *copies.items[1].choices)))
    assert {len(row.split()) for number, row in enumerate(copies.rows) if number % 10} == {80}


def test_every_side_finds_every_planted_copy(copies: CopyTask, tmp_path: Path) -> None:
    found = {side: taken(side, copies, tmp_path) for side in ("plain_scan", "coverage", "all_methods")}
    assert all({*copies.planted} <= {*side.found} for side in found.values())
    assert {*found["plain_scan"].found} <= {*found["coverage"].found} <= {*found["all_methods"].found}
    assert len({side.done for side in found.values()}) == 1
    assert found["coverage"].done > 60 * 80 + 6 * 28  # "cross-entropy" is two words


def test_a_missed_copy_and_other_bytes_are_named(copies: CopyTask) -> None:
    scanned = dict.fromkeys(("plain scan", "ours", "ours, all methods"), made({"scan": 1.0}, 9, *copies.planted))
    collected = [{"1": made({}, 9, digest="a"), "2": made({}, 9, digest="a")}]
    assert bench.disagreement({"collect": collected, "copies": [scanned]}, copies) == ""
    collected[0]["2"] = made({}, 9, digest="b")
    scanned["plain scan"] = made({"scan": 1.0}, 9, *copies.planted, "7 7")
    scanned["ours"] = made({"scan": 1.0}, 9, *copies.planted[1:])
    assert bench.disagreement({"collect": collected, "copies": [scanned]}, copies) == (
        "collecting gave different bytes; ours: 2 copies missed; ours, all methods: 1 copies missed"
    )


def test_both_libraries_find_the_changed_copies(near: NearTask, tmp_path: Path) -> None:
    pytest.importorskip("datasketch", reason="datasketch is not installed")
    differing = [one != other for one, other in zip(near.texts[0].split(), near.changed[0].split(), strict=True)]
    assert 0 < sum(differing) <= round(0.08 * 60)
    for side in ("with_rensa", "with_datasketch"):
        found = taken(side, near, tmp_path)
        assert len({*found.found} & {f"{number} {number}" for number in range(20)}) >= 19
        assert found.done == 60
        assert set(found.cpu) == set(found.wall) == {"signatures", "index"}


def test_collecting_gives_the_same_with_one_worker_and_two(tmp_path: Path) -> None:
    articles = tmp_path / "articles"
    articles.mkdir()
    for name in ("lora.md", "resnet.rst"):
        (articles / name).write_bytes((bench.ARTICLES / name).read_bytes())
    copy_documents(articles, tmp_path / "documents", 33)  # 66 documents: two shards
    found = bench.collect(tmp_path / "documents", tmp_path, 1, Console(file=io.StringIO()))
    one, two = found[0]["1"], found[0]["2"]
    assert one.digest == two.digest
    assert one.done == len(bench.passages(tmp_path / "out-1")) >= 66
    assert bench.collect_table(found).columns[0].header == "workers"


def test_tables_show_medians_and_ratios(copies: CopyTask, near: NearTask) -> None:
    collected = [{"1": made({"collect": 4.0}, 800), "2": made({"collect": seconds}, 800)} for seconds in (2.0, 2.5)]
    assert shown(bench.collect_table(collected))[-2:] == [
        "1 200.0 200.0 1.00 (1.00–1.00)".split(),
        "2 360.0 360.0 1.80 (1.60–2.00)".split(),
    ]
    scanned = {
        "plain scan": made({"scan": 4.0}, 8_000_000, *copies.planted),
        "ours": made({"scan": 2.0}, 8_000_000, *copies.planted[1:], "9 9"),
    }
    assert shown(bench.copy_table([scanned], copies))[-1] == "ours 4.00 2.00 (2.00–2.00) 5 of 6 1".split()
    sides = {
        "datasketch": made({"signatures": 5.0, "index": 3.0}, 60, "0 0"),
        "rensa": made({"signatures": 0.5, "index": 0.5}, 60, "0 0", "1 1", "1 3"),
    }
    lines = shown(bench.near_table([sides], near))
    assert lines[-1] == "rensa 0.50 0.50 8.00 (8.00–8.00) 2 of 20 1".split()
    assert lines[1][-4:] == ["datasketch", "2.0.0,", "rensa", "0.5.0"]


def test_the_clock_counts_ended_processes() -> None:
    clock = Clock()
    with clock.part("child"):
        subprocess.run([sys.executable, "-c", "sum(range(10_000_000))"], check=True)
    assert clock.cpu["child"] > 0.02
