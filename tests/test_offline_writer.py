"""The offline writer: which sentences state a fact, which do not, and what becomes of the facts."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from jobs.collect import collect
from jobs.config import Dataset, Documents, Writer
from jobs.errors import UserError
from jobs.sentences import sentences
from jobs.splits import assign_splits
from jobs.write_questions import write_questions
from jobs.writers.facts import Fact, find_facts
from jobs.writers.offline import write_offline
from jobs.writers.wording import alike, capitalised, normalised
from qa.records import Passage, Question, read_records

SAMPLE = Path(__file__).parents[1] / "jobs" / "sample"
FRACTIONS = (0.8, 0.1, 0.1)


def passage(text: str, *, title: str = "LoRA", document: str = "lora.md", number: int = 0) -> Passage:
    return Passage(
        id=f"{document}#{number}", document=document, title=title, text=text, licence="MIT", start=0, end=len(text)
    )


def facts(text: str, title: str = "LoRA") -> list[tuple[str, str, str]]:
    found = find_facts(passage(text, title=title))
    return [(fact.relation, fact.subject, fact.value) for fact in found if isinstance(fact, Fact)]


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        (
            "LoRA was introduced by Edward Hu and colleagues in Redmond in 2021.",
            [("introduced_by", "LoRA", "Edward Hu and colleagues in Redmond"), ("year", "LoRA", "2021")],
        ),
        (
            "Microsoft introduced LoRA in 2021.",
            [("introduced_by", "LoRA", "Microsoft"), ("year", "LoRA", "2021")],
        ),
        ("LoRA is a method for cheap tuning.", [("kind", "LoRA", "method for cheap tuning")]),
        ("LoRA is an adapter method.", [("kind", "LoRA", "adapter method")]),
        ("The key idea of LoRA is to train less.", [("idea", "LoRA", "train less")]),
        ("The central idea of LoRA is to train less.", [("idea", "LoRA", "train less")]),
        ("LoRA was trained on WebText.", [("data", "LoRA", "WebText")]),
        ("LoRA was built from GPT-2.", [("data", "LoRA", "GPT-2")]),
        ("LoRA was demonstrated on GPT-3.", [("data", "LoRA", "GPT-3")]),
        ("LoRA was measured on GLUE.", [("measured_on", "LoRA", "GLUE")]),
        ("LoRA was evaluated on GLUE.", [("measured_on", "LoRA", "GLUE")]),
        ("LoRA reached 91.3 percent on MNLI.", [("result", "LoRA", "91.3 percent on MNLI")]),
        ("LoRA reported 4.7 million weights.", [("result", "LoRA", "4.7 million weights")]),
        ("LoRA does not shorten the sequence.", [("limitation", "LoRA", "shorten the sequence")]),
        ("LoRA relies on a low-rank update.", [("component", "LoRA", "a low-rank update")]),
        ("We use retrieval-augmented generation (RAG) here.", [("acronym", "RAG", "retrieval-augmented generation")]),
    ],
)
def test_every_wording_of_the_articles_is_read(sentence: str, expected: list[tuple[str, str, str]]) -> None:
    assert facts(sentence) == expected
    around = f"Something stands before it. {sentence} Something stands after it."
    assert facts(around) == expected


@pytest.mark.parametrize(
    "sentence",
    [
        "This paper was evaluated on GLUE.",
        "It was introduced by Edward Hu in 2021.",
        "The model is a large transformer network.",
        "The authors introduced LoRA.",
        "We introduced LoRA in 2021.",
        "When training ends, LoRA is a good choice.",
        "LoRA is a very popular method.",
        "LoRA relies on the method above.",
        "LoRA was measured on the tasks of this section.",
        "LoRA reached $x^2$.",
        "LoRA is a method (see the",
        "Performance is a measure of speed.",
        "A large number of words (RAG) is no acronym.",
    ],
)
def test_what_does_not_stand_alone_is_refused(sentence: str) -> None:
    assert facts(sentence) == []


def test_a_common_word_is_a_subject_only_where_the_heading_names_it() -> None:
    sentence = "Knowledge distillation is a technique for smaller networks."
    assert facts(sentence, title="Knowledge Distillation") != []
    assert facts(sentence, title="Pruning") == []


def test_sentences_keep_their_places() -> None:
    text = (
        "A. Gu et al. showed it, e.g. on text.  word2vec came first (cf. Fig. 2). So far.The end is near.\n- last item"
    )
    found = [text[start:end] for start, end in sentences(text)]
    assert found == [
        "A. Gu et al. showed it, e.g. on text.",
        "word2vec came first (cf. Fig. 2).",
        "So far.",
        "The end is near.",
        "- last item",
    ]


def test_small_rules_of_wording() -> None:
    assert [capitalised(text) for text in ("low-rank update", "word2vec", "k-means", "a step", "GLUE", "fastText")] == [
        "Low-rank update",
        "word2vec",
        "k-means",
        "A step",
        "GLUE",
        "fastText",
    ]
    assert normalised("The Low-Rank, update!") == "low rank update"
    assert alike("a recurrent network", "recurrent network with gates")
    assert not alike("recurrent network", "convolutional network")


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


def test_options_come_from_the_same_side_and_never_from_the_same_subject() -> None:
    passages = world(60)
    splits = assign_splits((p.document for p in passages), "footnote", FRACTIONS)
    written = write_offline(passages, splits, seed=17)
    owner = {normalised(q.answer_text): q.document for q in written.questions if not q.choices}
    choice = [question for question in written.questions if question.choices]
    assert len(choice) == written.funnel["questions_choice"] == 60 * 4
    assert not [question for question in choice if question.kind == "limitation"]
    for question in choice:
        assert question.labels == ("A", "B", "C", "D")
        assert len({normalised(option) for option in question.choices}) == 4
        for index, option in enumerate(question.choices):
            document = owner[normalised(option)]
            assert splits[document] == splits[question.document]
            assert (document == question.document) == (index == question.gold)


def test_right_places_are_balanced_on_each_side() -> None:
    passages = world(60)
    splits = assign_splits((p.document for p in passages), "footnote", FRACTIONS)
    choice = [q for q in write_offline(passages, splits, seed=17).questions if q.choices]
    for side in ("train", "validation", "test"):
        places = [q.answer for q in choice if splits[q.document] == side]
        counts = [places.count(label) for label in "ABCD"]
        assert max(counts) - min(counts) <= 1, (side, counts)


def test_same_seed_same_questions_other_seed_other_options() -> None:
    passages = world(30)
    splits = assign_splits((p.document for p in passages), "footnote", FRACTIONS)
    first = write_offline(passages, splits, seed=17).questions
    assert write_offline(passages, splits, seed=17).questions == first
    other = write_offline(passages, splits, seed=18).questions
    assert other != first
    assert {question.id for question in other} == {question.id for question in first}
    assert len({question.id for question in first}) == len(first)


def test_a_thin_side_borrows_from_training_and_too_few_values_make_no_options() -> None:
    passages = world(6)  # one document in validation and in test
    splits = assign_splits((p.document for p in passages), "footnote", FRACTIONS)
    held = [q for q in write_offline(passages, splits, seed=17).questions if splits[q.document] == "test"]
    assert {len(question.choices) for question in held} == {0, 4}
    few = world(3)
    splits = dict.fromkeys((p.document for p in few), "train")
    assert {len(q.choices) for q in write_offline(few, splits, seed=17).questions} == {0, 3}
    alone = world(2)
    assert {len(q.choices) for q in write_offline(alone, splits, seed=17).questions} == {0}


def test_one_subject_is_asked_once() -> None:
    text = "LoRA was introduced by Edward Hu in 2021."
    twice = [passage(text), passage(text.replace("2021", "2022"), document="b.md")]
    written = write_offline(twice, {"lora.md": "train", "b.md": "test"}, seed=17)
    assert {question.document for question in written.questions} == {"lora.md"}
    assert [entry.reason for entry in written.rejected] == [
        "asked already from lora.md#0: introduced_by of LoRA",
        "asked already from lora.md#0: year of LoRA",
    ]


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("sample")
    collect([SAMPLE / "articles"], folder / "passages", documents=Documents())
    write_questions(folder / "passages", folder / "questions", writer=Writer(), dataset=Dataset(), seed=17)
    return folder / "passages", folder / "questions"


def test_facts_of_the_sample_articles_are_recovered(sample) -> None:
    questions = read_records(sample[1] / "questions.jsonl", Question)
    found = {(q.document, q.kind): q.answer_text for q in questions if not q.choices}
    rows: list[dict[str, str]] = []
    for table in sorted(SAMPLE.glob("facts*.tsv")):
        with table.open(encoding="utf-8", newline="") as file:
            rows += csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    missed = [
        row
        for row in rows
        if found.get((row["document"], row["relation"]), "").lower() != f"{row['value'].removesuffix('.').lower()}."
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
    splits = assign_splits((q.document for q in questions), "footnote", FRACTIONS)
    answers = {normalised(q.answer_text) for q in questions if splits[q.document] == "train" and q.kind != "year"}
    held = [q for q in questions if splits[q.document] == "test" and q.choices and q.kind != "year"]
    leaked = sum(normalised(option) in answers for q in held for option in q.choices)
    assert leaked <= 0.05 * sum(len(q.choices) for q in held)


def test_sampled_passages_and_figures(sample, tmp_path: Path) -> None:
    record, worked = write_questions(
        sample[0], tmp_path / "out", writer=Writer(max_passages=20), dataset=Dataset(), seed=17
    )
    assert worked
    assert record.figures["funnel"]["passages"] == 20
    assert record.figures["questions"] == sum(record.figures["questions_by_split"].values())
    again, worked = write_questions(
        sample[0], tmp_path / "out", writer=Writer(max_passages=20), dataset=Dataset(), seed=17
    )
    assert not worked
    assert again.figures == record.figures


def test_a_bar_moves_over_the_passages(capsys, monkeypatch) -> None:
    monkeypatch.setattr("jobs.progress.DELAY", 0.0)
    write_offline([passage("LoRA was trained on WebText.", number=n) for n in range(7)], {"lora.md": "train"}, 17)
    shown = capsys.readouterr().err
    assert "writing questions" in shown
    assert "7/7" in shown


def test_changed_code_writes_again(sample, tmp_path: Path, monkeypatch) -> None:
    def worked() -> bool:
        wanted = {"writer": Writer(max_passages=20), "dataset": Dataset(), "seed": 17}
        return write_questions(sample[0], tmp_path / "out", **wanted)[1]

    assert (worked(), worked()) == (True, False)
    monkeypatch.setattr("jobs.write_questions.source_sha256", lambda *modules: "other code")
    assert (worked(), worked()) == (True, False)


def test_nothing_to_ask_and_nothing_to_read_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no passages\.jsonl"):
        write_questions(tmp_path, tmp_path / "out", writer=Writer(), dataset=Dataset(), seed=17)
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("Nothing in these words states any fact in a form that the writer would know. " * 3)
    collect([docs], tmp_path / "passages", documents=Documents())
    with pytest.raises(UserError, match="the offline writer made no question of 1 passages"):
        write_questions(tmp_path / "passages", tmp_path / "out", writer=Writer(), dataset=Dataset(), seed=17)
    assert not (tmp_path / "out").exists()
