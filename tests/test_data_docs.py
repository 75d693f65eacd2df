"""docs/data.md says what the code does: options, filters, sources, licences and writers are read back from it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.config import Dataset, Documents, Writer
from jobs.data_config import KINDS, OPEN_LICENCES
from jobs.question_filters import ANSWER, CHECKS, CLOSED_BOOK, DUPLICATES, RETRIEVAL
from jobs.readers import LARGEST
from jobs.sources.hub_papers import TEXT
from jobs.training_rows import CONFIGS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
PROSE = " ".join(PAGE.split())
STEPS = ("collect", "build_index", "write_questions", "build_dataset", "pipeline")


def table(head: str) -> list[list[str]]:
    rows = PAGE.split(f"{head}\n")[1].split("\n\n", 1)[0].splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


@pytest.fixture(scope="module")
def options() -> set[str]:
    """Every option of every command of the page."""
    found = set[str]()
    for step in STEPS:
        command = [sys.executable, "-m", f"jobs.{step}", "--help"]
        shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        found |= set(re.findall(r"^\s+(--[a-z-]+)", shown, re.MULTILINE))
    return found


def test_every_option_that_it_names_exists(options: set[str]) -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE))
    assert len(named) > 20
    assert named <= options


def test_the_filters_stand_in_the_order_of_the_code() -> None:
    told = [row[0] for row in table("| filter | what it takes |")]
    assert told == ["schema", *CHECKS, DUPLICATES, RETRIEVAL, ANSWER, CLOSED_BOOK]


def test_writers_kinds_and_configs_are_those_of_the_configuration() -> None:
    writers = {name for row in table("| writer | what it is |") for name in re.findall(r"`(\w+)`", row[0])}
    assert writers == set(Writer.model_fields["kind"].annotation.__args__)
    assert all(kind in PAGE for kind in KINDS)
    assert {row[0].strip("`") for row in table("| config | what it holds |")} == {*CONFIGS, "passages"}


def test_numbers_are_the_defaults() -> None:
    dataset, writer = Dataset(), Writer()
    assert f"(`--reading-share`, {dataset.reading.share})" in PROSE
    assert dataset.reading.withheld == 0.2
    assert "In a fifth of the rows of each side (`reading.withheld`" in PROSE
    assert (dataset.decontamination.ngram, dataset.decontamination.coverage) == (8, 0.5)
    assert "half of a test item's 8-grams" in PROSE
    assert f"exact Jaccard similarity from {dataset.decontamination.similarity}" in PROSE
    assert f"among the first {writer.found_within} by BM25" in PROSE
    assert f"file or page over {LARGEST // 1_000_000} MB" in PROSE
    assert str(dataset.cutoff) == "2024-09-30"
    assert Documents().languages == ("en",)


def test_every_open_licence_is_told() -> None:
    names = {"CC0-1.0": "CC0", "public-domain": "public domain", "Unlicense": "the Unlicense", "ODC-By-1.0": "ODC-By"}
    for licence in OPEN_LICENCES:
        family = (
            re.sub(r"-(\d[\d.]*|\d-Clause)$", "", licence).replace("CC-BY-SA", "CC BY-SA").replace("CC-BY", "CC BY")
        )
        assert names.get(licence, family) in PROSE, licence


def test_the_columns_of_a_hub_data_set_are_those_that_are_looked_for() -> None:
    told = re.search(r"the column (.+?) \(QASPER", PROSE)
    assert told is not None
    assert re.split(r", | or ", told[1]) == list(TEXT)
