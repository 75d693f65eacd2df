"""The offline writer: which sentences state a fact, which do not, and what becomes of the facts."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from jobs.collect import collect
from jobs.config import Dataset, Documents, Scale, Writer
from jobs.splits import assign_splits
from jobs.write_questions import write_questions
from jobs.writers.offline import write_offline
from jobs.writers.wording import kind_of, normalised
from jobs.writers.written import Written
from qa.prompts import NOT_FOUND
from qa.records import Passage, Question, Split, read_records

SAMPLE = Path(__file__).parents[1] / "jobs" / "sample"
FRACTIONS = (0.8, 0.1, 0.1)


def passage(text: str, *, title: str = "LoRA", document: str = "lora.md", number: int = 0) -> Passage:
    return Passage(
        id=f"{document}#{number}", document=document, title=title, text=text, licence="MIT", start=0, end=len(text)
    )


def write(passages: list[Passage], splits: dict[str, Split], folder: Path, seed: int = 17, **more: object) -> Written:
    return write_offline(passages, splits, writer=Writer(**more), seed=seed, folder=folder, scale=Scale())


def alone(passages: list[Passage]) -> dict[str, Split]:
    """Sides, with each document its own group."""
    return assign_splits({entry.document: entry.document for entry in passages}, "footnote", FRACTIONS)


def world(count: int) -> list[Passage]:
    """Documents `m0.md`, … of one passage, each stating five facts of its own system."""
    names = [f"Sys{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(count)]
    return [
        passage(
            f"{name} was introduced by Group{n} of Lab{n} in {1990 + n}. {name} is a device{n} of kind{n}. "
            f"{name} relies on part{n} and cog{n}. {name} does not fly{n} to place{n}.",
            title=name,
            document=f"m{n}.md",
        )
        for n, name in enumerate(names)
    ]


def test_options_come_from_the_same_side_and_never_from_the_same_subject(tmp_path: Path) -> None:
    passages = world(60)
    splits = alone(passages)
    written = write(passages, splits, tmp_path)
    owner = {normalised(q.answer_text): q.document for q in written.questions if not q.choices}
    choice = [question for question in written.questions if question.choices]
    assert len(choice) == 60 * 4
    assert not [question for question in choice if question.kind == "limitation"]
    for question in choice:
        assert question.labels == ("A", "B", "C", "D")
        assert len({normalised(option) for option in question.choices}) == 4
        for index, option in enumerate(question.choices):
            document = owner[normalised(option)]
            assert splits[document] == splits[question.document]
            assert (document == question.document) == (index == question.gold)


def test_right_places_are_balanced_on_each_side(tmp_path: Path) -> None:
    passages = world(60)
    splits = alone(passages)
    choice = [q for q in write(passages, splits, tmp_path).questions if q.choices]
    for side in ("train", "validation", "test"):
        places = [q.answer for q in choice if splits[q.document] == side]
        counts = [places.count(label) for label in "ABCD"]
        assert max(counts) - min(counts) <= 1, (side, counts)


def test_same_seed_same_questions_other_seed_other_options(tmp_path: Path) -> None:
    passages = world(30)
    splits = alone(passages)
    first = write(passages, splits, tmp_path).questions
    assert write(passages, splits, tmp_path).questions == first
    other = write(passages, splits, tmp_path, seed=18).questions
    assert other != first
    assert {question.id for question in other} == {question.id for question in first}
    assert len({question.id for question in first}) == len(first)


def test_a_thin_side_borrows_from_training_and_too_few_values_make_no_options(tmp_path: Path) -> None:
    passages = world(6)  # one document in validation and in test
    splits = alone(passages)
    held = [q for q in write(passages, splits, tmp_path).questions if splits[q.document] == "test"]
    assert {len(question.choices) for question in held} == {0, 4}
    few = world(3)
    splits = dict.fromkeys((p.document for p in few), "train")
    assert {len(q.choices) for q in write(few, splits, tmp_path).questions} == {0, 3}
    two = world(2)
    assert {
        len(q.choices) for q in write(two, dict.fromkeys((p.document for p in two), "train"), tmp_path).questions
    } == {0}


def test_one_subject_is_asked_once(tmp_path: Path) -> None:
    text = "LoRA was introduced by Edward Hu in 2021."
    twice = [passage(text), passage(text.replace("2021", "2022"), document="b.md")]
    written = write(twice, {"lora.md": "train", "b.md": "test"}, tmp_path)
    assert {question.document for question in written.questions} == {"lora.md"}
    assert [entry.reason for entry in written.rejected] == [
        "asked already from lora.md#0: introduced_by of LoRA",
        "asked already from lora.md#0: year of LoRA",
    ]


def test_acronyms_that_stand_for_two_things_or_are_too_short_are_not_asked_for(tmp_path: Path) -> None:
    texts = (
        "We use Latent Dirichlet Allocation (LDA) and machine translation (MT) here.",
        "We use linear discriminant analysis (LDA) and Term-Frequencies (TF) here.",
        "We use the convolutional neural network (CNN) and term frequency (TF) here.",
        "We use Convolutional Neural Networks (CNNs) here.",
    )
    passages = [passage(text, title="T", document=f"{n}.md") for n, text in enumerate(texts)]
    written = write(passages, dict.fromkeys((p.document for p in passages), "train"), tmp_path)
    assert [q.answer_text for q in written.questions] == ["Term-Frequencies.", "Convolutional neural network."]
    assert sorted(entry.reason for entry in written.rejected) == [
        "LDA is short for more than one thing: Latent Dirichlet Allocation, linear discriminant analysis",
        "LDA is short for more than one thing: linear discriminant analysis, Latent Dirichlet Allocation",
        "MT has two letters and one document that spells it out: machine translation",
        "asked already from 1.md#0: acronym of TF",
        "asked already from 2.md#0: acronym of CNN",
    ]
    assert {entry.stage for entry in written.rejected} == {"ambiguous or asked already"}
    assert texts[0] in {entry.text for entry in written.rejected}


def test_inflections_of_one_phrase_are_one_meaning_and_an_acronym_is_asked_openly_alone(tmp_path: Path) -> None:
    texts = (
        "We use a Markov Decision Process (MDP) and the mean squared error (MSE) here.",
        "We use Markov decision processes (MDPs) and the mean square error (MSE) here.",
        "We use masked language modeling (MLM) and model-predictive control (MPC) here.",
        "We use a masked language model (MLM) and Multi-Party Computation (MPC) here.",
        "We use retrieval-augmented generation (RAG) here.",
    )
    passages = [passage(text, title="T", document=f"{n}.md") for n, text in enumerate(texts)]
    written = write(passages, dict.fromkeys((p.document for p in passages), "train"), tmp_path)
    assert [(question.answer_text, question.choices) for question in written.questions] == [
        ("Markov Decision Process.", ()),
        ("Mean squared error.", ()),
        ("Masked language modeling.", ()),
        ("Retrieval-augmented generation.", ()),
    ]


def test_what_no_passage_answers_is_asked_where_no_year_stands_near(tmp_path: Path) -> None:
    passages = [
        *(passage(f"Sys{n}X relies on part{n} and cog{n}.", title=f"Sys{n}X", document=f"{n}.md") for n in range(30)),
        passage("The year is 1999 in this one, and Sys0X is in it.", title="Old", document="old.md"),
        passage("Sys1X is not far away.", title="Note", document="1.md", number=1),
        passage("It happened in 2004.", title="Note", document="1.md", number=2),
    ]
    splits = dict.fromkeys((p.document for p in passages), "train")
    written = write(passages, splits, tmp_path)
    absent = [question for question in written.questions if question.kind == "not_in_text"]
    assert len(absent) == 3  # a tenth of the 30 open ones
    for question in absent:
        assert (question.answer_text, question.evidence, question.choices) == (NOT_FOUND, "", ())
        assert "Sys" in question.question
        assert question.passage == f"{question.document}#0"
        assert question.document not in ("0.md", "1.md")
    assert write(passages, splits, tmp_path / "k", kinds=("method",)).questions == [
        question for question in written.questions if question.kind == "method"
    ]


def test_shards_and_workers_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passages = world(30)
    whole = write(passages, alone(passages), tmp_path / "whole")
    monkeypatch.setattr("jobs.writers.offline.SHARD", 7)
    assert write(passages, alone(passages), tmp_path / "cut") == whole


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("sample")
    collect(folder / "passages", documents=Documents(paths=(str(SAMPLE / "articles"),)))
    write_questions(folder / "passages", folder / "questions", writer=Writer(), dataset=Dataset(), seed=17)
    return folder / "passages", folder / "questions"


def test_facts_of_the_sample_articles_are_recovered(sample) -> None:
    questions = read_records(sample[1] / "questions.jsonl", Question)
    found = {(q.document, q.answer_text.lower(), q.kind) for q in questions if not q.choices}
    rows: list[dict[str, str]] = []
    for table in sorted(SAMPLE.glob("facts*.tsv")):
        with table.open(encoding="utf-8", newline="") as file:
            rows += csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    missed = [
        row
        for row in rows
        if (row["document"], f"{row['value'].removesuffix('.').lower()}.", kind_of(row["relation"], row["value"]))
        not in found
    ]
    assert len(rows) >= 60 * 7
    assert len(missed) <= 0.01 * len(rows), missed


def test_every_question_keeps_its_passage_and_evidence(sample) -> None:
    passages = {entry.id: entry for entry in read_records(sample[0] / "passages.jsonl", Passage)}
    questions = list(read_records(sample[1] / "questions.jsonl", Question))
    assert len(questions) > 1000
    for question in questions:
        source = passages[question.passage]
        assert question.evidence in source.text
        assert (question.document, question.source, question.licence) == (
            source.document,
            source.source,
            source.licence,
        )
        assert question.task == "research"
        value = question.answer_text.removesuffix(".")
        assert value[1:] in question.evidence
        if question.choices:
            assert question.choices[question.gold] == question.answer_text


def test_length_does_not_give_the_answer_away(sample) -> None:
    choice = [q for q in read_records(sample[1] / "questions.jsonl", Question) if q.choices]
    longest = sum(max(q.choices, key=len) == q.answer_text for q in choice) / len(choice)
    assert 0.15 < longest < 0.35


def test_no_option_of_a_held_out_question_is_an_answer_in_training(sample) -> None:
    questions = list(read_records(sample[1] / "questions.jsonl", Question))
    splits = alone(read_records(sample[0] / "passages.jsonl", Passage))
    answers = {normalised(q.answer_text) for q in questions if splits[q.document] == "train" and q.kind != "number"}
    held = [q for q in questions if splits[q.document] == "test" and q.choices and q.kind != "number"]
    leaked = sum(normalised(option) in answers for q in held for option in q.choices)
    assert leaked <= 0.05 * sum(len(q.choices) for q in held)
