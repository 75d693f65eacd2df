"""The step that builds the index, and how often it finds the passage of a question whose passage is known."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.build_index import build_index
from jobs.collect import collect
from jobs.config import Dataset, Documents, Writer
from jobs.errors import UserError
from jobs.write_questions import write_questions
from qa import retrieval
from qa.records import Passage, Question, RecordError, read_records
from qa.retrieval import Index

ROOT = Path(__file__).parents[1]
ARTICLES = ROOT / "jobs" / "sample" / "articles"


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    collect(folder / "passages", documents=Documents(paths=(str(ARTICLES),)))
    return folder


@pytest.fixture(scope="module")
def built(world: Path):
    return build_index(world / "passages", world / "index")


def passages_in(folder: Path, lines: str) -> Path:
    folder.mkdir()
    (folder / "passages.jsonl").write_text(lines, encoding="utf-8")
    return folder


def line(number: int = 0, text: str = "Adapters are small layers.", **more) -> str:
    values = {"id": f"a#{number}", "document": "a", "title": "Adapters", "text": text, "start": 0, "end": 9}
    return json.dumps(values | more) + "\n"


def test_figures_are_of_what_was_indexed(world: Path, built) -> None:
    record, worked = built
    passages = list(read_records(world / "passages" / "passages.jsonl", Passage))
    assert worked
    assert record.figures["passages"] == len(passages) == len(Index.load(world / "index")) == 240
    assert record.figures["documents"] == len({passage.document for passage in passages}) == 80
    assert record.figures["vocabulary"] == len(json.loads((world / "index/bm25/vocab.index.json").read_text()))
    assert record.figures["bytes"] == sum(record.outputs[name]["bytes"] for name in retrieval.FILES)
    assert 0 < record.figures["seconds"] <= record.seconds + 0.001
    assert set(record.outputs) == {retrieval.MANIFEST, *retrieval.FILES}


def test_what_is_built_is_not_built_again_until_passages_code_or_versions_change(
    world: Path, built, tmp_path: Path, monkeypatch
) -> None:
    assert build_index(world / "passages", world / "index") == (built[0], False)
    source, out = passages_in(tmp_path / "p", line()), tmp_path / "index"
    assert build_index(source, out)[1]
    (source / "passages.jsonl").write_text(line() + line(1), encoding="utf-8")
    assert build_index(source, out)[0].figures["passages"] == 2
    monkeypatch.setattr(retrieval, "versions", lambda: {"bm25s": "9", "PyStemmer": "9"})
    assert build_index(source, out)[1]
    changed = tmp_path / "retrieval.py"
    shutil.copy(str(retrieval.__file__), changed)
    changed.write_text(changed.read_text() + "# changed\n")
    monkeypatch.setattr(retrieval, "__file__", str(changed))
    assert build_index(source, out)[1]
    assert not build_index(source, out)[1]


def test_the_passage_of_a_question_is_found(world: Path, built) -> None:
    """Measured on 1,100 questions: document 0.941 at 1, 0.993 at 5; passage 0.611 at 1, 0.988 at 5."""
    write_questions(world / "passages", world / "questions", writer=Writer(), dataset=Dataset(), seed=17)
    questions = read_records(world / "questions" / "questions.jsonl", Question)
    asked = {(question.question, question.passage): question for question in questions}.values()
    assert len(asked) > 1_000
    index, rates = Index.load(world / "index"), {}
    hits = [[hit.passage for hit in index.search(question.question)] for question in asked]
    for k in (1, 5):
        pairs = [(found[:k], question) for found, question in zip(hits, asked, strict=True)]
        rates[f"document@{k}"] = sum(any(p.document == q.document for p in found) for found, q in pairs) / len(pairs)
        rates[f"passage@{k}"] = sum(any(p.id == q.passage for p in found) for found, q in pairs) / len(pairs)
    print({name: round(rate, 3) for name, rate in rates.items()})
    assert rates["document@5"] >= 0.97
    assert rates["document@1"] >= 0.92
    assert rates["passage@5"] >= 0.96
    assert rates["passage@1"] >= 0.58


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "0 passages and no word in them"),
        (line(text="…", title=""), "1 passages and no word in them"),
        (line() + line(), "passage 'a#0' occurs twice"),
    ],
)
def test_passages_that_cannot_be_indexed_leave_no_index(tmp_path: Path, lines: str, said: str) -> None:
    source = passages_in(tmp_path / "p", lines)
    with pytest.raises(UserError) as raised:
        build_index(source, tmp_path / "index")
    assert str(raised.value).startswith(f"{source / 'passages.jsonl'}: {said}")
    assert not (tmp_path / "index").exists()


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"passages\.jsonl, row 2: field 'end'"):
        build_index(passages_in(tmp_path / "p", line() + line(1, end=0)), tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_the_command_builds_once_and_a_mistake_is_one_line(world: Path, tmp_path: Path) -> None:
    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "jobs.build_index", *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    first, again = (run(world / "passages", "--out", tmp_path / "index") for _ in range(2))
    assert first.returncode == again.returncode == 0, first.stderr
    assert first.stdout.startswith("built: 240 passages of 80 documents, ")
    assert again.stdout == f"already {first.stdout}"
    wrong = run(tmp_path / "nowhere", "--out", tmp_path / "other")
    assert wrong.returncode == 2
    assert wrong.stderr == (
        f"error: {tmp_path / 'nowhere'}: no passages.jsonl in it; make it with python -m jobs.collect\n"
    )
    assert not (tmp_path / "other").exists()


def test_help_loads_no_index_library() -> None:
    code = (
        "import sys, runpy; sys.argv = ['jobs.build_index', '--help']\n"
        "try: runpy.run_module('jobs.build_index', run_name='__main__')\n"
        "except SystemExit: assert not {'bm25s', 'numpy', 'torch'} & set(sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "python -m jobs.build_index" in shown.stdout
