"""The data set on a Hub on loopback: what is sent, what never is, and what `load_dataset` gives back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.errors import UserError
from jobs.rows import write_passages
from jobs.staging import stage
from local_hub.testing import RunningHub, running_hub
from tests.dataset_run import DOCUMENTS, NAMES, REFUSED, data_run, document, passage, read_run
from tests.publishing import api, command, fetch
from tests.runs import rewrite

SEND = """
import sys
from pathlib import Path
from jobs.dataset_card import dataset_card
from jobs.hub import commit_files
from jobs.staging import stage
from tests.dataset_run import read_run
run = read_run(Path(sys.argv[1]))
staged = stage(run, "dataset", dataset_card(run), Path("unused"))
commit_files(staged.repository, "dataset", staged.files, private=False, title="Publish")
"""
READ_BACK = """
import json, sys
import pyarrow.parquet
from datasets import Features, get_dataset_config_names, load_dataset
from huggingface_hub import DatasetCard

name, folder, found = sys.argv[1], sys.argv[2], {}
DatasetCard.load(name).validate()
for config in get_dataset_config_names(name):
    for split, rows in load_dataset(name, config).items():
        local = pyarrow.parquet.read_table(f"{folder}/{config}/{split}.parquet")
        same = rows.features == Features.from_arrow_schema(local.schema) and rows.to_list() == local.to_pylist()
        found[f"{config}/{split}"] = len(rows) if same else "differs"
default = load_dataset(name, split="test_recent").to_list()
reading = load_dataset(name, "reading", split="train")
print(json.dumps({"found": found, "default": [row["id"] for row in default], "row": reading[0],
                  "types": {key: str(value) for key, value in reading.features.items()}}))
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="module")
def world(hub: RunningHub, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("world")
    run = data_run(folder / "run")
    (run / "dataset" / "research_qa" / "backup.parquet").write_bytes(b"a file that nobody named")
    done = command(hub, folder / "home", "-c", SEND, str(run))
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(run=run, home=folder / "home")


def test_each_configuration_comes_back_as_it_was_written(hub: RunningHub, world: Any) -> None:
    done = command(hub, world.home, "-c", READ_BACK, NAMES.dataset, str(world.run / "dataset"))
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.strip().splitlines()[-1])
    assert said["found"] == {
        "research_qa/train": 40, "research_qa/validation": 8, "research_qa/test": 24, "research_qa/test_recent": 2,
        "reading/train": 10, "reading/test": 10, "passages/train": 2 * DOCUMENTS,
    }  # fmt: skip
    assert said["default"] == ["o024", "o025"]
    row = said["row"]
    assert row["passage"] == row["sources"][1] == "paper-0.md#1"
    assert f"[2] Paper 0: {row['evidence']}" in row["prompt"][-1]["content"]
    assert row["completion"] == [{"role": "assistant", "content": "scaled product 0 [2]."}]
    assert said["types"]["sources"] == "List(Value('string'))"


def test_only_named_files_are_sent_and_nothing_that_was_refused(hub: RunningHub, world: Any) -> None:
    names = set(api(hub).list_repo_files(NAMES.dataset, repo_type="dataset"))
    rows = {f"research_qa/{split}.parquet" for split in ("train", "validation", "test", "test_recent")}
    rows |= {"reading/train.parquet", "reading/test.parquet", "passages/train.parquet"}
    others = {"README.md", ".gitattributes", "decontamination.json", "space/test_questions.jsonl"}
    assert names == rows | others
    for name in names:
        assert REFUSED.encode() not in fetch(hub, world.home, NAMES.dataset, name, "dataset"), name


@pytest.mark.parametrize(
    ("licence", "limits", "words"),
    [
        ("CC-BY-NC-4.0", {}, "paper-0.md#1 is under CC-BY-NC-4.0, which documents.licences does not list"),
        ("", {"unstated": "all"}, "paper-0.md#1 is under no licence, so its text is not to be published"),
        ("cc-by-4.0", {}, ""),
        ("MIT", {"licences": ["CC-BY-4.0"]}, "is under MIT"),
        ("CC-BY-NC-4.0", {"licences": ["CC-BY-4.0", "cc-by-nc-4.0"]}, ""),
    ],
)
def test_a_passage_under_a_licence_off_the_list_stays_here(
    tmp_path: Path, licence: str, limits: dict[str, Any], words: str
) -> None:
    run = data_run(tmp_path / "run")
    step = run / "passages" / "step.json"
    rewrite(step, arguments=json.loads(step.read_text())["arguments"] | limits)
    path, sides = run / "dataset" / "passages" / "train.parquet", {document(0): "train"}
    write_passages(path, [passage(1), passage(0, licence=licence)], sides)
    if not words:
        assert path in stage(read_run(run), "dataset", "", tmp_path).files.values()
        return
    with pytest.raises(UserError, match=words):
        stage(read_run(run), "dataset", "", tmp_path)


def test_a_collection_that_names_no_licences_is_made_again(tmp_path: Path) -> None:
    run = data_run(tmp_path / "run")
    rewrite(run / "passages" / "step.json", arguments={})
    with pytest.raises(UserError, match="does not say which licences were to be taken; run collect again"):
        stage(read_run(run), "dataset", "", tmp_path)
    (run / "dataset" / "passages" / "train.parquet").unlink()
    assert "passages/train.parquet" not in stage(read_run(run), "dataset", "", tmp_path).files
