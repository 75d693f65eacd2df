"""The data set: splits by document, ARC through the Hub's own client, what is dropped and why, reading it back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.arc import load_arc, read_row
from jobs.build_dataset import build_dataset, load_encoder, percentiles
from jobs.config import Dataset
from jobs.documents import Rejection
from jobs.errors import UserError
from jobs.rows import completion_of, prompt_of, token_length
from jobs.step import write_json
from local_hub.faults import cut_download
from local_hub.seeding import seed_all
from local_hub.testing import running_hub
from qa.prompts import ask_messages, letter_messages
from qa.records import SPLITS, Question, RecordError, read_records, write_records
from tests.tiny import tiny_tokenizer

ROOT = Path(__file__).parents[1]


def question(document: str, text: str, **fields: object) -> Question:
    return Question(
        id=f"research/{document}-{text[:30]}", question=text, answer_text="An answer.", document=document, **fields
    )


def questions_folder(folder: Path, questions: list[Question], sides: dict[str, str] | None = None) -> Path:
    folder.mkdir(parents=True)
    write_records(folder / "questions.jsonl", questions)
    if sides is not None:
        write_json(folder / "splits.json", {"salt": "footnote", "fractions": [0.8, 0.1, 0.1], "documents": sides})
    return folder


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer(folder)
    return str(folder)


def build(source: Path, out: Path, tokenizer: str, **fields: object):
    """Rows by split as plain dictionaries, reasons of drops, figures."""
    import pyarrow.parquet as parquet

    wanted = Dataset(**fields)
    record, _ = build_dataset(source, out, tokenizer=tokenizer, dataset=wanted)
    rows = {split: parquet.read_table(out / "research_qa" / f"{split}.parquet").to_pylist() for split in SPLITS}
    dropped = {entry.name: entry.reason for entry in read_records(out / "dropped.jsonl", Rejection)}
    return rows, dropped, record.figures


SIDES = {"a": "train", "b": "validation", "c": "test"}


def test_rows_carry_prompt_and_completion_in_typed_columns(tmp_path: Path, tokenizer: str) -> None:
    from datasets import Features, load_dataset

    choice = {"choices": ("one", "two", "three"), "labels": ("1", "2", "3"), "answer": "2", "evidence": "Word by word."}
    questions = [question(name, f"What is {name}?") for name in "abc"] + [question("c", "Which is it?", **choice)]
    source = questions_folder(tmp_path / "q", questions, SIDES)
    rows, dropped, figures = build(source, tmp_path / "out", tokenizer)
    assert dropped == {}
    assert {split: [row["document"] for row in rows[split]] for split in SPLITS} == {
        "train": ["a"],
        "validation": ["b"],
        "test": ["c", "c"],
    }
    assert rows["train"][0]["prompt"] == ask_messages("What is a?")
    assert rows["train"][0]["completion"] == [{"role": "assistant", "content": "An answer."}]
    assert rows["test"][1]["prompt"] == letter_messages("Which is it?", choice["choices"], choice["labels"])
    assert rows["test"][1]["completion"] == [{"role": "assistant", "content": "2"}]
    assert figures["rows"] == {"research_qa": {"train": 1, "validation": 1, "test": 2}}
    assert figures["documents_per_split"] == {"train": 1, "validation": 1, "test": 1}
    files = {split: str(tmp_path / "out" / "research_qa" / f"{split}.parquet") for split in SPLITS}
    loaded = load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    assert isinstance(loaded["train"].features, Features)
    for split in SPLITS:
        fields = set(Question.model_fields)
        back = [Question(**{name: row[name] for name in fields}) for row in loaded[split]]
        assert back == [entry for entry in questions if SIDES[entry.document] == split]


def test_an_empty_side_is_an_error(tmp_path: Path, tokenizer: str) -> None:
    source = questions_folder(tmp_path / "q", [question("a", "What is a?"), question("b", "What is b?")], SIDES)
    with pytest.raises(UserError, match=r"q: no test row .train 1, validation 1, test 0., .* give more documents$"):
        build(source, tmp_path / "out", tokenizer)
    assert not (tmp_path / "out").exists()


def test_long_rows_are_dropped_whole_and_counted(tmp_path: Path, tokenizer: str) -> None:
    encoder = load_encoder(tokenizer)
    short, long = question("a", "What is short?"), question("a", f"What is {'very ' * 200}long?")
    others = [question("b", "What is b?"), question("c", "What is c?")]
    longest = token_length(short, encoder)
    ids = encoder.prompt(prompt_of(short)) + encoder.completion(completion_of(short)[0]["content"])
    assert longest == len(ids)
    source = questions_folder(tmp_path / "q", [short, long, *others], SIDES)
    rows, dropped, figures = build(source, tmp_path / "out", tokenizer, max_length=longest)
    assert [row["question"] for row in rows["train"]] == ["What is short?"]
    assert dropped == {long.id: f"longer than {longest} tokens: {token_length(long, encoder)}"}
    assert figures["dropped_by_reason"] == {f"longer than {longest} tokens": 1}
    assert figures["tokens"]["research_qa"]["p100"] == longest


def test_what_is_asked_on_a_held_out_side_leaves_training(tmp_path: Path, tokenizer: str) -> None:
    options = {"labels": ("A", "B"), "answer": "A"}
    questions = [
        question("a", "What  is LoRA?"),
        question("a", "Which one?", choices=("x", "y"), **options),
        question("a", "Which one??", choices=("x", "z"), **options),
        question("b", "what is lora"),
        question("c", "Which One?", choices=("Y", "X"), **options),
    ]
    rows, dropped, _ = build(questions_folder(tmp_path / "q", questions, SIDES), tmp_path / "out", tokenizer)
    assert [row["question"] for row in rows["train"]] == ["Which one??"]
    assert len(rows["validation"]) == len(rows["test"]) == 1
    assert dropped == {
        questions[0].id: f"same question on a held-out side: validation/{questions[3].id}",
        questions[1].id: f"same question on a held-out side: test/{questions[4].id}",
    }


def test_errors_name_what_is_wrong_and_leave_no_folder(tmp_path: Path, tokenizer: str) -> None:
    source = questions_folder(tmp_path / "q", [question("a", "What is a?")], SIDES)
    cases = [
        (tmp_path / "none", tokenizer, {}, "none: no questions.jsonl"),
        (source, str(source), {}, f"{source}: no usable tokenizer"),
        (source, tokenizer, {"salt": "other"}, "written for salt 'footnote'"),
        (source, tokenizer, {"max_length": 32}, "no train row .*: longer than 32 tokens"),
        (source, tokenizer, {"arc": "allenai/ai2_arc"}, "allenai/ai2_arc: the Hub does not answer"),
        (source, tokenizer, {"arc": "two words"}, "two words: no such data set"),
    ]
    for folder, name, fields, said in cases:
        with pytest.raises(UserError, match=said):
            build_dataset(folder, tmp_path / "out", tokenizer=name, dataset=Dataset(**fields))
    assert not (tmp_path / "out").exists()


def test_a_broken_questions_file_names_row_and_field(tmp_path: Path, tokenizer: str) -> None:
    source = questions_folder(tmp_path / "q", [question("a", "What is a?")])
    with (source / "questions.jsonl").open("a") as file:
        file.write('{"id": "x", "question": "", "answer_text": "a", "document": "a"}\n')
    with pytest.raises(RecordError, match=r"questions.jsonl, row 2: field 'question'"):
        build_dataset(source, tmp_path / "out", tokenizer=tokenizer, dataset=Dataset())


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


def arc_repository(folder: Path) -> None:
    """A small `allenai/ai2_arc` of the real layout, one damaged row in it."""
    import pyarrow as pa
    from pyarrow import parquet

    configs = ""
    for config in ("ARC-Challenge", "ARC-Easy"):
        configs += f"- config_name: {config}\n  data_files:\n"
        for split in SPLITS:
            rows = [
                arc_row(f"{config}-{split}-{n}", [f"{split} {n}", "b", "c"], ["A", "B", "C"], "A") for n in range(4)
            ]
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
    source = questions_folder(tmp_path / "q", [question(name, f"What is {name}?") for name in "abc"], SIDES)
    common = [source, "--out", tmp_path / "out", "--tokenizer", tokenizer, "--arc"]
    with running_hub(tmp_path / "hub") as hub:
        seed_all(hub.store, tmp_path / "seed")
        environment = hub.environment(tmp_path / "home")
        done = run(environment, *common, "allenai/ai2_arc")
        missing = run(environment, *common, "allenai/ai2_ark")
    assert done.returncode == 0, done.stderr
    assert "arc: 8 train, 8 validation, 8 test" in done.stdout
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


def test_the_tokenizer_is_loaded_at_its_revision(tmp_path: Path, tokenizer: str, monkeypatch) -> None:
    from transformers import AutoTokenizer

    load, asked = AutoTokenizer.from_pretrained, []

    def loaded(name: str, **options: str):
        asked.append((name, options["revision"]))
        return load(tokenizer)

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", loaded)
    source = questions_folder(tmp_path / "q", [question(name, f"What is {name}?") for name in "abc"], SIDES)
    for revision in ("v1", "v1", "v2"):
        build_dataset(source, tmp_path / "out", tokenizer="someone/model", revision=revision, dataset=Dataset())
    assert asked == [("someone/model", "v1"), ("someone/model", "v2")]


def test_changed_code_builds_again(tmp_path: Path, tokenizer: str, monkeypatch) -> None:
    source = questions_folder(tmp_path / "q", [question(name, f"What is {name}?") for name in "abc"], SIDES)

    def worked() -> bool:
        return build_dataset(source, tmp_path / "out", tokenizer=tokenizer, dataset=Dataset())[1]

    assert (worked(), worked()) == (True, False)
    monkeypatch.setattr("jobs.build_dataset.source_sha256", lambda *modules: "other code")
    assert (worked(), worked()) == (True, False)


def test_real_arc_loses_only_its_damaged_row_and_its_exact_twins(
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
    assert figures["rows_by_task"]["validation"] == {"arc_easy": 570, "arc_challenge": 299, "research": 1}
    assert sum(figures["rows"]["arc"].values()) == 7787 - figures["dropped"]
    assert figures["dropped_by_reason"] == {
        "two options have run together in option B": 1,
        "same question on a held-out side": 3,
    }
    assert figures["tokens"]["arc"]["p100"] <= 512


def test_a_repository_that_is_not_arc_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("jobs.arc._origin", lambda name: {"repository": name, "revision": "main", "licence": ""})
    monkeypatch.setattr("jobs.arc._load", lambda *_: {"train": []})
    with pytest.raises(UserError, match="ARC-Easy has no validation split"):
        load_arc("someone/else", ["ARC-Easy"])


def test_percentiles_are_nearest_rank() -> None:
    assert percentiles(list(range(1, 101))) == {"p5": 5, "p50": 50, "p95": 95, "p100": 100, "mean": 50}
    assert percentiles([7]) == {"p5": 7, "p50": 7, "p95": 7, "p100": 7, "mean": 7}
    assert percentiles([]) == {}
