"""Records are validated when read, and the error names file, row and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from qa.records import Passage, Question, RecordError, read_records, write_records

ROW = {
    "id": "Mercury_1",
    "question": " Which is a mammal? ",
    "choices": {"text": ["whale", "trout ", "frog"], "label": ["1", "2", "3"]},
    "answerKey": "1",
}


def arc(**changes: object) -> Question:
    return Question.from_arc({**ROW, **changes}, task="arc_easy", source="allenai/ai2_arc", licence="cc-by-sa-4.0")


def test_arc_rows_with_numeric_labels_and_three_options_are_ordinary() -> None:
    question = arc()
    assert (question.question, question.choices, question.labels) == (
        "Which is a mammal?",
        ("whale", "trout", "frog"),
        ("1", "2", "3"),
    )
    assert (question.gold, question.answer_text, question.id) == (0, "whale", "arc_easy/Mercury_1")


def test_five_options_are_ordinary() -> None:
    choices = {"text": list("vwxyz"), "label": list("ABCDE")}
    assert arc(choices=choices, answerKey="E").gold == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"answerKey": "D"}, "answerKey 'D' is not among the labels"),
        ({"choices": {"text": ["one"], "label": ["1"]}}, "at least 2 choices"),
        ({"choices": {"text": ["a", "b"], "label": ["1", "1"]}}, "labels repeat"),
        ({"choices": {"text": ["a", "b"], "label": ["1", " 1"]}}, "labels repeat"),
        ({"choices": {"text": ["a", "b"], "label": ["1", " "]}}, "labels: one is blank"),
        ({"choices": {"text": ["a", "b", "c"], "label": ["1", "2"]}}, "3 choices but 2 labels"),
        ({"choices": None}, "not in ARC's schema"),
        ({"question": ""}, "field 'question'"),
    ],
)
def test_a_damaged_row_is_named_with_its_fault(changes: dict[str, object], words: str) -> None:
    with pytest.raises(RecordError, match="Mercury_1") as fault:
        arc(**changes)
    assert words in str(fault.value)


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    passages = [Passage(id="a#0", document="a", title="Ä – 東", text="x\n\n y ", start=3, end=9)]
    assert write_records(tmp_path / "p.jsonl", passages) == 1
    assert list(read_records(tmp_path / "p.jsonl", Passage)) == passages


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"id": "a"', "row 2"),
        ('{"id":"a","document":"d","title":"t","text":"x","start":5,"end":5}', "end 5 is not after start 5"),
        ('{"id":"a","document":"d","title":"t","text":"x","start":0,"end":5,"colour":"red"}', "field 'colour'"),
    ],
)
def test_a_broken_line_is_named_by_file_and_row(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"id":"a","document":"d","title":"t","text":"x","start":0,"end":5}\n' + line + "\n")
    with pytest.raises(RecordError, match=words) as fault:
        list(read_records(path, Passage))
    assert str(fault.value).startswith(f"{path}, row 2")
    assert "\n" not in str(fault.value)


def test_a_line_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_bytes(b'{"id":"\xff\xfe"}\n')
    with pytest.raises(RecordError, match=r"p\.jsonl, row 1"):
        list(read_records(tmp_path / "p.jsonl", Passage))


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"no\.jsonl: cannot be read"):
        list(read_records(tmp_path / "no.jsonl", Passage))
