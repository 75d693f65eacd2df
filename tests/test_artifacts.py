"""Pulling what the page serves from a Hub on loopback: checks, progress, the copy that stays, and what errors say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from local_hub.faults import fail
from local_hub.testing import RunningHub, running_hub
from qa.artifacts import ArtifactError, Reference, Repositories, parse_reference, pick_gguf
from tests.publishing import command
from tests.runs import question

MODEL, DATA = "demo/tiny-GGUF", "demo/tiny-qa"
METRICS = {"schema": 1, "models": {"gguf": {"results": []}}, "comparisons": []}
DEAD = "http://127.0.0.1:9"
CLIENT = """
import json, sys
from qa import artifacts

given = json.loads(sys.argv[1])
calls = []
if given.pop("watch", False):
    given["progress"] = lambda done, total: calls.append((done, total))
try:
    found = getattr(artifacts, given.pop("call"))(**given)
except artifacts.ArtifactError as error:
    print(json.dumps({"error": str(error)}))
else:
    shown = [row.model_dump(mode="json") for row in found] if isinstance(found, list) else found
    print(json.dumps({"found": shown, "calls": calls}, default=str))
assert not {"torch", "transformers", "datasets", "pyarrow", "gradio"} & set(sys.modules)
"""


def write_model(path: Path, width: int = 64) -> Path:
    """A small GGUF of one F32 tensor and some metadata of every shape; no model, but a whole file."""
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_array("tokenizer.ggml.tokens", ["<|im_start|>", "é", ""])
    writer.add_array("some.numbers", [1, 2, 3])
    writer.add_float32("some.float", 0.5)
    writer.add_tensor("token_embd.weight", np.arange(256 * width, dtype=np.float32).reshape(256, width))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def commit(hub: RunningHub, repository: str, files: dict[str, bytes], kind: str = "model") -> str:
    api = HfApi(endpoint=hub.endpoint, token=hub.write_token)
    api.create_repo(repository, repo_type=kind, exist_ok=True)
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=data) for name, data in files.items()]
    return api.create_commit(repository, operations, commit_message="files", repo_type=kind).oid


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Hub with a model, its figures and test questions, of which there is an older revision."""
    folder = tmp_path_factory.mktemp("artifacts")
    whole = write_model(folder / "whole.gguf").read_bytes()
    rows = [question(number) for number in range(3)]
    lines = [json.dumps(row.model_dump(mode="json"), ensure_ascii=False).encode() + b"\n" for row in rows]
    with running_hub(folder / "hub") as hub:
        files = {
            "tiny-f16.gguf": whole,
            "tiny-q4_k_m.gguf": whole,
            "evaluation/metrics.json": json.dumps(METRICS).encode(),
        }
        commit(hub, MODEL, files)
        commit(hub, "demo/cut-GGUF", {"cut-q4_k_m.gguf": whole[:-9]})
        commit(hub, "demo/two-GGUF", {"a-q4_k_m.gguf": whole, "b-Q4_K_M.gguf": whole})
        commit(hub, "demo/none", {"readme.txt": b"nothing", "evaluation/metrics.json": b"[]"})
        old = commit(hub, DATA, {"space/test_questions.jsonl": b"".join(lines[:1])}, "dataset")
        commit(hub, DATA, {"space/test_questions.jsonl": b"".join(lines)}, "dataset")
        commit(hub, "demo/bad-qa", {"space/test_questions.jsonl": lines[0] + b'{"id": ""}\n'}, "dataset")
        yield SimpleNamespace(hub=hub, folder=folder, whole=whole, rows=rows, old=old)


def pull(world: Any, home: Path, call: str, *, endpoint: str = "", **given: Any) -> dict[str, Any]:
    """Call a function of `qa.artifacts` in a process of its own, as the page would."""

    def environment(home: Path, token: str | None) -> dict[str, str]:
        return world.hub.environment(home, token) | ({"HF_ENDPOINT": endpoint} if endpoint else {})

    client = SimpleNamespace(environment=environment)
    done = command(client, home, "-c", CLIENT, json.dumps({"call": call} | given))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_model_is_pulled_with_progress_and_stays_when_the_hub_is_down(world: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = pull(world, home, "pull_gguf", repository=MODEL, watch=True)
    path, size = Path(first["found"]), len(world.whole)
    assert path.name == "tiny-q4_k_m.gguf"
    assert path.read_bytes() == world.whole
    assert first["calls"][-1] == [size, size]
    assert len(first["calls"]) > 2
    assert [done for done, _ in first["calls"]] == sorted(done for done, _ in first["calls"])
    down = pull(world, home, "pull_gguf", repository=MODEL, endpoint=DEAD, watch=True)
    assert down["found"] == first["found"]
    assert down["calls"] == [[size, size]]
    gone = pull(world, tmp_path / "empty", "pull_gguf", repository=MODEL, endpoint=DEAD)
    assert MODEL in gone["error"]
    assert DEAD in gone["error"]
    assert "HF_ENDPOINT" in gone["error"]


def test_a_failing_hub_does_not_take_the_copy_away(world: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = pull(world, home, "pull_gguf", repository=MODEL)
    world.hub.faults[:] = [fail(method, MODEL, 503, times=99, message="maintenance") for method in ("GET", "HEAD")]
    try:
        failing = pull(world, home, "pull_gguf", repository=MODEL)
        named = pull(world, tmp_path / "empty", "pull_gguf", repository=MODEL)
    finally:
        world.hub.faults.clear()
    assert failing["found"] == first["found"]
    assert "503 (maintenance)" in named["error"]
    assert MODEL in named["error"]


def test_a_copy_that_was_damaged_here_is_pulled_again(world: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    path = Path(pull(world, home, "pull_gguf", repository=MODEL)["found"])
    path.resolve().write_bytes(world.whole[:100])
    assert pull(world, home, "pull_gguf", repository=MODEL)["found"] == str(path)
    assert path.read_bytes() == world.whole


def test_questions_and_figures_are_read_at_their_revision(world: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    expected = [json.loads(row.model_dump_json()) for row in world.rows]
    assert pull(world, home, "pull_rows", repository=DATA)["found"] == expected
    assert pull(world, home, "pull_rows", repository=DATA, revision=world.old)["found"] == expected[:1]
    assert pull(world, home, "pull_rows", repository=DATA, revision=world.old, endpoint=DEAD)["found"] == expected[:1]
    assert pull(world, home, "pull_metrics", repository=MODEL)["found"] == METRICS


REFUSED = {
    "no repository": ("pull_gguf", {"repository": "demo/absent"}, ["demo/absent@main", "FOOTNOTE_MODEL", "HF_TOKEN"]),
    "no name": ("pull_gguf", {"repository": "a/b/c"}, ["a/b/c", "FOOTNOTE_MODEL"]),
    "no revision": ("pull_gguf", {"repository": MODEL, "revision": "v9"}, [f"{MODEL}@v9", "FOOTNOTE_MODEL_REVISION"]),
    "no file": ("pull_gguf", {"repository": MODEL, "filename": "x.gguf"}, [f"{MODEL}@main:x.gguf", "FOOTNOTE_MODEL"]),
    "two files": ("pull_gguf", {"repository": "demo/two-GGUF"}, ["a-q4_k_m.gguf, b-Q4_K_M.gguf", "FOOTNOTE_MODEL"]),
    "none": (
        "pull_gguf",
        {"repository": "demo/none", "variable": "FOOTNOTE_BASE"},
        ["no GGUF file at all", "FOOTNOTE_BASE"],
    ),
    "cut short": ("pull_gguf", {"repository": "demo/cut-GGUF"}, ["demo/cut-GGUF@main:cut-q4_k_m.gguf", "cut short"]),
    "bad rows": ("pull_rows", {"repository": "demo/bad-qa"}, ["demo/bad-qa@main", "row 2", "FOOTNOTE_DATA"]),
    "no figures": ("pull_metrics", {"repository": "demo/none"}, ["demo/none@main", "no figures", "FOOTNOTE_MODEL"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_error_names_what_to_change(world: Any, tmp_path: Path, case: str) -> None:
    call, given, words = REFUSED[case]
    error = pull(world, tmp_path / "home", call, **given)["error"]
    assert "\n" not in error
    for word in words:
        assert word in error, error


def test_references_are_read_and_refused() -> None:
    assert parse_reference("a/b-GGUF") == Reference("a/b-GGUF")
    assert parse_reference(" a/b@v1.0:q4/x-q4_k_m.gguf ") == Reference("a/b", "v1.0", "q4/x-q4_k_m.gguf")
    assert str(Reference("a/b", "v1", "x.gguf")) == "a/b@v1:x.gguf"
    for text in ("", "a", "a/b/c", "../b", "a/b@", "a/b:x.bin", "https://a/b", "a/b@r e"):
        with pytest.raises(ArtifactError, match="FOOTNOTE_BASE"):
            parse_reference(text, variable="FOOTNOTE_BASE")


def test_the_one_four_bit_file_is_picked() -> None:
    assert pick_gguf(["README.md", "x-f16.gguf", "x-Q4_K_M.gguf"]) == "x-Q4_K_M.gguf"
    assert pick_gguf(["only-q8_0.gguf"]) == "only-q8_0.gguf"
    split = ["x-q4_k_m-00001-of-00002.gguf", "x-q4_k_m-00002-of-00002.gguf", "x-q4_k_m.gguf"]
    assert pick_gguf(split) == "x-q4_k_m.gguf"
    with pytest.raises(ArtifactError, match=r"x-f16\.gguf, x-q8_0\.gguf"):
        pick_gguf(["x-q8_0.gguf", "x-f16.gguf"])


def test_names_of_a_run() -> None:
    names = Repositories("me", "footnote")
    assert [names.dataset, names.base, names.base_gguf, names.adapter, names.merged, names.gguf] == [
        "me/footnote-qa",
        "me/footnote-base",
        "me/footnote-base-GGUF",
        "me/footnote-lora",
        "me/footnote-merged",
        "me/footnote-GGUF",
    ]
