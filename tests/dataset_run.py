"""The first steps of a run, from documents to a data set, with what their cards tell. Not a test.

`write_collected`, `write_written` and `write_built` fill the folder of one step each and give its figures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.card_facts import Run
from jobs.data_config import Dataset, Documents, Writer
from jobs.documents import DocumentText, Rejection
from jobs.funnel import Funnel
from jobs.rejections import FILE, write_rejections
from jobs.rows import TrainingRow, row_of, write_passages, write_rows
from jobs.step import read_step, run_step, write_json
from qa.artifacts import Repositories
from qa.prompts import NOT_FOUND, sources_messages
from qa.records import Passage, Question, Split, write_records

NAMES = Repositories("demo", "footnote-data")
DOCUMENTS = 18  # two questions and two passages each
REFUSED = "the words of a paper under a licence that was refused"
SIDES: dict[Split, range] = {"train": range(10), "validation": range(10, 12), "test": range(12, 18)}
USAGE = {"writer": {"requests": 36, "input_tokens": 4242, "output_tokens": 777, "dollars": 0.0123, "stopped": ""}}


def document(number: int) -> str:
    return f"paper-{number}.md"


def passage(number: int, **changes: Any) -> Passage:
    """One of the two passages of document `number // 2`."""
    values = {
        "id": f"{document(number // 2)}#{1 + number % 2}",
        "document": document(number // 2),
        "title": f"Paper {number // 2}",
        "text": f"Method {number} relies on scaled product {number}.",
        "source": "https://example.org/paper",
        "licence": "CC-BY-4.0",
        "start": 0,
        "end": 9,
    }
    return Passage(**values | changes)


def ask(number: int, **changes: Any) -> Question:
    """An open question of passage `number`."""
    values = {
        "id": f"o{number:03d}",
        "question": f"What does method {number} rely on?",
        "answer_text": f"scaled product {number}",
        "kind": "method",
        "document": document(number // 2),
        "passage": passage(number).id,
        "evidence": passage(number).text,
        "source": "https://example.org/paper",
        "licence": "CC-BY-4.0",
        "closed_book": "right" if number % 3 else "wrong",
    }
    return Question(**values | changes)


def choose(number: int, **changes: Any) -> Question:
    """The same question with options."""
    texts = [f"scaled product {number}", "a lookup table", "a cosine schedule", "a graph cut"]
    values = {
        "id": f"c{number:03d}",
        "labels": tuple("ABCD"),
        "choices": tuple(texts),
        "answer": "A",
        "closed_book": "",
    }
    return ask(number, **values | changes)


def reading_row(number: int) -> TrainingRow:
    """A question with three passages before it; every fifth has the right one withheld."""
    shown = [passage(number + step) for step in ((1, 2, 3) if number % 5 == 4 else (1, 0, 2))]
    question = ask(number, id=f"r{number:03d}", sources=tuple(each.id for each in shown))
    answer = NOT_FOUND if number % 5 == 4 else f"{question.answer_text} [2]."
    return TrainingRow(
        question, sources_messages(question.question, [(each.title, each.text) for each in shown]), answer
    )


def write_collected(folder: Path, *documents: DocumentText) -> dict[str, Any]:
    """Passages, documents (those given beside our own) and rejections, and the figures of collecting them."""
    passages = [passage(number) for number in range(2 * DOCUMENTS)]
    write_records(folder / "passages.jsonl", passages)
    own = [
        DocumentText(
            document=document(number), title=f"Paper {number}", format="markdown", text="…", licence="CC-BY-4.0"
        )
        for number in range(DOCUMENTS)
    ]
    write_records(folder / "documents.jsonl", [*own, *documents])
    refused = [("a.md", "CC-BY-NC-4.0"), ("b.md", "CC-BY-NC-4.0"), ("c.md", "arXiv")]
    rejections = [
        Rejection(name=name, stage="licence", reason=f"licence not on the list ({licence})", text=REFUSED)
        for name, licence in refused
    ]
    write_rejections(folder / FILE, [*rejections, Rejection(name="d.md", stage="language", reason="in German")])
    funnel = Funnel()
    funnel.add("licence", DOCUMENTS + 4, 3)
    funnel.add("language", DOCUMENTS + 1, 1)
    counts = {"documents": DOCUMENTS, "passages": len(passages), "rejected": 4}
    return counts | {"funnel": funnel.rows, "documents_by_source": {"local": DOCUMENTS - 1, "arxiv": 1}}


def write_written(folder: Path) -> dict[str, Any]:
    """The split, and the figures of writing the questions: document 1 is of document 0's group."""
    sides = {document(number): split for split, numbers in SIDES.items() for number in numbers}
    groups = {name: document(0) if name == document(1) else name for name in sides}
    split = {"salt": "footnote", "fractions": [0.8, 0.1, 0.1], "documents": sides, "groups": groups}
    write_json(folder / "splits.json", split)
    funnel = Funnel()
    funnel.add("schema", 41, 1)
    funnel.turn("questions made", given=40, left=80, unit="questions")
    funnel.add("evidence", 80, 7)
    funnel.skip("answer round trip", "no reader is configured")
    return {"questions": 73, "rejected": 7, "funnel": funnel.rows, "usage": USAGE}


def contamination() -> dict[str, Any]:
    """A report of decontamination, in which 12 rows of training and 1 of validation were dropped."""
    dropped = [
        {
            "row": f"o{number:03d}", "config": "research_qa" if number % 3 else "arc", "test": "arc_easy",
            "item": f"Mercury_{number}", "split": "train" if number < 12 else "validation",
            "method": "near_duplicate", "score": 0.75, "row_text": f"dropped row {number}", "item_text": "which | of",
        }
        for number in range(13)
    ]  # fmt: skip
    counts = {"items": 2376, "short_items": 31, "trivial_items": 2, "rows_dropped": 12, "validation_rows_dropped": 1}
    methods = {"exact": 5, "coverage": 3, "near_duplicate": 4, "evidence": 1}
    tests = [{"name": "arc_easy", **counts, "by_method": methods}]
    found = {"exact": 1.0, "coverage": 0.98, "near_duplicate": 1.0, "any": 1.0}
    planted = [{"test": name, "change": "verbatim", "n": 44, **found} for name in ("research/test", "arc_easy")]
    settings = {"ngram": 8, "coverage": 0.5, "similarity": 0.6, "train_rows": 4321}
    return {**settings, "tests": tests, "dropped": dropped, "planted": planted}


def write_built(folder: Path) -> dict[str, Any]:
    """All configurations but `arc`, the report, and rejections, and the figures of building them."""
    for split, numbers in SIDES.items():
        places = range(2 * numbers.start, 2 * numbers.stop)
        rows = [row_of(question) for number in places for question in (choose(number), ask(number))]
        write_rows(folder / "research_qa" / f"{split}.parquet", rows)
        if split != "validation":
            write_rows(folder / "reading" / f"{split}.parquet", map(reading_row, places[:10]))
    write_rows(folder / "research_qa" / "test_recent.parquet", [row_of(ask(24)), row_of(ask(25))])
    sides = {document(number): split for split, numbers in SIDES.items() for number in numbers}
    write_passages(folder / "passages" / "train.parquet", map(passage, range(2 * DOCUMENTS)), sides)
    write_json(folder / "decontamination.json", contamination())
    write_rejections(folder / FILE, [Rejection(name="o001", reason="copy", stage="decontamination", text=REFUSED)])
    counts = {"passages": {"rows": 2 * DOCUMENTS, "without_licence": 3}, "dropped": 13, "reading": {"rows": 20}}
    return {"arc": {}, **counts, "decontamination": {"dropped": 13}}


def data_run(folder: Path, *documents: DocumentText) -> Path:
    """A run of these three steps; `documents` are listed beside its own."""
    writer = {
        "writer": Writer(kind="openai", model="teacher", endpoint="http://teacher:7000/v1").model_dump(mode="json")
    }
    parts: dict[str, tuple[str, dict[str, Any], Any]] = {
        "passages": ("collect", Documents().model_dump(mode="json"), lambda out: write_collected(out, *documents)),
        "questions": ("write_questions", writer, write_written),
        "dataset": ("build_dataset", Dataset().model_dump(mode="json"), write_built),
    }
    for name, (step, arguments, work) in parts.items():
        run_step(step, folder / name, arguments=arguments, inputs={}, work=work, command=f"python -m jobs.{step}")
    return folder


def read_run(folder: Path) -> Run:
    """The facts of such a run, which has no model yet."""
    return Run(folder, NAMES, {name: read_step(folder / name) for name in ("passages", "questions", "dataset")})
