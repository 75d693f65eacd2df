"""What leaderboards read: entries for whole public benchmarks, and for nothing else; and every task's own data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import EvalResultEntry, hf_hub_download, parse_eval_result_entries

from jobs.card_facts import Run
from jobs.card_results import eval_results, model_index
from jobs.step import read_step
from local_hub.testing import running_hub
from qa.artifacts import Repositories
from tests.publishing import api, publish, seed_qwen
from tests.runs import ARC, NAME, NAMESPACE, REVISION, add_arc, copy_run, link, qwen_run, rewrite

PATH = ".eval_results/arc_easy.yaml"
REPOSITORY = f"{NAMESPACE}/{NAME}-merged"


def read(folder: Path) -> Run:
    return Run.read(folder, Repositories(NAMESPACE, NAME))


def figures(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "evaluation" / "metrics.json").read_text())


def arc_line(folder: Path, model: str) -> dict[str, Any]:
    (line,) = (line for line in figures(folder)["models"][model]["results"] if line["task"] == "arc_easy")
    return line


def parsed(content: bytes) -> list[EvalResultEntry]:
    return parse_eval_result_entries(yaml.safe_load(content))


@pytest.fixture
def qwen(tmp_path: Path) -> Path:
    return qwen_run(tmp_path)


def test_a_public_benchmark_gets_an_entry_that_says_how_it_was_asked(qwen: Path) -> None:
    for model in ("adapter", "merged", "gguf"):
        (content,) = eval_results(read(qwen), model, REPOSITORY).values()
        (entry,) = parsed(content)
        line = arc_line(qwen, model)
        assert (entry.dataset_id, entry.task_id, entry.dataset_revision) == (ARC, "ARC-Easy", REVISION)
        assert entry.value == round(100 * line["correct"] / line["n"], 2)
        assert entry.source_url == f"https://huggingface.co/{REPOSITORY}/blob/main/evaluation/metrics.json"
        assert entry.date == read_step(qwen / "evaluation").started
        low, high = 100 * line["low"], 100 * line["high"]
        interval = f"95 % Wilson interval {low:.1f} to {high:.1f}"
        assert (
            entry.notes == f"letter (chat), acc, {line['correct']} of 100 questions ({entry.value:.2f} %), {interval}"
        )


def test_every_formulation_and_metric_of_a_task_is_an_entry_of_its_file(qwen: Path) -> None:
    metrics = figures(qwen)
    lines = metrics["models"]["merged"]["results"]
    ways = [
        ("cloze (plain, 25 shots)", "acc"),
        ("cloze (plain, 25 shots)", "acc_norm"),
        ("chat (lm-eval)", "exact_match"),
    ]
    task = "mmlu:machine_learning"
    lines += [lines[0] | {"task": task, "formulation": way, "metric": metric} for way, metric in ways]
    public = {"dataset": "cais/mmlu", "config": "machine_learning", "split": "test", "revision": "1" * 40}
    metrics["benchmarks"][task] = public
    rewrite(qwen / "evaluation" / "metrics.json", **metrics)
    run = read(qwen)
    files = eval_results(run, "merged", REPOSITORY)
    assert set(files) == {PATH, ".eval_results/mmlu_machine_learning.yaml"}
    entries = parsed(files[".eval_results/mmlu_machine_learning.yaml"])
    assert [tuple(entry.notes.split(", ", 2)[:2]) for entry in entries[:2]] == [("cloze (plain", "25 shots)")] * 2
    assert [entry.notes.startswith(", ".join(way)) for entry, way in zip(entries, ways, strict=True)] == [True] * 3
    assert {(entry.dataset_id, entry.task_id) for entry in entries} == {("cais/mmlu", "machine_learning")}
    index = [result for result in model_index(run, "merged") if result.metric_name.startswith(task)]
    assert [(r.dataset_type, r.dataset_config, r.dataset_revision) for r in index] == [
        ("cais/mmlu", "machine_learning", "1" * 40)
    ] * 3
    assert [r.metric_type for r in index] == ["accuracy", "accuracy", "exact_match"]


def test_an_excerpt_a_draw_and_our_own_questions_get_no_entry(qwen: Path, tmp_path: Path) -> None:
    assert eval_results(read(copy_run(tmp_path / "own")), "merged", REPOSITORY) == {}  # nothing from the Hub
    assert eval_results(read(qwen), "base_gguf", REPOSITORY) == {}  # was not evaluated
    arguments = read_step(qwen / "evaluation").arguments
    rewrite(qwen / "evaluation" / "step.json", arguments=arguments | {"limit": 40, "seed": 17})
    assert eval_results(read(qwen), "merged", REPOSITORY) == {}


def test_a_benchmark_of_which_a_row_is_missing_gets_no_entry(qwen: Path) -> None:
    metrics = qwen / "evaluation" / "metrics.json"
    row = {"task": "arc_easy", "formulation": "letter (chat)", "row_id": "q1", "reason": "long"}
    rewrite(metrics, skipped={"base": [row], "gguf": [row | {"task": "research"}]})
    assert list(eval_results(read(qwen), "gguf", REPOSITORY)) == [PATH]
    rewrite(metrics, skipped={"gguf": [row]})
    assert eval_results(read(qwen), "gguf", REPOSITORY) == {}
    assert list(eval_results(read(qwen), "merged", REPOSITORY)) == [PATH]
    rewrite(metrics, skipped={}, left_out={"arc_easy": [{"name": "arc_easy/9", "reason": "damaged"}], "research": []})
    assert eval_results(read(qwen), "merged", REPOSITORY) == {}


def test_the_index_says_where_it_was_not_the_whole_split(qwen: Path) -> None:
    def args(model: str, task: str) -> dict[str, Any]:
        found = [r.dataset_args for r in model_index(read(qwen), model) if r.metric_name.startswith(task)]
        assert found.count(found[0]) == len(found)
        return found[0] or {}

    assert args("merged", "arc_easy") == {}
    assert args("merged", "research").keys() == {"file", "sha256"}
    row = {"task": "arc_easy", "formulation": "letter (chat)", "row_id": "q1", "reason": "long"}
    again = row | {"formulation": "cloze (plain)"}
    left_out = {"arc_easy": [{"name": "arc_easy/9", "reason": "damaged"}]}
    rewrite(qwen / "evaluation" / "metrics.json", skipped={"gguf": [row, again]}, left_out=left_out)
    assert args("gguf", "arc_easy") == {"left_out": 1, "skipped": 1}
    assert args("merged", "arc_easy") == {"left_out": 1}
    arguments = read_step(qwen / "evaluation").arguments
    rewrite(qwen / "evaluation" / "step.json", arguments=arguments | {"limit": 40, "seed": 17})
    assert args("merged", "arc_easy") == {"limit": 40, "seed": 17, "left_out": 1}
    assert args("merged", "research").keys() == {"limit", "seed", "file", "sha256"}


def test_arc_without_a_row_is_still_arc_and_a_task_from_a_file_goes_by_its_name(qwen: Path) -> None:
    metrics = figures(qwen) | {"benchmarks": {}}
    metrics["models"]["merged"]["results"].append(arc_line(qwen, "merged") | {"task": "exam"})
    rewrite(qwen / "evaluation" / "metrics.json", **metrics)
    index = {result.metric_name.split(",")[0]: result for result in model_index(read(qwen), "merged")}
    assert (index["exam"].dataset_type, index["exam"].dataset_config) == ("exam", None)
    asked = index["arc_easy"]
    assert (asked.dataset_type, asked.dataset_config, asked.dataset_revision) == (ARC, "ARC-Easy", REVISION)
    assert eval_results(read(qwen), "merged", REPOSITORY) == {}


def test_the_slice_of_recent_documents_is_a_split_of_our_own_data_set(qwen: Path) -> None:
    lines = figures(qwen)["models"]
    lines["merged"]["results"].append(arc_line(qwen, "merged") | {"task": "research_recent"})
    rewrite(qwen / "evaluation" / "metrics.json", models=lines)
    outputs = read_step(qwen / "dataset").outputs | {
        "research_qa/test_recent.parquet": {"bytes": 1, "sha256": "5" * 64}
    }
    rewrite(qwen / "dataset" / "step.json", outputs=outputs)
    link(qwen)
    (asked,) = (line for line in model_index(read(qwen), "merged") if line.metric_name.startswith("research_recent"))
    assert (asked.dataset_config, asked.dataset_split) == ("research_qa", "test_recent")
    assert asked.dataset_args == {"file": "research_qa/test_recent.parquet", "sha256": "5" * 64}


def test_arc_from_a_folder_is_our_copy_of_it(qwen: Path) -> None:
    rewrite(qwen / "evaluation" / "metrics.json", benchmarks={})
    add_arc(qwen, "excerpt", revision="")
    index = {result.metric_name.split(",")[0]: result for result in model_index(read(qwen), "merged")}
    asked = index["arc_easy"]
    assert (asked.dataset_type, asked.dataset_config) == (f"{NAMESPACE}/{NAME}-qa", "arc")
    assert asked.dataset_args["file"] == "arc/test.parquet"
    assert eval_results(read(qwen), "merged", REPOSITORY) == {}


def test_the_entries_are_published_with_the_models_alone(qwen: Path, tmp_path: Path) -> None:
    with running_hub(tmp_path / "hub") as hub:
        seed_qwen(hub, tmp_path / "seed")
        done = publish(hub, qwen, tmp_path / "home")
        assert done.returncode == 0, done.stderr
        for kind, model in (("lora", "adapter"), ("merged", "merged"), ("GGUF", "gguf")):
            repository = f"{NAMESPACE}/{NAME}-{kind}"
            path = hf_hub_download(
                repository, PATH, endpoint=hub.endpoint, token=hub.write_token, cache_dir=tmp_path / "read"
            )
            (entry,) = parsed(Path(path).read_bytes())
            assert entry.value == round(100 * arc_line(qwen, model)["value"], 2)
            assert entry.source_url.startswith(f"https://huggingface.co/{repository}/")
        for name, kind in ((f"{NAME}-base-GGUF", "model"), (f"{NAME}-qa", "dataset")):
            assert PATH not in api(hub).list_repo_files(f"{NAMESPACE}/{name}", repo_type=kind)
