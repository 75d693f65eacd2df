"""Whose questions an evaluation asks, after which solved examples, and what bad rows, files and names get."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.config import Evaluation
from jobs.documents import Rejection
from jobs.errors import UserError
from jobs.evaluation.tasks import Benchmark, Tasks, cut, load_tasks
from jobs.rejections import write_rejections
from jobs.step import write_json
from local_hub.seeding import seed_all
from local_hub.testing import running_hub
from qa.records import Question, RecordError
from tests.tiny_questions import make_dataset, make_question, write_questions

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "jobs" / "sample" / "arc" / "ARC-Easy"


def arc_row(name: str, question: str = "", count: int = 4, **changes: Any) -> dict[str, Any]:
    texts = [f"option {place} of {name}" for place in range(count)]
    choices = {"text": texts, "label": list("ABCDE"[:count])}
    return {"id": name, "question": question or f"What is {name}?", "choices": choices, "answerKey": "B"} | changes


def write_lines(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def asked(tasks: Tasks) -> dict[str, list[str]]:
    return {task.name: [question.id for question in (*task.choice, *task.open)] for task in tasks.tasks}


def test_a_file_in_arcs_schema_is_a_task(tmp_path: Path) -> None:
    rows = pq.read_table(SAMPLE / "test-00000-of-00001.parquet").to_pylist()
    lines = write_lines(tmp_path / "lines.jsonl", rows)
    table = tmp_path / "table.parquet"
    pq.write_table(pa.Table.from_pylist(rows), table)
    found = load_tasks(Evaluation(tasks=(str(lines), str(table))), None, 0)
    first, second = found.tasks
    assert (first.name, second.name) == ("lines", "table")
    assert (first.origin, second.origin) == ("lines.jsonl", "table.parquet")
    assert found.inputs == {"task lines": lines, "task table": table}
    assert [question.question for question in first.choice] == [row["question"] for row in rows]
    assert [question.choices for question in second.choice] == [tuple(row["choices"]["text"]) for row in rows]
    assert [question.answer for question in second.choice] == [row["answerKey"] for row in rows]
    assert first.choice[0].id == f"lines/{rows[0]['id']}"
    assert first.description == "The following are multiple choice questions (with answers).\n\n"
    assert (first.open, first.shots, first.left_out, first.benchmark) == ((), (), (), None)


BAD_ROWS = [
    (arc_row("x", answerKey="Z"), r"row 'x': answerKey 'Z' is not among the labels \['A', 'B', 'C', 'D'\]"),
    (arc_row("x", choices={"text": ["a", " "], "label": ["A", "B"]}, answerKey="A"), "an option is empty"),
    (arc_row("x", choices={"text": ["a", "b", "c"], "label": ["A", "B", "B"]}), r"row 'x': labels repeat"),
    (arc_row("x", choices={"text": ["a"], "label": ["A", "B"]}), "row 'x': 1 choices but 2 labels"),
    (arc_row("x", question=" "), "row 'x': field 'question'"),
    ({"id": "x", "question": "Why?"}, r"row 'x': not in ARC's schema \(KeyError\('choices'\)\)"),
    (arc_row("good"), "the id 't/good' stands above already"),
    ("{", "not JSON"),
    ("[1, 2]", "not in ARC's schema"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS)
def test_a_row_that_cannot_be_asked_is_left_out_by_name(row: Any, reason: str, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "t.jsonl", [arc_row("good"), row, arc_row("better", count=5)])
    (task,) = load_tasks(Evaluation(tasks=(str(path),)), None, 0).tasks
    assert [question.id for question in task.choice] == ["t/good", "t/better"]
    (left,) = task.left_out
    assert left.name == "t.jsonl, row 2"  # without the folders of this machine: it is published
    assert re.search(reason, left.reason), left.reason


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    pq.write_table(pa.Table.from_pylist([{"id": "x", "question": "Why?"}]), tmp_path / "columns.parquet")
    write_lines(tmp_path / "bad.jsonl", [arc_row("x", answerKey="Z"), "{"])
    write_lines(tmp_path / "empty.jsonl", [])
    cases = {
        "none.jsonl": "cannot be read .No such file",
        "none.parquet": "no such file",
        "broken.parquet": "not readable as Parquet",
        "columns.parquet": "no column choices, answerKey; its columns are id, question",
        "bad.jsonl": "none of 2 rows of task bad can be asked; the first: bad.jsonl, row 1: row 'x': answerKey 'Z'",
        "empty.jsonl": "none of 0 rows of task empty can be asked",
    }
    for name, reason in cases.items():
        with pytest.raises(UserError, match=f"^{tmp_path / name}: {reason}"):
            load_tasks(Evaluation(tasks=(str(tmp_path / name),)), None, 0)


def test_two_tasks_of_one_name_are_refused(tmp_path: Path) -> None:
    paths = [str(write_lines(tmp_path / folder / "t.jsonl", [arc_row("x")])) for folder in "ab"]
    for tasks, name in ((paths, "t"), ((paths[0], paths[0]), "t"), (("research", "research"), "research")):
        with pytest.raises(UserError, match=f"two tasks are named {name}: "):
            load_tasks(Evaluation(tasks=tuple(tasks)), make_dataset(tmp_path / "data", 4), 0)


def test_shots_come_from_the_training_split_and_are_fixed_by_the_seed(tmp_path: Path) -> None:
    test = [arc_row(f"t{number}", f"Test question {number}?") for number in range(30)]
    train = [arc_row(f"s{number}", f"Training question {number}?", count=3 + number % 3) for number in range(12)]
    twins = [arc_row(f"w{number}", f"test  QUESTION {number}") for number in range(30)]  # asked in the test split
    twice = [arc_row("s0-again", "Training question 0")]
    two = [arc_row("two", "Which of two?", count=2)]
    path = write_lines(tmp_path / "my_test.jsonl", test)
    beside = write_lines(tmp_path / "my_train.jsonl", [*twins, *train, *twice, *two])

    def draw(seed: int, count: int = 5, **settings: Any) -> tuple[Question, ...]:
        found = load_tasks(Evaluation(tasks=(str(path),), shots=count, **settings), None, seed)
        assert found.inputs == {"task my_test": path, "training split of task my_test": beside}
        return found.tasks[0].shots

    shots = draw(1)
    assert len(shots) == 5
    assert shots == draw(1) == draw(1, limit=3)
    assert shots != draw(2)
    every = draw(1, 12)
    assert sorted(shot.question for shot in every) == sorted(
        f"Training question {number}{'' if number == 0 else '?'}" for number in range(12)
    )
    with pytest.raises(UserError, match="task my_test has 12 training questions fit for solved examples and 13 are"):
        draw(1, 13)
    (task,) = load_tasks(Evaluation(tasks=(str(path),), shots=5, formulations=("chat",)), None, 1).tasks
    assert task.shots == ()


def test_shots_of_a_file_need_the_file_beside_it(tmp_path: Path) -> None:
    for name in ("latest.jsonl", "test.jsonl"):
        path = write_lines(tmp_path / name, [arc_row("x")])
        with pytest.raises(UserError, match=rf"{name}: solved examples come from the file beside it with `train`"):
            load_tasks(Evaluation(tasks=(str(path),), shots=1), None, 0)
    write_lines(tmp_path / "train.jsonl", [arc_row("y")])
    (task,) = load_tasks(Evaluation(tasks=(str(tmp_path / "test.jsonl"),), shots=1), None, 0).tasks
    assert [shot.question for shot in task.shots] == ["What is y?"]


def test_a_built_data_set_has_its_tasks(tmp_path: Path) -> None:
    make_dataset(tmp_path, 10, free=4, arc=6)
    draw = random.Random(9)
    write_questions(
        tmp_path / "research_qa" / "train.parquet", [make_question(draw, 100 + n, "research") for n in range(8)]
    )
    found = load_tasks(Evaluation(tasks=("arc_easy", "research"), formulations=("letter",)), tmp_path, 0)
    arc, research = found.tasks
    assert (arc.name, research.name, found.absent) == ("arc_easy", "research", ())
    assert (len(arc.choice), len(arc.open), len(research.choice), len(research.open)) == (6, 0, 10, 4)
    assert (arc.origin, research.origin) == ("arc/test.parquet", "research_qa/test.parquet")
    assert arc.description == "The following are multiple choice questions (with answers) about science.\n\n"
    assert research.description == "The following are multiple choice questions (with answers) about AI research.\n\n"
    assert found.inputs == {"dataset": tmp_path}
    (task,) = load_tasks(Evaluation(tasks=("research",), shots=3), tmp_path, 0).tasks
    assert all(shot.id.startswith("research/choice/10") for shot in task.shots)
    assert len(task.shots) == 3
    with pytest.raises(UserError, match="task arc_easy has 0 training questions fit for solved examples and 3 are"):
        load_tasks(Evaluation(tasks=("arc_easy",), shots=3), tmp_path, 0)


def test_the_limit_draws_with_the_seed(tmp_path: Path) -> None:
    make_dataset(tmp_path, 40, free=5)
    few = [load_tasks(Evaluation(limit=6), tmp_path, seed).tasks[0] for seed in (1, 1, 2)]
    assert [len(task.choice) for task in few] == [6, 6, 6]
    assert len(few[0].open) == 5
    assert few[0] == few[1]
    assert few[0].choice != few[2].choice
    numbers = [int(question.id.rpartition("/")[2]) for question in few[0].choice]
    assert numbers == sorted(numbers)
    assert cut(few[0].choice, None, 0) == cut(few[0].choice, 6, 0) == list(few[0].choice)


def test_absent_tasks_are_left_out_or_refused(tmp_path: Path) -> None:
    make_dataset(tmp_path / "data", 10)
    found = load_tasks(Evaluation(), tmp_path / "data", 0)
    assert found.absent == ("arc_challenge", "arc_easy")  # not fetched: the data set says what it holds
    assert len(found.tasks[0].choice) == 10
    with pytest.raises(UserError, match="data: no test questions of task other; there are: research"):
        load_tasks(Evaluation(tasks=("research", "other")), tmp_path / "data", 0)
    with pytest.raises(UserError, match=r"task research: neither of ARC .* name that with --dataset"):
        load_tasks(Evaluation(tasks=("research",)), None, 0)
    with pytest.raises(UserError, match="allenai/ai2_arc: the Hub does not answer"):
        load_tasks(Evaluation(tasks=("arc_easy",)), tmp_path / "data", 0)
    with pytest.raises(UserError, match=r"^no folder here, and on the Hub .*nowhere: "):
        load_tasks(Evaluation(), tmp_path / "nowhere", 0)
    with pytest.raises(UserError, match="holds neither research_qa nor arc; name a folder that build_dataset made"):
        load_tasks(Evaluation(), tmp_path, 0)
    make_dataset(tmp_path / "other", 3)
    (tmp_path / "other" / "research_qa" / "test.parquet").rename(tmp_path / "other" / "research_qa" / "train.parquet")
    with pytest.raises(UserError, match=r"research_qa: no test\.parquet, so there is nothing to ask"):
        load_tasks(Evaluation(), tmp_path / "other", 0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"answer": "Z"}, r"row 'research/choice/2': answer 'Z' is not among the labels"),
        ({"labels": ["A", "A", "B"], "choices": ["x", "y", "z"], "answer": "A"}, "labels repeat"),
        ({"choices": ["x", " "], "labels": ["A", "B"], "answer": "A"}, "an option is empty"),
        ({"question": ""}, "field 'question'"),
    ],
)
def test_a_damaged_row_of_a_built_data_set_is_left_out(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    draw = random.Random(2)
    rows = [make_question(draw, number, "research") for number in range(3)]
    write_questions(tmp_path / "research_qa" / "test.parquet", rows, **changes)
    (task,) = load_tasks(Evaluation(), tmp_path, 0).tasks
    assert [question.id for question in task.choice] == ["research/choice/0", "research/choice/1"]
    (left,) = task.left_out
    assert left.name == "research_qa/test.parquet, row 3"
    assert re.search(reason, left.reason), left.reason
    write_questions(tmp_path / "research_qa" / "test.parquet", rows[-1:], **changes)
    with pytest.raises(UserError, match=f"{tmp_path}: none of 1 rows of task research can be asked; the first: "):
        load_tasks(Evaluation(), tmp_path, 0)


def test_a_built_task_is_the_benchmark_only_if_no_test_row_was_dropped(tmp_path: Path) -> None:
    make_dataset(tmp_path, 3, arc=3)
    step = {
        "step": "build_dataset",
        "arguments": {"arc_configs": ["ARC-Challenge", "ARC-Easy"]},
        "inputs": {},
        "figures": {"arc": {"repository": "allenai/ai2_arc", "revision": "c0ffee", "licence": "cc-by-sa-4.0"}},
    }
    write_json(tmp_path / "step.json", step)
    reason = "row '…': an option is empty"
    harmless = Rejection(name="ARC-Easy/train/ARC-Easy-train-1", reason=reason, stage="schema")
    copied = Rejection(name="arc_easy/train-2", reason="exact copy of arc_easy/1", stage="decontamination")
    write_rejections(tmp_path / "rejected.parquet", [harmless, copied])
    names = Evaluation(tasks=("research", "arc_easy"))
    research, arc = load_tasks(names, tmp_path, 0).tasks
    assert research.benchmark is None
    assert arc.benchmark == Benchmark("allenai/ai2_arc", "ARC-Easy", "test", "c0ffee")
    rows = [make_question(random.Random(1), number, "arc_easy") for number in range(3)]
    write_questions(tmp_path / "arc" / "test.parquet", rows, answer="Z")  # the last one cannot be asked
    damaged = load_tasks(names, tmp_path, 0).tasks[1]
    assert (len(damaged.choice), len(damaged.left_out), damaged.benchmark) == (2, 1, None)
    write_questions(tmp_path / "arc" / "test.parquet", rows)
    assert load_tasks(names, tmp_path, 0).tasks[1].benchmark == arc.benchmark
    for name, stage in (("arc_easy/x", "length"), ("ARC-Easy/test/x", "schema")):
        write_rejections(tmp_path / "rejected.parquet", [harmless, Rejection(name=name, reason="…", stage=stage)])
        assert load_tasks(names, tmp_path, 0).tasks[1].benchmark is None


def mmlu_repository(folder: Path) -> None:
    """A small `cais/mmlu`: subjects as configurations, options with spaces, a row without its answer."""

    def rows(split: str, count: int) -> list[dict[str, Any]]:
        return [
            {"question": f" {split} {n}? ", "subject": "s", "choices": [f" {n}", "b ", "c", "d"], "answer": n % 4}
            for n in range(count)
        ]

    configs = ""
    subjects = {"machine_learning": {"test": 6, "dev": 5}, "anatomy": {"test": 2}, "untested": {"dev": 5}}
    for subject, splits in subjects.items():
        configs += f"- config_name: {subject}\n  data_files:\n"
        for split, count in splits.items():
            bad = [{"question": "?", "subject": "s", "choices": ["a", "b"], "answer": 2}]
            bad = bad if (subject, split) == ("machine_learning", "test") else []
            path = folder / "cais" / "mmlu" / subject / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(rows(split, count) + bad), path)
            configs += f"  - {{split: {split}, path: {subject}/{split}-*}}\n"
    (folder / "cais" / "mmlu" / "README.md").write_text(f"---\nlicense: mit\nconfigs:\n{configs}---\n# MMLU\n")


def built_repository(folder: Path) -> None:
    make_dataset(folder / "me" / "run-qa", 7, free=2, arc=3)
    make_dataset(folder / "me" / "untested", 3)
    path = folder / "me" / "untested" / "research_qa"
    (path / "test.parquet").rename(path / "train.parquet")
    recent = folder / "me" / "run-qa" / "research_qa" / "test_recent.parquet"
    write_questions(recent, [make_question(random.Random(4), number, "research") for number in range(2)])
    for name in ("run-qa", "untested"):
        configs = ""
        for config in ("research_qa", "arc"):
            files = sorted((folder / "me" / name / config).glob("*.parquet"))
            configs += f"- config_name: {config}\n  data_files:\n" if files else ""
            configs += "".join(f"  - {{split: {path.stem}, path: {config}/{path.name}}}\n" for path in files)
        (folder / "me" / name / "README.md").write_text(f"---\nlicense: mit\nconfigs:\n{configs}---\n# Mine\n")


def arc_repository(folder: Path) -> None:
    target = folder / "allenai" / "ai2_arc"
    target.mkdir(parents=True)
    source = ROOT / "jobs" / "sample" / "arc"
    for path in source.rglob("*.*"):
        (target / path.relative_to(source)).parent.mkdir(exist_ok=True)
        (target / path.relative_to(source)).write_bytes(path.read_bytes())
    (easy,) = (target / "ARC-Easy").glob("test-*.parquet")
    rows = pq.read_table(easy).to_pylist()
    rows[0]["answerKey"] = "Z"
    pq.write_table(pa.Table.from_pylist(rows), easy)


IN_A_PROCESS = """
import json, sys
from dataclasses import asdict
from jobs.config import Evaluation
from jobs.errors import UserError
from jobs.evaluation.tasks import load_tasks

def show(value):
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else str(value)

for case in json.loads(sys.argv[1]):
    try:
        found = load_tasks(Evaluation(**case["evaluation"]), case.get("dataset"), 17)
        print("CASE", json.dumps({"tasks": [vars(task) for task in found.tasks]}, default=lambda value: (
            asdict(value) if hasattr(value, "__dataclass_fields__") else show(value))))
    except UserError as error:
        print("CASE", json.dumps({"error": str(error)}))
"""


def in_a_process(environment: dict[str, str], cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What `load_tasks` finds in a process of its own: the Hub's clients read their environment when imported."""
    done = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS, json.dumps(cases)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line.removeprefix("CASE ")) for line in done.stdout.splitlines() if line.startswith("CASE ")]


def test_public_benchmarks_and_published_data_sets_come_from_the_hub(tmp_path: Path) -> None:
    for make in (mmlu_repository, built_repository, arc_repository):
        make(tmp_path / "seed")
    cases = [
        {"evaluation": {"tasks": ["mmlu:machine_learning", "arc_challenge"], "shots": 3}},
        {"evaluation": {"tasks": ["research", "arc_easy", "arc_challenge", "research_recent"]}, "dataset": "me/run-qa"},
        {"evaluation": {"tasks": ["mmlu:alchemy"]}},
        {"evaluation": {"tasks": ["mmlu:untested"]}},
        {"evaluation": {"tasks": ["mmlu:all"]}},
        {"evaluation": {"tasks": ["mmlu:machine_learning"], "shots": 6}},
        {"evaluation": {}, "dataset": "me/untested"},
        {"evaluation": {}, "dataset": "cais/mmlu"},
        {"evaluation": {}, "dataset": "me/nothing"},
        {"evaluation": {"tasks": ["mmlu:anatomy", "arc_easy"]}},
    ]
    with running_hub(tmp_path / "hub") as hub:
        seed_all(hub.store, tmp_path / "seed")
        found = in_a_process(hub.environment(tmp_path / "home"), cases)
    mmlu, arc = found[0]["tasks"]
    anatomy, easy = found.pop()["tasks"]
    commit = anatomy["benchmark"]["revision"]
    assert len(commit) == 40
    assert anatomy["benchmark"] == {"dataset": "cais/mmlu", "config": "anatomy", "split": "test", "revision": commit}
    assert anatomy["origin"] == mmlu["origin"] == f"cais/mmlu@{commit}"
    assert [(len(task["left_out"]), task["benchmark"]) for task in (mmlu, easy)] == [(1, None)] * 2  # not the whole
    assert mmlu["description"].endswith("(with answers) about machine learning.\n\n")
    assert [question["id"] for question in mmlu["choice"]] == [f"mmlu:machine_learning/{n}" for n in range(6)]
    assert mmlu["choice"][3]["choices"] == [" 3", "b ", "c", "d"]  # as they are: so does lm-eval show them
    assert [question["answer"] for question in mmlu["choice"]] == list("ABCDAB")
    (left,) = mmlu["left_out"]
    assert left["name"] == "machine_learning/test, row 7"
    assert left["reason"] == "answer 2 is not an index into 2 choices"
    assert [shot["question"] for shot in mmlu["shots"]] == ["dev 0?", "dev 1?", "dev 2?"]  # MMLU's own, in their order
    assert (len(arc["choice"]), len(arc["shots"]), arc["benchmark"]["config"]) == (40, 3, "ARC-Challenge")
    assert not {shot["question"] for shot in arc["shots"]} & {question["question"] for question in arc["choice"]}
    names = {task["name"]: (len(task["choice"]), len(task["open"]), task["origin"]) for task in found[1]["tasks"]}
    assert names["research"][:2] == (7, 2)
    assert names["research_recent"] == (2, 0, names["research"][2])
    assert names["arc_easy"][0] == 3  # the data set's own come first
    assert names["arc_challenge"] == (40, 0, arc["origin"])
    assert names["arc_easy"][2].startswith("me/run-qa@")
    errors = [case["error"] for case in found[2:]]
    assert errors[0].startswith("cais/mmlu: configuration 'alchemy' cannot be had")
    assert errors[1] == "cais/mmlu: configuration untested has no test split, so mmlu:untested cannot be asked"
    assert errors[2] == "task mmlu:all: name one subject, for example mmlu:machine_learning"
    assert "task mmlu:machine_learning has 5 training questions fit for solved examples and 6 are" in errors[3]
    assert errors[4] == "me/untested: configuration research_qa has no test split, so there is nothing to ask"
    assert errors[5].startswith("cais/mmlu: has no configuration research_qa or arc")
    assert errors[6].startswith("no folder here, and on the Hub me/nothing: no such data set")


def test_mmlu_without_the_hub_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^cais/mmlu: the Hub does not answer; check network and HF_ENDPOINT"):
        load_tasks(Evaluation(tasks=("mmlu:machine_learning",)), None, 0)


@pytest.mark.parametrize(
    "change", [{"answer": 4}, {"answer": "A"}, {"answer": None}, {"choices": None}, {"question": 3}, {"choices": ["a"]}]
)
def test_a_row_outside_of_mmlus_schema_is_refused(change: dict[str, Any]) -> None:
    row = {"question": "Why?", "choices": ["a", "b", "c", "d"], "answer": 0} | change
    with pytest.raises(RecordError):
        Question.from_mmlu(row, task="mmlu:s", number=0, source="", licence="")
