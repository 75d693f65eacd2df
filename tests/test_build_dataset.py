"""The data set of our own questions: sides by document, what is dropped and why, slices, passages, reading it back."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from jobs.build_dataset import build_dataset, check_sides, load_encoder, main
from jobs.config import Dataset, Evaluation
from jobs.dataset_figures import percentiles
from jobs.errors import UserError
from jobs.evaluation.tasks import load_tasks
from jobs.gguf_export.reference import read_test_questions
from jobs.rejections import read_rejections
from jobs.rows import completion_of, prompt_of, token_length
from jobs.step import StepRecord, write_json
from qa.prompts import NOT_FOUND, ask_messages, letter_messages
from qa.records import SPLITS, Question, RecordError
from tests.dataset_world import SIDES, build, one_each, passage, passages_folder, question, questions_folder, read_rows
from tests.tiny import tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer(folder)
    return str(folder)


def test_rows_carry_prompt_and_completion_in_typed_columns(tmp_path: Path, tokenizer: str) -> None:
    from datasets import Features, load_dataset

    choice = {"choices": ("one", "two", "three"), "labels": ("1", "2", "3"), "answer": "2", "evidence": "Word by word."}
    questions = one_each(question("c", "Which is it?", date="2023-01-01", closed_book="right", **choice))
    source = questions_folder(tmp_path / "q", questions, SIDES)
    rows, dropped, figures = build(source, tmp_path / "out", tokenizer)
    assert dropped == {}
    assert {split: [row["document"] for row in rows[split]] for split in SPLITS} == {
        "train": ["a"],
        "validation": ["b"],
        "test": ["c", "c"],
    }
    assert rows["train"][0]["prompt"] == ask_messages(questions[0].question)
    assert rows["train"][0]["completion"] == [{"role": "assistant", "content": "An answer."}]
    assert rows["test"][1]["prompt"] == letter_messages("Which is it?", choice["choices"], choice["labels"])
    assert rows["test"][1]["completion"] == [{"role": "assistant", "content": "2"}]
    assert figures["rows"] == {"research_qa": {"train": 1, "validation": 1, "test": 2}}
    assert figures["documents_per_split"] == figures["groups_per_split"] == {"train": 1, "validation": 1, "test": 1}
    assert figures["rows_by_kind"]["test"] == {"fact": 2}
    assert figures["recent"] == {"rows": 0, "documents": 0, "cutoff": "2024-09-30"}
    files = {split: str(tmp_path / "out" / "research_qa" / f"{split}.parquet") for split in SPLITS}
    loaded = load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    assert isinstance(loaded["train"].features, Features)
    for split in SPLITS:
        back = [Question(**{name: row[name] for name in Question.model_fields}) for row in loaded[split]]
        assert back == [entry for entry in questions if SIDES[entry.document] == split]


def test_an_empty_side_is_an_error(tmp_path: Path, tokenizer: str) -> None:
    source = questions_folder(tmp_path / "q", [question("a", "What is a?"), question("b", "What is b?")], SIDES)
    said = r"q: no test row .train 1, validation 1, test 0., .* give more documents$"
    with pytest.raises(UserError, match=said):
        build(source, tmp_path / "out", tokenizer)
    with pytest.raises(UserError, match=said):
        check_sides(source, Dataset())
    assert not (tmp_path / "out").exists()


def test_long_rows_are_dropped_whole_and_counted(tmp_path: Path, tokenizer: str) -> None:
    encoder = load_encoder(tokenizer)
    questions = one_each()
    long = question("a", f"What is {'very ' * 200}long?")
    longest = max(token_length(row, encoder) for row in questions)
    ids = encoder.prompt(prompt_of(long)) + encoder.completion(completion_of(long)[0]["content"])
    assert token_length(long, encoder) == len(ids) > longest
    source = questions_folder(tmp_path / "q", [*questions, long], SIDES)
    rows, dropped, figures = build(source, tmp_path / "out", tokenizer, max_length=longest)
    assert [row["id"] for row in rows["train"]] == [questions[0].id]
    assert dropped == {long.id: f"longer than {longest} tokens: {token_length(long, encoder)}"}
    assert figures["dropped_by_stage"] == {"length": 1}
    assert figures["tokens"]["research_qa"]["p100"] == longest


def test_later_documents_are_a_slice_of_the_test_split_and_a_task(tmp_path: Path, tokenizer: str) -> None:
    late = question("c", "What is later?", date="2024-10-01")
    by_id = question("c", "What has an old date and a new id?", date="2025-02-03", source="arxiv.org/abs/2308.00001")
    on_the_day = question("c", "What is of the last day?", date="2024-09-30")
    trained = question("a", "What is later, but read in training?", date="2025-01-01")
    source = questions_folder(tmp_path / "q", one_each(late, by_id, on_the_day, trained), SIDES)
    rows, _, figures = build(source, tmp_path / "out", tokenizer)
    recent = read_rows(tmp_path / "out" / "research_qa" / "test_recent.parquet")
    assert [row["id"] for row in recent] == [late.id]
    assert recent == [row for row in rows["test"] if row["id"] == late.id]
    assert figures["recent"] == {"rows": 1, "documents": 1, "cutoff": "2024-09-30"}
    names = Evaluation(tasks=("research", "research_recent"))
    research, task = load_tasks(names, tmp_path / "out", 0).tasks
    assert ([row.id for row in task.open], task.name, task.open[0].task) == ([late.id], *["research_recent"] * 2)
    assert [row.id for row in research.open] == [row["id"] for row in rows["test"]]
    assert [row.id for row in read_test_questions(tmp_path / "out")] == [row["id"] for row in rows["test"]]
    build(source, tmp_path / "out", tokenizer, cutoff="2024-10-01")
    assert not (tmp_path / "out" / "research_qa" / "test_recent.parquet").exists()
    with pytest.raises(UserError, match=r"no test questions of task research_recent; there are: research$"):
        load_tasks(names, tmp_path / "out", 0)


def test_passages_are_published_with_the_side_of_their_document(tmp_path: Path, tokenizer: str) -> None:
    from datasets import load_dataset

    passages = [
        passage(name, number, f"Text {number} of {name}.", licence="MIT") for name in "abc" for number in (0, 1)
    ]
    source = questions_folder(tmp_path / "q", one_each(), SIDES)
    folder = passages_folder(tmp_path / "p", passages)
    _, _, figures = build(source, tmp_path / "out", tokenizer, passages=folder)
    assert figures["passages"] == {"rows": 6, "without_licence": 0}
    files = str(tmp_path / "out" / "passages" / "train.parquet")
    loaded = load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"), split="train")
    assert loaded.to_list() == [row.model_dump() | {"split": SIDES[row.document]} for row in passages]
    assert {loaded.features[name].dtype for name in ("start", "end")} == {"int64"}
    part = passages_folder(tmp_path / "part", [*passages[:4], passage("c", 0, "Under no licence.")])
    _, _, figures = build(source, tmp_path / "out", tokenizer, passages=part)
    assert figures["passages"] == {"rows": 4, "without_licence": 1}
    published = read_rows(tmp_path / "out" / "passages" / "train.parquet")
    assert [row["id"] for row in published] == [row.id for row in passages[:4]]
    bare = passages_folder(tmp_path / "none", [passage(name, 0, "Under no licence.") for name in "ab"])
    build(source, tmp_path / "out", tokenizer, passages=bare)
    assert not (tmp_path / "out" / "passages").exists()
    lonely = passages_folder(tmp_path / "more", [*passages, passage("d", 0, "Of none.")])
    with pytest.raises(UserError, match=r"splits.json: names no side for d; write the questions again"):
        build(source, tmp_path / "out", tokenizer, passages=lonely)


def test_every_configuration_is_loaded_back(tmp_path: Path, tokenizer: str) -> None:
    from datasets import load_dataset

    late = question("c", "Which year brought a later method?", date="2025-01-01")
    passages = [passage(name, 0, f"It is said that {name} is best.", licence="MIT") for name in "abc"]
    words = {name: f"{name} is best" for name in "ac"}
    best = {name: {"answer_text": said, "evidence": said, "passage": f"{name}#0"} for name, said in words.items()}
    read = [question("a", "Who is the finest of all?", **best["a"]), question("c", "Whom does none beat?", **best["c"])]
    source = questions_folder(tmp_path / "q", one_each(late, *read), SIDES)
    given = {"passages": passages_folder(tmp_path / "p", passages), "reading": {"share": 1, "withheld": 0}}
    _, _, figures = build(source, tmp_path / "out", tokenizer, **given)
    assert figures["rows"]["reading"] == {"train": 0, "validation": 0, "test": 1}  # nothing else to show in training
    configs = {"research_qa": [*SPLITS, "test_recent"], "reading": ["test"], "passages": ["train"]}
    card = ""
    for name, splits in configs.items():
        card += f"- config_name: {name}\n  data_files:\n"
        card += "".join(f"  - {{split: {split}, path: {name}/{split}.parquet}}\n" for split in splits)
    (tmp_path / "out" / "README.md").write_text(f"---\nconfigs:\n{card}---\n# Ours\n")
    for name, splits in configs.items():
        loaded = load_dataset(str(tmp_path / "out"), name, cache_dir=str(tmp_path / "cache"))
        assert sorted(loaded) == sorted(splits)
        for split in splits:
            assert loaded[split].to_list() == read_rows(tmp_path / "out" / name / f"{split}.parquet")
    assert [path.name for path in (tmp_path / "out" / "reading").iterdir()] == ["test.parquet"]


def test_a_question_that_its_text_cannot_answer_needs_the_text(tmp_path: Path, tokenizer: str) -> None:
    absent = [
        question(name, f"What does {name} not say?", kind="not_in_text").model_copy(update={"answer_text": NOT_FOUND})
        for name in "ab"
    ]
    rows, dropped, _ = build(questions_folder(tmp_path / "q", one_each(*absent), SIDES), tmp_path / "out", tokenizer)
    assert [len(rows[split]) for split in SPLITS] == [1, 1, 1]
    assert dropped == dict.fromkeys((row.id for row in absent), "needs its passage")
    (entry, _) = read_rejections(tmp_path / "out" / "rejected.parquet")
    assert (entry.stage, entry.text) == ("reading", "What does a not say?")


def test_a_group_on_two_sides_is_refused(tmp_path: Path, tokenizer: str) -> None:
    source = questions_folder(tmp_path / "q", one_each(), SIDES, groups={"a": "paper", "c": "paper"})
    with pytest.raises(UserError, match=r"a group of documents is on two sides: a on train, c on test; write"):
        build(source, tmp_path / "out", tokenizer)


def test_questions_from_elsewhere_are_split_by_their_documents(tmp_path: Path, tokenizer: str, capsys) -> None:
    words = "optimiser schedule encoder decoder attention reward policy tokens kernel adapter".split()
    questions = [question(word, f"What is the {word} of {word}s?") for word in words]
    rows, dropped, figures = build(questions_folder(tmp_path / "q", questions), tmp_path / "out", tokenizer)
    assert figures["documents_per_split"] == {"train": 8, "validation": 1, "test": 1}
    assert (sorted(row["document"] for split in SPLITS for row in rows[split]), dropped) == (sorted(words), {})
    assert f"{tmp_path}/q: no splits.json: documents are split here, each its own group\n" in capsys.readouterr().err


def test_a_split_that_was_drawn_and_lost_is_not_drawn_anew(tmp_path: Path, tokenizer: str) -> None:
    source = questions_folder(tmp_path / "q", one_each())
    write_json(source / "step.json", asdict(StepRecord("write_questions", {}, {})))
    with pytest.raises(UserError, match=rf"^{source}: splits.json is missing; write the questions again$"):
        build(source, tmp_path / "out", tokenizer)


def test_errors_name_what_is_wrong_and_leave_no_folder(tmp_path: Path, tokenizer: str) -> None:
    source = questions_folder(tmp_path / "q", one_each(), SIDES)
    bare = questions_folder(tmp_path / "bare", one_each())
    (bare / "splits.json").write_text('{"salt": "footnote", "documents": {}}')
    cases = [
        (tmp_path / "none", tokenizer, {}, "none: no questions.jsonl"),
        (source, str(source), {}, f"{source}: no tokenizer files there; give a Hub id or a folder with a tokenizer"),
        (source, tokenizer, {"salt": "other"}, "written for salt 'footnote'"),
        (source, tokenizer, {"max_length": 32}, "no train row .*: longer than 32 tokens"),
        (source, tokenizer, {"arc": "allenai/ai2_arc"}, "allenai/ai2_arc: the Hub does not answer"),
        (source, tokenizer, {"arc": "two words"}, "two words: no such data set"),
        (bare, tokenizer, {}, "splits.json: no fractions, groups in it; write the questions again"),
    ]
    for folder, name, fields, said in cases:
        with pytest.raises(UserError, match=said):
            build_dataset(folder, tmp_path / "out", tokenizer=name, dataset=Dataset(**fields))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{bad", r"splits.json: Invalid JSON: .*; write the questions again$"),
        ("[]", r"splits.json: Input should be an object; write the questions again$"),
        (b"\xff\xfe", r"splits.json: Invalid JSON"),
        (
            {"a": "exam"},
            r"splits.json: documents.a: Input should be 'train', 'validation' or 'test'; write the questions",
        ),
        ({"a": 3}, r"splits.json: documents.a: Input should be 'train'"),
    ],
)
def test_a_damaged_splits_file_is_named(text: object, said: str, tmp_path: Path, tokenizer: str) -> None:
    source = questions_folder(tmp_path / "q", one_each(), SIDES)
    path = source / "splits.json"
    if isinstance(text, dict):
        write_json(path, json.loads(path.read_text()) | {"documents": text})
    else:
        path.write_bytes(text if isinstance(text, bytes) else str(text).encode())
    with pytest.raises(UserError, match=said):
        build(source, tmp_path / "out", tokenizer)


def test_a_cutoff_that_is_no_day_is_told_in_plain_words(monkeypatch, capsys) -> None:
    command = ["build_dataset", "q", "--out", "out", "--tokenizer", "t", "--cutoff", "2024-99"]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit):
        main()
    said = "error: argument --cutoff: '2024-99' is no day; expected one as 2024-09-30"
    assert capsys.readouterr().err.endswith(f"{said}\n")


def test_a_broken_questions_file_names_row_and_field(tmp_path: Path, tokenizer: str) -> None:
    source = questions_folder(tmp_path / "q", [question("a", "What is a?")])
    with (source / "questions.jsonl").open("a") as file:
        file.write('{"id": "x", "question": "", "answer_text": "a", "document": "a"}\n')
    with pytest.raises(RecordError, match=r"questions.jsonl, row 2: field 'question'"):
        build_dataset(source, tmp_path / "out", tokenizer=tokenizer, dataset=Dataset())


def test_the_tokenizer_is_loaded_at_its_revision(tmp_path: Path, tokenizer: str, monkeypatch) -> None:
    from transformers import AutoTokenizer

    load, asked = AutoTokenizer.from_pretrained, []

    def loaded(name: str, **options: str):
        asked.append((name, options["revision"]))
        return load(tokenizer)

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", loaded)
    source = questions_folder(tmp_path / "q", one_each(), SIDES)
    for revision in ("v1", "v1", "v2"):
        build_dataset(source, tmp_path / "out", tokenizer="someone/model", revision=revision, dataset=Dataset())
    assert asked == [("someone/model", "v1"), ("someone/model", "v2")]


def test_changed_code_builds_again(tmp_path: Path, tokenizer: str, monkeypatch) -> None:
    source = questions_folder(tmp_path / "q", one_each(), SIDES)

    def worked() -> bool:
        return build_dataset(source, tmp_path / "out", tokenizer=tokenizer, dataset=Dataset())[1]

    assert (worked(), worked()) == (True, False)
    monkeypatch.setattr("jobs.build_dataset.source_sha256", lambda *modules: "other code")
    assert (worked(), worked()) == (True, False)


def test_percentiles_are_nearest_rank() -> None:
    assert percentiles(list(range(1, 101))) == {"p5": 5, "p50": 50, "p95": 95, "p100": 100, "mean": 50}
    assert percentiles([7]) == {"p5": 7, "p50": 7, "p95": 7, "p100": 7, "mean": 7}
    assert percentiles([]) == {}
