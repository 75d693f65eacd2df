"""Pulling what the page serves from a Hub on loopback: checks, progress, the copy that stays, and what errors say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from local_hub.faults import fail
from local_hub.testing import RunningHub, running_hub
from qa.ask_settings import AskSettings
from qa.published_files import Examples
from qa.records import Passage
from qa.retrieval import FILES, MANIFEST, Index, build
from tests.publishing import command
from tests.runs import question

MODEL, DATA, INDEX = "demo/tiny-GGUF", "demo/tiny-qa", "demo/tiny-index"
METRICS = {"schema": 1, "models": {"gguf": {"results": []}}, "comparisons": []}
EXAMPLE = {"question": "What is it?", "answer": "A model.", "tokens": 3, "seconds": 0.5, "finish": "stop"}
EXAMPLES = {"schema": 1, "file": "shown-q4_k_m.gguf", "sha256": "0" * 64, "settings": AskSettings().as_dict()}
EXAMPLES["answers"] = [EXAMPLE]
ITEM = {"id": "q1", "formulation": "cloze (chat)", "base": "A", "tuned": "B", "answer": "B"}
DEAD = "http://127.0.0.1:9"
CLIENT = """
import json, sys
from qa import artifacts, pull

given = json.loads(sys.argv[1])
calls = []
if given.pop("watch", False):
    given["progress"] = lambda done, total: calls.append((done, total))
try:
    found = getattr(pull, given.pop("call"))(**given)
except artifacts.ArtifactError as error:
    print(json.dumps({"error": str(error)}))
else:
    shown = [row.model_dump(mode="json") for row in found] if isinstance(found, list) else found
    shown = found.model_dump(mode="json", by_alias=True) if hasattr(found, "model_dump") else shown
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
        publish_for_the_page(hub, folder / "index")
        yield SimpleNamespace(hub=hub, folder=folder, whole=whole, rows=rows, old=old)


def publish_for_the_page(hub: RunningHub, folder: Path) -> None:
    """Files of `space/`, whole and damaged ones, and an index with a card."""
    shown = {
        "space/about.md": b"## What it is\n\nA model.\n",
        "space/examples.json": json.dumps(EXAMPLES).encode(),
        "space/items.jsonl": f"{json.dumps(ITEM)}\n{json.dumps({**ITEM, 'base': ''})}\n".encode(),
    }
    commit(hub, "demo/shown-GGUF", shown)
    foreign = {**EXAMPLES, "answers": [{**EXAMPLE, "finish": "bored"}]}
    bad = {
        "space/about.md": b"\xff\xfe",
        "space/examples.json": json.dumps(foreign).encode(),
        "space/items.jsonl": b'{"id": "q1"}\n',
    }
    commit(hub, "demo/bad-GGUF", bad)
    commit(hub, "demo/long-GGUF", {"space/about.md": b"x" * 65_537, "space/examples.json": b"{"})
    text = "LoRA keeps the weights frozen."
    build([Passage(id="lora:0", document="lora", title="LoRA", text=text, start=0, end=30)], folder)
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    commit(hub, INDEX, {**files, "README.md": b"# An index", "step.json": b"{}"}, "dataset")


def pull(world: Any, home: Path, call: str, *, endpoint: str = "", **given: Any) -> dict[str, Any]:
    """Call a function of `qa.pull` in a process of its own, as the page would."""

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
    "no text": ("pull_about", {"repository": "demo/bad-GGUF"}, ["demo/bad-GGUF@main:space/about.md", "not UTF-8"]),
    "too long": ("pull_about", {"repository": "demo/long-GGUF"}, ["space/about.md", "65,537 bytes", "65,536"]),
    "bad examples": ("pull_examples", {"repository": "demo/bad-GGUF"}, ["space/examples.json", "answers.0.finish"]),
    "cut examples": ("pull_examples", {"repository": "demo/long-GGUF"}, ["demo/long-GGUF@main:space/examples.json"]),
    "bad items": ("pull_items", {"repository": "demo/bad-GGUF"}, ["space/items.jsonl", "row 1", "formulation"]),
    "no index": ("pull_index", {"repository": "demo/absent"}, ["demo/absent@main", "FOOTNOTE_INDEX"]),
    "foreign index": ("pull_index", {"repository": DATA}, [DATA, "manifest.json", "FOOTNOTE_INDEX"]),
    "no figures": ("pull_metrics", {"repository": "demo/none"}, ["demo/none@main", "no figures", "FOOTNOTE_MODEL"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_error_names_what_to_change(world: Any, tmp_path: Path, case: str) -> None:
    call, given, words = REFUSED[case]
    error = pull(world, tmp_path / "home", call, **given)["error"]
    assert "\n" not in error
    for word in words:
        assert word in error, error


def test_what_is_published_for_the_page_is_read_and_may_be_absent(world: Any, tmp_path: Path) -> None:
    home, calls = tmp_path / "home", ("pull_about", "pull_examples", "pull_items")
    about, examples, items = (pull(world, home, call, repository="demo/shown-GGUF")["found"] for call in calls)
    assert about == "## What it is\n\nA model.\n"
    assert examples["answers"] == [EXAMPLE]
    assert examples["sha256"] == EXAMPLES["sha256"]
    assert items == [ITEM, {**ITEM, "base": "", "tuned": "B"}]
    assert [pull(world, home, call, repository=MODEL)["found"] for call in calls] == ["", None, []]
    asked = [(home, call) for call in calls] + [(tmp_path / "empty", "pull_about")]
    with ThreadPoolExecutor() as pool:  # the client tries a dead Hub for 24 seconds
        *down, unasked = pool.map(lambda one: pull(world, *one, repository=MODEL, endpoint=DEAD), asked)
    assert [answer["found"] for answer in down] == ["", None, []]
    assert "cannot be reached" in unasked["error"]


def test_examples_are_of_the_file_that_wrote_them(world: Any, tmp_path: Path) -> None:
    path = Path(pull(world, tmp_path / "home", "pull_gguf", repository=MODEL)["found"])
    examples = Examples.model_validate({**EXAMPLES, "file": path.name, "sha256": sha256(world.whole).hexdigest()})
    assert examples.match(path)
    assert path.resolve().name == examples.sha256  # so that nothing was hashed
    plain = tmp_path / path.name
    plain.write_bytes(world.whole)
    assert examples.match(plain)
    plain.write_bytes(world.whole[:-1] + b"x")
    assert not examples.match(plain)
    assert not examples.match(plain.rename(tmp_path / "other.gguf"))
    assert examples.answer("What is it?") == examples.answers[0]
    assert examples.answer("What?") is None


def test_an_index_is_pulled_whole_and_alone(world: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    folder = Path(pull(world, home, "pull_index", repository=INDEX)["found"])
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {MANIFEST, *FILES}
    assert [hit.passage.id for hit in Index.load(folder).search("frozen weights")] == ["lora:0"]
    assert pull(world, home, "pull_index", repository=INDEX, endpoint=DEAD)["found"] == str(folder)
    (folder / "passages.jsonl").resolve().write_bytes(b"damaged")
    again = Path(pull(world, home, "pull_index", repository=INDEX, again=True)["found"])
    assert len(Index.load(again)) == 1
