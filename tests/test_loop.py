"""The whole loop on a small world: documents and ARC in, repositories out, read back with the plain clients."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.rejections import read_rejections
from local_hub.testing import RunningHub, running_hub
from qa.headline import headline_lines
from tests.card_reading import table_headed

ROOT = Path(__file__).parents[1]
SMALL = (
    "base.pretrain.steps=4 base.pretrain.batch=2 base.pretrain.length=64 base.pretrain.layers=2 "
    "base.pretrain.vocabulary=600 base.pretrain.context=1024 train.max_steps=4 train.report_to=none evaluation.limit=6"
).split()
pytestmark = pytest.mark.loop


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every fourth article of the embedded world, so that each format is among them, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("documents")
    articles = ROOT / "jobs" / "sample" / "articles"
    texts = sorted(path for path in articles.iterdir() if path.suffix in {".md", ".html", ".tex", ".rst"})
    for path in texts[::4] + list(articles.glob("*.pdf*")):
        shutil.copy(path, folder)
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 and then nothing")
    return folder


def pipeline(hub: RunningHub, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    settings = [word for value in SMALL for word in ("--set", value)]
    command = [sys.executable, "-m", "jobs.pipeline", "--config", "jobs/configs/tiny.yaml", *settings, *words]
    env = {**os.environ, **hub.environment(home), "COLUMNS": "200"}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=280)


@pytest.fixture(scope="module")
def run(hub: RunningHub, home: Path, documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    done = pipeline(hub, home, "--documents", str(documents), "--run", str(folder), "--namespace", "demo")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "fine-tuned (Q4) against base" in done.stdout.replace("\n", " ")
    return folder


def figures(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "step.json").read_text())["figures"]


def test_every_step_left_its_folder(run: Path) -> None:
    steps = "adapter adapter_gguf base base_gguf cards dataset evaluation examples gguf index ladder merged".split()
    steps += ["passages", "questions"]
    assert sorted(path.name for path in run.iterdir()) == steps
    assert all((run / step / "step.json").is_file() for step in steps)


def test_the_unreadable_document_is_listed_and_the_rest_went_on(run: Path) -> None:
    rejected = read_rejections(run / "passages" / "rejected.parquet")
    assert [(entry.name, entry.reason.partition(" (")[0]) for entry in rejected] == [
        ("broken.pdf", "broken, or not a PDF")
    ]
    suffixes = {Path(name).suffix for name in (row["document"] for row in map(json.loads, open_lines(run)))}
    assert {".md", ".html", ".tex", ".rst", ".pdf"} <= suffixes


def open_lines(run: Path) -> list[str]:
    return (run / "passages" / "passages.jsonl").read_text().splitlines()


def test_no_document_is_on_two_sides(run: Path) -> None:
    import pyarrow.parquet as pq

    folder = run / "dataset" / "research_qa"
    tables = [pq.read_table(folder / f"{split}.parquet") for split in ("train", "validation", "test")]
    sides = [set(table["document"].to_pylist()) for table in tables]
    assert all(sides)
    assert sum(len(side) for side in sides) == len(set.union(*sides))


def test_all_four_artefacts_were_asked_the_same_questions(run: Path) -> None:
    import pyarrow.parquet as pq

    items = pq.read_table(run / "evaluation" / "items.parquet").to_pylist()
    asked = {
        model: sorted((row["task"], row["formulation"], row["row_id"]) for row in items if row["model"] == model)
        for model in ("base", "adapter", "merged", "gguf")
    }
    assert asked["base"]
    assert asked["base"] == asked["adapter"] == asked["merged"] == asked["gguf"]
    assert {row["task"] for row in items} == {"research", "arc_challenge", "arc_easy"}


def test_a_second_run_does_nothing_and_commits_nothing(run: Path, hub: RunningHub, home: Path, documents: Path) -> None:
    before = (run / "cards" / "published.json").read_text()
    done = pipeline(hub, home, "--documents", str(documents), "--run", str(run), "--namespace", "demo")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("done already") == 14
    assert (run / "cards" / "published.json").read_text() == before


READ_BACK = """
import json, sys
import torch
from datasets import load_dataset
from huggingface_hub import DatasetCard, ModelCard
from llama_cpp import Llama
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer
names = json.loads(sys.argv[1])
merged = AutoModelForCausalLM.from_pretrained(names["merged"], dtype=torch.float32)
adapted = AutoPeftModelForCausalLM.from_pretrained(names["adapter"], dtype=torch.float32)
ids = AutoTokenizer.from_pretrained(names["merged"])("What is LoRA?", return_tensors="pt")["input_ids"]
with torch.no_grad():
    gap = (merged(ids).logits - adapted(ids).logits).abs().max().item()
llama = Llama.from_pretrained(names["gguf"], filename="*Q4_K_M.gguf", n_ctx=256, verbose=False)
answer = llama.create_chat_completion([{"role": "user", "content": "What is LoRA?"}], max_tokens=4)
rows = {config: {split: len(part) for split, part in load_dataset(names["dataset"], config).items()}
        for config in ("research_qa", "reading", "arc")}
for kind, name in names.items():
    (DatasetCard if kind in ("dataset", "index") else ModelCard).load(name).validate()
relation = {kind: ModelCard.load(names[kind]).data.get("base_model_relation") for kind in ("adapter", "merged", "gguf")}
print(json.dumps({"gap": gap, "finish": answer["choices"][0]["finish_reason"], "rows": rows, "relation": relation}))
llama.close()
"""


def test_the_plain_clients_read_back_what_was_published(run: Path, hub: RunningHub, home: Path) -> None:
    published = json.loads((run / "cards" / "published.json").read_text())
    names = {kind: entry["repository"] for kind, entry in published.items()}
    assert names.keys() == {"dataset", "index", "base", "adapter", "merged", "gguf", "base_gguf"}
    env = {**os.environ, **hub.environment(home)}
    command = [sys.executable, "-c", READ_BACK, json.dumps(names)]
    read = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=200)
    assert read.returncode == 0, read.stderr[-3000:]
    found = json.loads(read.stdout.splitlines()[-1])
    assert found["gap"] < 0.05
    assert found["finish"] in ("stop", "length")
    assert found["relation"] == {"adapter": "adapter", "merged": "merge", "gguf": "quantized"}
    assert found["rows"] == figures(run / "dataset")["rows"]


PULL = """
import json, sys
from qa.artifacts import Reference
from qa.engine import Engine
from qa.prompts import ask_messages
from qa.pull import pull_about, pull_examples, pull_gguf, pull_index, pull_items
from qa.retrieval import Index

published = json.loads(sys.argv[1])
gguf, index = ([published[kind][key] for key in ("repository", "revision")] for kind in ("gguf", "index"))
path, examples = pull_gguf(gguf[0], revision=gguf[1]), pull_examples(gguf[0], revision=gguf[1])
with Engine.load(path) as engine:
    fresh = {q: engine.generate(ask_messages(q), **examples.settings.as_dict()) for q in json.loads(sys.argv[2])}
found = Index.load(pull_index(index[0], revision=index[1])).search("What is the key idea of LoRA?")
print(json.dumps({
    "match": examples.match(path), "answers": {each.question: each.answer for each in examples.answers},
    "fresh": {question: text for question, text in fresh.items() if text.strip()},
    "items": [item.model_dump() for item in pull_items(gguf[0], revision=gguf[1])],
    "about": pull_about(gguf[0], revision=gguf[1]), "documents": [hit.passage.document for hit in found],
}))
"""


@pytest.fixture(scope="module")
def pulled(run: Path, hub: RunningHub, home: Path) -> dict[str, Any]:
    """What the page finds on the Hub, by a process that knows nothing of the run."""
    published = (run / "cards" / "published.json").read_text()
    questions = json.loads((run / "examples" / "step.json").read_text())["arguments"]["questions"]
    command = [sys.executable, "-c", PULL, published, json.dumps(questions)]
    env = {**os.environ, **hub.environment(home)}
    read = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=100)
    assert read.returncode == 0, read.stderr[-3000:]
    return json.loads(read.stdout.splitlines()[-1])


def test_the_published_examples_are_what_the_published_file_answers(run: Path, pulled: dict[str, Any]) -> None:
    assert pulled["match"]
    assert pulled["answers"] == pulled["fresh"]
    assert len(pulled["answers"]) == figures(run / "examples")["answered"]
    assert figures(run / "examples")["questions"] == 4


def test_the_published_picks_give_the_published_figures(run: Path, pulled: dict[str, Any]) -> None:
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text())
    seen = 0
    for field, model in (("base", "base"), ("tuned", "gguf")):
        for line in metrics["models"][model]["results"]:
            if line["task"] != "research" or line["metric"] != HEADLINE[line["formulation"]]:
                continue
            items = [item for item in pulled["items"] if item["formulation"] == line["formulation"]]
            assert len(items) == line["n"]
            assert sum(item[field] == item["answer"] for item in items) == line["correct"]
            seen += 1
    assert seen == 4  # two models, two formulations


HEADLINE = {"cloze (chat)": "acc_norm", "letter (chat)": "acc"}  # by which an option counts as picked


def test_what_the_page_says_of_the_model_are_its_figures(run: Path, pulled: dict[str, Any]) -> None:
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text())
    _, *rows = table_headed(pulled["about"], "model", "right")
    assert [row[:3] for row in rows] == [
        [name, f"{line.correct} of {line.n}", f"{100 * line.value:.1f} %"]
        for name, line in zip(
            ("base", "adapter", "merged", "gguf, Q4_K_M, served here"), headline_lines(metrics), strict=True
        )
    ]
    assert "ollama run hf.co/demo/footnote-tiny-GGUF:Q4_K_M" in pulled["about"]


def test_the_published_index_finds_a_passage_of_the_right_document(run: Path, pulled: dict[str, Any]) -> None:
    held = {json.loads(line)["document"] for line in open_lines(run)}
    assert pulled["documents"][0] == "lora.md"
    assert set(pulled["documents"]) <= held


def test_without_a_right_to_the_namespace_nothing_starts(
    hub: RunningHub, home: Path, documents: Path, tmp_path: Path
) -> None:
    done = pipeline(hub, home, "--documents", str(documents), "--run", str(tmp_path / "run"), "--namespace", "somebody")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "somebody" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--documents", "nowhere/at/all"], "nowhere/at/all"),
        (["--set", "train.learning_rat=1"], "train.learning_rat"),
        (["--arc", "nobody/nothing"], "nobody/nothing"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(
    hub: RunningHub, home: Path, documents: Path, tmp_path: Path, words: list[str], named: str
) -> None:
    here = ["--run", str(tmp_path / "run")] if "--documents" in words else [
        "--documents", str(documents), "--run", str(tmp_path / "run"),
    ]  # fmt: skip
    done = pipeline(hub, home, *here, *words)
    assert done.returncode == 2
    assert named in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
