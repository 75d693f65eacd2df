"""Recall of planted copies, and ARC's own near-duplicates, on real ARC where it is there, else on the excerpt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.arc import task_name
from jobs.data_config import Decontamination
from jobs.decontamination import Copy, Row, find_copies, planted_recall
from jobs.decontamination.planted import CHANGES
from qa.records import Question

ROOT = Path(__file__).parents[1]
REAL = ROOT.parent / "shared" / "data" / "hub" / "allenai" / "ai2_arc"
EXCERPT = ROOT / "jobs" / "sample" / "arc"
CONFIGS = ("ARC-Challenge", "ARC-Easy")
SETTINGS = Decontamination()


def arc(folder: Path, *splits: str) -> dict[str, list[Question]]:
    """Questions of each configuration's splits."""
    return {
        f"{task_name(config)}/{split}": [
            Question.from_arc(row, task=task_name(config), source="", licence="")
            for path in sorted((folder / config).glob(f"{split}*.parquet"))
            for row in pq.read_table(path).to_pylist()
        ]
        for config in CONFIGS
        for split in splits
    }


def mmlu(questions: list[Question]) -> list[Question]:
    """Items as MMLU has them: without ids of their own, with letters."""
    rows = [{"question": q.question, "choices": list(q.choices), "answer": q.gold} for q in questions]
    return [Question.from_mmlu(row, task="mmlu", number=n, source="", licence="") for n, row in enumerate(rows)]


OWN = [
    Question(id=f"own/{number}", question=text, answer_text="x", document="d")
    for number, text in enumerate(
        (
            "What is LoRA?",
            "Why?",
            "Was bedeutet „Aufmerksamkeit“?",
            "什么是注意力机制?",
            "What does $O(n^2)$ say of attention?",
        )
    )
]


@pytest.mark.parametrize("folder", [pytest.param(REAL, id="real"), pytest.param(EXCERPT, id="excerpt")])
def test_every_verbatim_copy_is_found(folder: Path) -> None:
    if not folder.is_dir():
        pytest.skip("needs ARC in ../shared/data/hub")
    tests = arc(folder, "test", "validation")
    tests |= {"mmlu": mmlu(tests["arc_challenge/test"][:40]), "own": OWN}
    items = sum(map(len, tests.values()))
    assert items > 50
    recall = {(row["test"], row["change"]): row for row in planted_recall(tests, SETTINGS, 17, most=items)}
    assert sum(recall[test, "verbatim"]["n"] for test in tests) == items
    for test in tests:
        verbatim, tenth, fifth = (recall[test, change] for change in CHANGES)
        assert verbatim["any"] == 1.0
        assert verbatim["coverage"] == (0.2 if test == "own" else 1.0)  # four of those five have fewer than 5 words
        if test != "own":
            assert tenth["any"] >= 0.95
            assert fifth["any"] < tenth["any"]


@pytest.fixture(scope="module")
def pairs() -> dict[tuple[str, str], dict[str, Copy]]:
    """Copies of ARC's test and validation items in its training rows, by row, item and method."""
    if not REAL.is_dir():
        pytest.skip("needs ARC in ../shared/data/hub")
    training = [question for questions in arc(REAL, "train").values() for question in questions]
    rows = [Row(q.id, "arc", "\n".join((q.question, *q.choices)), q) for q in training]
    assert len(rows) == 3370
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for copy in find_copies(rows, arc(REAL, "test", "validation"), SETTINGS):
        found.setdefault((copy.row, copy.item), {})[copy.method] = copy
    return found


def same_words(text: str) -> str:
    return "".join(sign for sign in text.partition(" | ")[0].lower() if sign.isalnum())


def test_arc_has_twenty_pairs_of_one_question_and_all_are_found(pairs: dict[tuple[str, str], dict[str, Copy]]) -> None:
    identical = [
        copies["exact"]
        for copies in pairs.values()
        if "exact" in copies and same_words(copies["exact"].row_text) == same_words(copies["exact"].item_text)
    ]
    assert len(identical) == 20


def test_arc_s_near_duplicates_by_method(pairs: dict[tuple[str, str], dict[str, Copy]]) -> None:
    counts = {
        method: sum(method in found for found in pairs.values()) for method in ("exact", "coverage", "near_duplicate")
    }
    assert counts == {"exact": 20, "coverage": 30, "near_duplicate": 45}
    assert len(pairs) == 63
    assert len({row for row, _ in pairs}) == 55
