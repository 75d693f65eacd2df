"""docs/export.md says what the code does: options, types, names, properties and messages are read back from it."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.export_against_llama_cpp import needed_bytes
from benchmarks.export_report import MERGE_PEAK
from benchmarks.random_model import LAYERS
from jobs.gguf_export import weights
from jobs.gguf_export.comparison import FLIP, LARGEST, MEAN_FLIP, ORDINARY, SLACK
from jobs.gguf_export.merged_model import LEAST, NOISE
from jobs.gguf_export.names import KINDS, adapter_name, file_name, matrix_name
from jobs.gguf_export.ollama import ollama_files
from jobs.gguf_export.properties import PROPERTIES
from jobs.gguf_export.reference import ASKED, WRITTEN
from tests.test_gguf_against_llama_cpp import MAY_DIFFER
from tests.tiny import CHAT_TEMPLATE

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")


def table(head: str, place: int = 0) -> list[list[str]]:
    """The cells under the `place`-th line of these heads."""
    rows = PAGE.split(f"{head}\n")[place + 1].split("\n\n", 1)[0].splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize(("place", "command"), enumerate(["merge", "export", "ladder", "export_adapter"]))
def test_every_option_is_told_with_its_default(place: int, command: str) -> None:
    arguments = [sys.executable, "-m", f"jobs.{command}", "--help"]
    shown = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    told = {named(option)[0]: default for option, _, default in table("| option | what it is | default |", place)}
    assert set(told) == set(re.findall(r"^  (--[a-z-]+)", shown, re.MULTILINE))
    words = " ".join(shown.split())
    for option, number in re.findall(r"(--[a-z-]+) [A-Z_]+ [^-]*?\((?:default: )?(\d+)\)", words):
        assert told[option] == number


def test_the_keys_that_differ_from_the_converters_are_told() -> None:
    keys = [key for key in MAY_DIFFER if not key.startswith("general.")]
    assert keys == re.findall(r"`(tokenizer\.[a-z_.]+)`", PAGE)


def test_every_type_is_told() -> None:
    assert {kind for kinds, _ in table("| type | what it is |") for kind in named(kinds)} == set(KINDS)


def test_the_names_of_the_files_are_those_that_are_written() -> None:
    told = [name for names, _ in table("| file | what it is |") for name in named(names)]
    made = [file_name("NAME", "f16"), file_name("NAME", "q4_k_m"), matrix_name("NAME"), adapter_name("NAME")]
    assert told == [*made, "step.json"]
    assert "`{}`, `{}` and `{}` in the repository".format(*ollama_files(CHAT_TEMPLATE)) in PAGE


def test_the_properties_are_those_of_the_gate_in_their_order() -> None:
    rows = table("| property | what is compared |")
    assert [named(name)[0] for name, _ in rows] == list(PROPERTIES)
    compared = {named(name)[0]: words for name, words in rows}
    assert f"to {WRITTEN} held-out" in compared["answers"]
    assert f"up to {ASKED} held-out" in compared["accuracy"]


def test_the_bounds_are_those_that_are_asked() -> None:
    rows = table("| in | type | bound |")
    told = {(kind, bound) for _, kind, bound in rows}
    names = ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "IQ4_XS")
    bounds = {name: weights.BOUNDS[getattr(weights, name)] for name in names}
    assert len(bounds) == len(weights.BOUNDS)
    assert {(name, f"{bound:.2g}") for name, bound in bounds.items()} <= told
    assert ("quantised", f"{weights.SCALE}") in told
    assert ("others, such as Q4_0", f"{weights.OTHER_BOUND}") in told
    assert LARGEST == {"f32": 0.05, "f16": 0.05, "bf16": 0.4}
    assert f"noise of {NOISE} moves by more than {ORDINARY} nats" in PAGE
    assert {("f32, f16", "0.05"), ("bf16", "0.4"), ("quantised", f"{SLACK} times the forecast")} <= told
    ends = {bound for kind, bound in told if " times " in bound and "forecast" not in bound}
    assert ends == {f"{FLIP} times the bound of `numbers`, at most", f"{MEAN_FLIP} times it, in the mean"}
    assert math.exp(LEAST) == pytest.approx(1e-3)  # a thousandth


def test_the_messages_are_those_that_are_given() -> None:
    files = [*(ROOT / "jobs").glob("*.py"), *(ROOT / "jobs" / "gguf_export").glob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    told = [named(message)[0] for message, _ in table("| message holds | what it means |")]
    assert len(told) >= 10
    assert [message for message in told if message not in code] == []


def test_the_disk_that_the_benchmark_needs_and_its_goals_are_told() -> None:
    assert f"{round(needed_bytes(LAYERS, made=False) / 1e9)} GB of disk" in PAGE
    assert f"for the merge {MERGE_PEAK / 1000} GB and no more wall time" in PAGE


def test_the_measured_table_is_of_one_sum() -> None:
    """The last row is the stages' sum of wall seconds, and the largest of their peaks."""
    *stages, whole = [
        [float(cell.replace(",", "")) for cell in row[1:]]
        for row in table("| stage | wall s, theirs | ours | peak MB, theirs | ours |")
    ]
    columns = list(zip(*stages, strict=True))
    assert whole == [*(pytest.approx(sum(column), abs=0.1) for column in columns[:2]), *map(max, columns[2:])]
