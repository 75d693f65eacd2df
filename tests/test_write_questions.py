"""The step that writes questions: what it leaves in its folder, its figures, its errors, and its command line."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from jobs.build_index import build_index
from jobs.collect import collect
from jobs.config import Dataset, Documents, Writer
from jobs.data_config import Budget, Reader
from jobs.errors import UserError
from jobs.funnel import funnel_table
from jobs.rejections import read_rejections
from jobs.write_questions import write_questions
from qa.prompts import NOT_FOUND
from qa.records import Question, read_records
from tests.chat_server import ChatServer, running_chat_server

SAMPLE = Path(__file__).parents[1] / "jobs" / "sample"
PAIR = {
    "question": "What does LoRA keep frozen during training?",
    "answer": "The pretrained weights",
    "evidence": "It keeps the pretrained weights frozen and learns little.",
    "kind": "method",
    "distractors": ["The adapter weights", "The optimizer state", "The learning rate"],
}
LARGE = {"prompt_tokens": 2090, "completion_tokens": 100, "total_tokens": 2190}
LORA = "LoRA is a fine-tuning method for large models. It keeps the pretrained weights frozen and learns little."


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    collect(folder / "passages", documents=Documents(paths=(str(SAMPLE / "articles"),)))
    return folder / "passages"


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "lora.md").write_text(f"# LoRA\n\n{LORA} {'Other words stand here as well. ' * 3}\n")
    collect(tmp_path / "passages", documents=Documents(paths=(str(tmp_path / "docs"),)))
    return tmp_path / "passages"


@pytest.fixture
def server():
    with running_chat_server() as server:
        server.usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        yield server


def taught(server: ChatServer, tmp_path: Path, **more: object) -> Writer:
    known = {"kind": "openai", "model": "m", "endpoint": server.address, "cache": str(tmp_path / "cache")}
    return Writer(**known | more)


def run(passages: Path, out: Path, writer: Writer | None = None, **more: object):
    return write_questions(passages, out, writer=writer or Writer(), dataset=Dataset(), seed=17, **more)


def test_what_the_folder_holds_adds_up(sample: Path, tmp_path: Path) -> None:
    record, worked = run(sample, tmp_path / "out")
    questions = list(read_records(tmp_path / "out" / "questions.jsonl", Question))
    rejected = read_rejections(tmp_path / "out" / "rejected.parquet")
    sides = json.loads((tmp_path / "out" / "splits.json").read_text())
    figures = record.figures
    assert worked
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("questions.jsonl", "rejected.parquet", "splits.json", "step.json")
    ]
    assert figures["questions"] == len(questions) > 1000
    assert figures["rejected"] == len(rejected)
    assert figures["rejected_by_stage"] == Counter(entry.stage for entry in rejected)
    assert figures["questions_by_kind"] == Counter(question.kind for question in questions)
    assert figures["questions_by_split"] == Counter(sides["documents"][question.document] for question in questions)
    assert figures["closed_book"] == {"not asked": len(questions)}
    assert set(sides) == {"salt", "fractions", "documents", "groups"}
    assert set(sides["groups"]) == set(sides["documents"])
    assert figures["groups"] == len(set(sides["groups"].values()))
    by_group = {(sides["groups"][name], side) for name, side in sides["documents"].items()}
    assert len(by_group) == figures["groups"]


def test_the_funnel_says_what_each_filter_took(sample: Path, tmp_path: Path) -> None:
    figures = run(sample, tmp_path / "out")[0].figures
    rows = {row["filter"]: row for row in figures["funnel"]}
    assert list(rows) == [
        *("wording of a fact", "ambiguous or asked already", "questions made"),
        *(
            "evidence",
            "terms",
            "stands alone",
            "metadata trivia",
            "duplicates",
            "retrieval round trip",
            "answer round trip",
            "closed book",
        ),
    ]
    counted = {name: row["taken"] for name, row in rows.items() if row["taken"]}
    assert counted == figures["rejected_by_stage"]
    facts, questions = rows["ambiguous or asked already"]["left"], rows["evidence"]["given"]
    assert rows["questions made"] == {
        **{"filter": "questions made", "given": facts, "taken": None, "left": questions, "unit": "questions"},
    }
    shown = io.StringIO()
    Console(file=shown, width=100).print(funnel_table(figures["funnel"]))
    assert re.search(rf"questions made +{facts:,} +– +{questions:,} +questions", shown.getvalue())
    assert rows["retrieval round trip"]["left"] == figures["questions"]
    assert rows["closed book"]["not_run"].startswith("no reader configured")


def test_sampled_passages_kinds_and_a_second_run(sample: Path, tmp_path: Path) -> None:
    writer = Writer(max_passages=20, kinds=("number", "method"))
    record, worked = run(sample, tmp_path / "out", writer)
    assert worked
    assert record.figures["passages_with_questions"] <= 20
    assert set(record.figures["questions_by_kind"]) == {"number", "method"}
    other = writer.model_copy(update={"concurrency": 2, "cache": "elsewhere"})  # rows are the same
    again, worked = run(sample, tmp_path / "out", other)
    assert (worked, again.figures) == (False, record.figures)


def test_changed_code_writes_again(lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def worked() -> bool:
        return run(lora, tmp_path / "out", Writer(kinds=("fact",)))[1]

    assert (worked(), worked()) == (True, False)
    monkeypatch.setattr("jobs.write_questions.source_sha256", lambda *modules: "other code")
    assert (worked(), worked()) == (True, False)


def test_a_teacher_is_checked_and_read_back(server: ChatServer, lora: Path, tmp_path: Path) -> None:
    invented = PAIR | {"question": "What does LoRA double in size?", "evidence": "It doubles all of the weights there."}

    bare = invented | {"question": "What does LoRA cut by half?", "distractors": []}

    def reply(request: dict) -> str:
        content = request["messages"][-1]["content"]
        if "response_format" in request:
            return json.dumps({"pairs": [PAIR, invented, bare]})
        return "The pretrained weights [1]." if content.startswith("Sources:") else "B"

    server.reply = reply
    record, _ = run(lora, tmp_path / "out", taught(server, tmp_path, reader=Reader(kind="writer")))
    questions = list(read_records(tmp_path / "out" / "questions.jsonl", Question))
    assert [(q.question, q.answer_text, bool(q.choices)) for q in questions] == [
        (PAIR["question"], PAIR["answer"], False),
        (PAIR["question"], PAIR["answer"], True),
    ]
    assert {q.evidence for q in questions} == {PAIR["evidence"]}
    assert (record.figures["without_choices"], record.figures["funnel"][3]["left"]) == (1, 5)
    assert [q.closed_book for q in questions] == ["wrong", "right" if questions[1].answer == "B" else "wrong"]
    assert record.figures["rejected_by_stage"] == {"evidence": 3}
    assert record.figures["usage"]["writer"]["requests"] == len(server.requests) == 5
    asked = len(server.requests)
    run(lora, tmp_path / "again", taught(server, tmp_path, reader=Reader(kind="writer")))
    assert len(server.requests) == asked  # all from the cache


def test_a_spent_budget_ends_well_and_says_so(server: ChatServer, lora: Path, tmp_path: Path) -> None:
    server.reply = lambda request: json.dumps({"pairs": [PAIR]}) if "response_format" in request else PAIR["answer"]
    server.usage = LARGE
    writer = taught(server, tmp_path, reader=Reader(kind="writer"), budget=Budget(tokens=2200))
    with pytest.raises(
        UserError, match=r"'answer round trip' refused 2, such as: not read \(the budget of 2,?200 tokens"
    ):
        run(lora, tmp_path / "out", writer)
    tiny = taught(server, tmp_path, cache=str(tmp_path / "empty"), budget=Budget(tokens=1))
    with pytest.raises(UserError, match="'budget' refused 1, such as: the budget of 1 tokens has no room"):
        run(lora, tmp_path / "none", tiny)


def test_what_the_passage_does_not_answer_is_kept(server: ChatServer, lora: Path, tmp_path: Path) -> None:
    absent = {"question": "In which year was LoRA introduced?", "answer": "", "evidence": "", "kind": "not_in_text"}
    server.reply = lambda request: json.dumps({"pairs": [absent | {"distractors": []}]})
    run(lora, tmp_path / "out", taught(server, tmp_path))
    (question,) = read_records(tmp_path / "out" / "questions.jsonl", Question)
    assert (question.kind, question.answer_text, question.evidence) == ("not_in_text", NOT_FOUND, "")


def test_what_cannot_be_asked_is_an_error(lora: Path, tmp_path: Path, server: ChatServer) -> None:
    with pytest.raises(UserError, match=r"no passages\.jsonl"):
        run(tmp_path, tmp_path / "out")
    with pytest.raises(UserError, match=r"writer\.reader\.kind: the offline writer is no model"):
        run(lora, tmp_path / "out", Writer(reader=Reader(kind="writer")))
    with pytest.raises(UserError, match=r"writer\.reader\.model"):
        run(lora, tmp_path / "out", Writer(kinds=("fact",), reader=Reader(kind="openai")))
    with pytest.raises(UserError, match="no sentence states a fact"):
        run(lora, tmp_path / "out", Writer(kinds=("number",)))
    server.reply = lambda request: json.dumps({"pairs": [PAIR | {"evidence": "never in the passage at all"}]})
    with pytest.raises(UserError, match=r"'evidence' refused 2, such as: evidence is not in the passage"):
        run(lora, tmp_path / "out", taught(server, tmp_path))
    assert not (tmp_path / "out").exists()


def test_what_a_paid_run_refused_can_be_read_where_nothing_is_left(
    server: ChatServer, lora: Path, tmp_path: Path
) -> None:
    server.reply = lambda request: json.dumps({"pairs": [PAIR | {"evidence": "never in the passage at all"}]})
    with pytest.raises(UserError, match="all that was refused stands in") as failure:
        run(lora, tmp_path / "out", taught(server, tmp_path))
    path = Path(str(failure.value).rpartition("stands in ")[2])
    assert [(entry.stage, json.loads(entry.text)["question"]) for entry in read_rejections(path)] == [
        ("evidence", PAIR["question"])
    ] * 2
    rows = json.loads((path.parent / "funnel.json").read_text())
    assert [row["taken"] for row in rows if row["filter"] == "evidence"] == [2]
    assert path.is_relative_to(tmp_path / "out.partial")
    server.reply = lambda request: json.dumps({"pairs": [PAIR]})
    run(lora, tmp_path / "out", taught(server, tmp_path, cache=str(tmp_path / "other")))
    assert sorted(entry.name for entry in tmp_path.glob("out*")) == ["out"]


def test_all_that_is_asked_is_opened_before_anything_is_paid(server: ChatServer, lora: Path, tmp_path: Path) -> None:
    server.reply = lambda request: json.dumps({"pairs": [PAIR]})
    with pytest.raises(UserError, match=r"writer\.reader\.model"):
        run(lora, tmp_path / "out", taught(server, tmp_path, reader=Reader(kind="openai")))
    (tmp_path / "index").mkdir()
    with pytest.raises(UserError, match="build the index again"):
        run(lora, tmp_path / "out", taught(server, tmp_path), index=tmp_path / "index")
    assert server.requests == []


def test_an_index_of_other_passages_is_refused_before_anything_is_paid(
    server: ChatServer, lora: Path, tmp_path: Path
) -> None:
    build_index(lora, tmp_path / "index")
    (tmp_path / "docs" / "lora.md").write_text(f"# LoRA\n\n{LORA} {'Changed words stand here as well. ' * 3}\n")
    collect(tmp_path / "changed", documents=Documents(paths=(str(tmp_path / "docs"),)))
    said = "index: not an index of these passages; build it again with python -m jobs.build_index"
    for writer in (Writer(), taught(server, tmp_path)):
        with pytest.raises(UserError, match=said):
            run(tmp_path / "changed", tmp_path / "out", writer, index=tmp_path / "index")
    assert server.requests == []
    assert run(lora, tmp_path / "out", Writer(kinds=("fact",)), index=tmp_path / "index")[0].figures["questions"] == 1


def test_the_passages_told_of_are_those_asked(sample: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no question of 1 passages is left"):
        run(sample, tmp_path / "out", Writer(kinds=("limitation",), max_passages=1))


def test_a_reader_of_its_own_has_what_the_writer_leaves(server: ChatServer, lora: Path, tmp_path: Path) -> None:
    server.reply = lambda request: json.dumps({"pairs": [PAIR]}) if "response_format" in request else PAIR["answer"]
    reader = Reader(kind="openai", model="r", endpoint=server.address)
    used = run(lora, tmp_path / "out", taught(server, tmp_path, reader=reader))[0].figures["usage"]
    assert (used["writer"]["requests"], used["reader"]["requests"]) == (1, 4)
    server.usage, budget = LARGE, Budget(tokens=2200)
    with pytest.raises(UserError, match=r"not read \(the budget of 10 tokens"):
        run(lora, tmp_path / "b", taught(server, tmp_path, reader=reader, budget=budget, cache=str(tmp_path / "x")))


def test_the_command_prints_the_funnel_and_where_the_rejected_are(lora: Path, tmp_path: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "jobs.write_questions", str(lora), "--out", str(tmp_path / "out"), *arguments]
        return subprocess.run(words, capture_output=True, text=True, check=False, cwd=SAMPLE.parents[1])

    done = command("--kinds", "fact", "--found-within", "5")
    assert done.returncode == 0, done.stderr
    assert "retrieval round trip" in done.stdout
    assert done.stdout.splitlines()[-1] == f"written: 1 questions; 0 rejected, see {tmp_path / 'out'}/rejected.parquet"
    wrong = command("--writer", "openai", "--budget-dollars", "3")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: --budget-dollars needs --input-price and --output-price")
    assert command("--concurrency", "0").stderr.startswith("error: --concurrency: Input should be greater than")
    assert command("--agreement", "2").stderr.startswith("error: --agreement: Input should be less than")
