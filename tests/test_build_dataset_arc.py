"""ARC in the data set: official splits through the Hub's own client, damaged rows and files, copies across splits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.arc import load_arc, read_row
from jobs.errors import UserError
from jobs.rows import completion_of
from local_hub.faults import cut_download
from local_hub.seeding import seed_all
from local_hub.testing import running_hub
from qa.records import SPLITS, RecordError
from tests.dataset_world import SIDES, passage, passages_folder, question, questions_folder, read_rows
from tests.tiny import tiny_tokenizer

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer(folder)
    return str(folder)


def arc_row(name: str, texts: list[str], labels: list[str], key: str) -> dict:
    return {"id": name, "question": "Which?", "choices": {"text": texts, "label": labels}, "answerKey": key}


DAMAGED = {
    "no key": (arc_row("d1", ["a", "b"], ["A", "B"], "E"), "answerKey 'E' is not among the labels"),
    "one option": (arc_row("d2", ["a"], ["A"], "A"), "at least 2 choices"),
    "labels repeat": (arc_row("d3", ["a", "b"], ["A", "A"], "A"), "labels repeat"),
    "lengths differ": (arc_row("d4", ["a", "b"], ["A", "B", "C"], "A"), "2 choices but 3 labels"),
    "empty option": (arc_row("d5", ["a", " "], ["A", "B"], "A"), "an option is empty"),
    "equal options": (arc_row("d6", ["a", "a"], ["A", "B"], "A"), "two options are the same"),
    "run together": (
        arc_row("d7", ["0.0", "s B 50 s", "100 s"], ["A", "B", "C"], "B"),
        "two options have run together",
    ),
    "other schema": ({"id": "d8", "question": "Which?", "options": []}, "not in ARC's schema"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_arc_row_names_itself(damage: str) -> None:
    row, reason = DAMAGED[damage]
    with pytest.raises(RecordError, match=reason) as caught:
        read_row(row, "ARC-Easy", "allenai/ai2_arc", "cc-by-sa-4.0")
    assert f"'{row['id']}'" in str(caught.value)


@pytest.mark.parametrize("count", [3, 4, 5])
def test_legal_arc_rows_of_other_sizes_and_numeric_labels(count: int) -> None:
    row = arc_row("x", [f"option {n}" for n in range(count)], [str(n + 1) for n in range(count)], str(count))
    read = read_row(row, "ARC-Easy", "allenai/ai2_arc", "cc-by-sa-4.0")
    assert (read.gold, read.task, read.id, read.licence) == (count - 1, "arc_easy", "arc_easy/x", "cc-by-sa-4.0")
    assert completion_of(read)[0]["content"] == str(count)


def distinct_row(name: str, texts: list[str]) -> dict:
    """A row that asks in words of its own: it is a copy of no other."""
    asked = "Which " + " ".join(f"{name}{letter}" for letter in "abcdefgh").replace("-", "") + "?"
    return arc_row(name, texts, ["A", "B", "C"], "A") | {"question": asked}


def arc_repository(folder: Path) -> None:
    """A small `allenai/ai2_arc` of the real layout, one damaged row in it."""
    import pyarrow as pa
    from pyarrow import parquet

    configs = ""
    for config in ("ARC-Challenge", "ARC-Easy"):
        configs += f"- config_name: {config}\n  data_files:\n"
        for split in SPLITS:
            rows = [distinct_row(f"{config}-{split}-{n}", [f"{split} {n}", "b", "c"]) for n in range(4)]
            rows += [DAMAGED["no key"][0]] if (config, split) == ("ARC-Easy", "train") else []
            path = folder / "allenai" / "ai2_arc" / config / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            parquet.write_table(pa.Table.from_pylist(rows), path)
            configs += f"  - {{split: {split}, path: {config}/{split}-*}}\n"
    card = f"---\nlicense: cc-by-sa-4.0\nconfigs:\n{configs}---\n# ARC\n"
    (folder / "allenai" / "ai2_arc" / "README.md").write_text(card)


def run(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobs.build_dataset", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def test_arc_comes_from_the_hub_with_its_official_splits(tmp_path: Path, tokenizer: str) -> None:
    from pyarrow import parquet

    arc_repository(tmp_path / "seed")
    dates = {"c": "2025-01-01"}
    asked = [question(name, f"What is {name}?", date=dates.get(name, "")) for name in "abc"]
    source = questions_folder(tmp_path / "q", asked, SIDES)
    passages = passages_folder(tmp_path / "p", [passage(name, 0, f"Text of {name}.", licence="MIT") for name in "ab"])
    common = [source, "--out", tmp_path / "out", "--tokenizer", tokenizer]
    common += ["--passages", passages, "--reading-share", 0, "--arc"]
    with running_hub(tmp_path / "hub") as hub:
        seed_all(hub.store, tmp_path / "seed")
        environment = hub.environment(tmp_path / "home")
        done = run(environment, *common, "allenai/ai2_arc")
        missing = run(environment, *common, "allenai/ai2_ark")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "research_qa: 1 train, 1 validation, 1 test, 1 test_recent",
        "arc: 8 train, 8 validation, 8 test",
        "passages: 2 train",
        f"built: 1 row dropped, see {tmp_path / 'out' / 'rejected.parquet'}",
    ]
    figures = json.loads((tmp_path / "out" / "step.json").read_text())["figures"]
    assert figures["damaged_rows"] == ["ARC-Easy/train/d1"]
    assert figures["arc"]["licence"] == "cc-by-sa-4.0"
    assert len(figures["arc"]["revision"]) == 40
    rows = parquet.read_table(tmp_path / "out" / "arc" / "test.parquet").to_pylist()
    assert {row["task"] for row in rows} == {"arc_challenge", "arc_easy"}
    assert {row["licence"] for row in rows} == {"cc-by-sa-4.0"}
    assert all("test" in row["choices"][0] and row["answer"] == "A" for row in rows)
    questions, damaged, origin = load_arc(str(tmp_path / "seed" / "allenai" / "ai2_arc"), ["ARC-Easy"])
    assert [len(questions[split]) for split in SPLITS] == [4, 4, 4]
    assert ([entry.name for entry in damaged], origin["licence"]) == (["ARC-Easy/train/d1"], "cc-by-sa-4.0")
    assert missing.returncode == 2
    assert missing.stderr.splitlines()[-1].startswith("error: allenai/ai2_ark: no such data set")


def test_a_hub_that_dies_during_the_download_is_one_line(tmp_path: Path, tokenizer: str) -> None:
    arc_repository(tmp_path / "seed")
    source = questions_folder(tmp_path / "q", [question(name, f"What is {name}?") for name in "abc"], SIDES)
    with running_hub(tmp_path / "hub", [cut_download("ARC-Easy.*parquet", 100, times=999)]) as hub:
        seed_all(hub.store, tmp_path / "seed")
        common = [source, "--out", tmp_path / "out", "--tokenizer", tokenizer, "--arc", "allenai/ai2_arc"]
        cut = run(hub.environment(tmp_path / "home"), *common)
    assert cut.returncode == 2
    assert cut.stderr.splitlines()[-1].startswith("error: allenai/ai2_arc: the Hub does not answer; check network and")
    assert not (tmp_path / "out").exists()


def test_a_changed_arc_folder_is_not_read_from_the_cache(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    arc_repository(tmp_path)
    folder = tmp_path / "allenai" / "ai2_arc"
    assert len(load_arc(str(folder), ["ARC-Easy"])[0]["test"]) == 4
    rows = [arc_row("new", ["changed", "b"], ["A", "B"], "A")]
    parquet.write_table(pa.Table.from_pylist(rows), folder / "ARC-Easy" / "test-00000-of-00001.parquet")
    assert [row.id for row in load_arc(str(folder), ["ARC-Easy"])[0]["test"]] == ["arc_easy/new"]


def test_damaged_arc_files_and_cards_are_named(tmp_path: Path) -> None:
    arc_repository(tmp_path)
    folder = tmp_path / "allenai" / "ai2_arc"
    table, card = folder / "ARC-Easy" / "test-00000-of-00001.parquet", folder / "README.md"
    whole, text = table.read_bytes(), card.read_text()

    def said(config: str = "ARC-Easy") -> str:
        with pytest.raises(UserError) as caught:
            load_arc(str(folder), [config])
        return str(caught.value)

    table.write_bytes(whole[:200])
    assert said().startswith(
        f"{folder}: configuration 'ARC-Easy' holds damaged data in ARC-Easy/test-00000-of-00001.parquet (Could not open"
    )
    table.unlink()
    assert said().startswith(f"{folder}: configuration 'ARC-Easy' cannot be had (")
    card.write_text(text.replace("ARC-Easy/train-*", "ARC-Easy/absent.parquet"))
    assert "absent.parquet" in said()
    assert said("ARC-Hard").startswith(f"{folder}: configuration 'ARC-Hard' cannot be had (")
    for broken in ("---\nlicense: [a\n---\n", "---\n- a\n---\n"):
        card.write_text(broken)
        assert said().startswith(f"{folder}/README.md: its metadata block is not valid YAML (")
    card.write_bytes(b"---\nlicense: \xff\n---\n")
    assert said().startswith(f"{folder}/README.md: its metadata block is not valid YAML (")
    card.unlink()
    assert said().startswith(f"{folder}: no README.md that names")


def test_real_arc_loses_its_damaged_row_and_its_copies_across_splits(
    tmp_path: Path, tokenizer: str, shared_data: Path
) -> None:
    source = questions_folder(tmp_path / "q", [question(name, f"What is {name}?") for name in "abc"], SIDES)
    with running_hub(tmp_path / "hub") as hub:
        seed_all(hub.store, shared_data / "hub")
        environment = hub.environment(tmp_path / "home")
        arguments = [source, "--out", tmp_path / "out", "--tokenizer", "Qwen/Qwen2.5-3B-Instruct"]
        done = run(environment, *arguments, "--arc", "allenai/ai2_arc")
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "out" / "step.json").read_text())["figures"]
    assert figures["damaged_rows"] == ["ARC-Challenge/train/ARC-Challenge-train-1038"]
    assert figures["rows_by_task"]["test"] == {"arc_easy": 2376, "arc_challenge": 1172, "research": 1}
    assert sum(figures["rows"]["arc"].values()) == 7787 - figures["dropped"]
    assert set(figures["dropped_by_stage"]) == {"schema", "decontamination"}
    assert 20 <= figures["dropped_by_stage"]["decontamination"] <= 300
    assert 850 <= figures["rows"]["arc"]["validation"] < 869
    left = load_arc(str(shared_data / "hub" / "allenai" / "ai2_arc"), ["ARC-Easy", "ARC-Challenge"])[0]
    kept = {row["id"] for row in read_rows(tmp_path / "out" / "arc" / "train.parquet")}
    asked = {(row.question, *sorted(row.choices)) for split in ("validation", "test") for row in left[split]}
    verbatim = {row.id for row in left["train"] if (row.question, *sorted(row.choices)) in asked}
    assert len(verbatim) >= 2
    assert not verbatim & kept
    assert figures["tokens"]["arc"]["p100"] <= 512


def test_a_repository_that_is_not_arc_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("jobs.arc._origin", lambda name: {"repository": name, "revision": "main", "licence": ""})
    monkeypatch.setattr("jobs.arc._load", lambda *_: {"train": []})
    with pytest.raises(UserError, match="ARC-Easy has no validation split"):
        load_arc("someone/else", ["ARC-Easy"])
