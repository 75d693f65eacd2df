"""Rows with sources: what is shown, what is cited, what is withheld, and that no held-out word stands in training."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from jobs.build_dataset import load_encoder
from jobs.build_index import build_index
from jobs.data_config import Reading
from jobs.dataset_copies import check_apart
from jobs.errors import UserError
from jobs.evaluation.open_parts import source_parts
from jobs.evaluation.source_shelf import Shelf
from jobs.excerpts import best_sentence, excerpt, find_span
from jobs.own_questions import Sides
from jobs.reading_rows import Composer, ReadingRows, cited, read_among
from jobs.rows import row_length
from qa.prompts import NOT_FOUND, PromptEncoder, sources_messages
from qa.records import SPLITS, Question
from qa.scoring import abstains, citation_marks, normalise
from tests.dataset_world import build, passage, passages_folder, question, questions_folder, read_rows
from tests.tiny import tiny_tokenizer

DOCUMENTS = [f"paper{number}" for number in range(120)]
SIDES = {name: "test" if number % 10 == 0 else "validation" if number % 10 == 1 else "train"
         for number, name in enumerate(DOCUMENTS)}  # fmt: skip
ALL = Reading(share=1.0)
ALIKE = {"coverage": 1.0, "similarity": 1.0}  # the questions differ in a word alone


def subject(document: str) -> str:
    return f"Method{document.removeprefix('paper')}"


def text_of(document: str) -> str:
    number = document.removeprefix("paper")
    return (
        f"Many networks are trained on text. {subject(document)} trains adapters of rank {number}{number}7 for the "
        f"attention of a network [{number}]. Other networks train on images of cats. Nobody knows why."
    )


def asked(document: str, **fields: Any) -> Question:
    number = document.removeprefix("paper")
    evidence = f"{subject(document)} trains adapters of rank {number}{number}7"
    known = {"answer_text": f"rank {number}{number}7.", "passage": f"{document}#0", "evidence": evidence}
    return question(document, f"Which rank have the adapters that {subject(document)} trains?", **(known | fields))


def absent(document: str) -> Question:
    text = f"Which learning rate does {subject(document)} need?"
    known = {"kind": "not_in_text", "answer_text": NOT_FOUND, "passage": f"{document}#0"}
    return question(document, text, **known)


PASSAGES = [passage(name, 0, text_of(name), licence="MIT") for name in DOCUMENTS]
ALONE = {name: name for name in DOCUMENTS}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer(folder)
    return str(folder)


@pytest.fixture(scope="module")
def encoder(tokenizer: str) -> PromptEncoder:
    return load_encoder(tokenizer)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return passages_folder(tmp_path_factory.mktemp("passages") / "p", PASSAGES)


def read(questions: list[Question], folder: Path, encoder: PromptEncoder, **given: Any) -> ReadingRows:
    known: dict[str, Any] = {"settings": ALL, "seed": 17, "max_length": 4096} | given
    sides, built = known.pop("sides", Sides(SIDES, ALONE)), known.pop("built", None)
    return read_among(questions, sides, Composer(Shelf(folder), encoder=encoder, **known), built)


def every(made: ReadingRows) -> list:
    return [row for split in SPLITS for row in made.rows[split]]


def test_a_row_shows_the_evidence_among_others_and_cites_it(folder: Path, encoder: PromptEncoder) -> None:
    made = read([asked(name) for name in DOCUMENTS], folder, encoder)
    by_id = {row.id: row for row in PASSAGES}
    answered = [row for row in every(made) if row.completion != NOT_FOUND]
    assert len(every(made)) == 120
    for row in answered:
        question, user = row.question, row.prompt[-1]["content"]
        place = question.sources.index(question.passage) + 1
        assert len(set(question.sources)) == 5
        assert row.completion == f"{question.answer_text.removesuffix('.')} [{place}]."
        assert citation_marks(row.completion) == [place]
        shown = re.findall(r"^\[(\d)\] (.*)$", user, re.MULTILINE)
        assert question.evidence in shown[place - 1][1]
        for number, text in shown:
            if int(number) != place:
                assert question.evidence not in text
                assert normalise(question.answer_text) not in normalise(text)
        assert (question.choices, question.task, question.id[-8:]) == ((), "reading", "/reading")
    first = answered[0]
    sources = [(by_id[name].title, by_id[name].text) for name in first.question.sources]
    assert first.prompt == sources_messages(first.question.question, sources)


def test_evaluation_marks_trainings_own_completions_right(folder: Path, encoder: PromptEncoder) -> None:
    questions = [asked(name) for name in DOCUMENTS if SIDES[name] == "test"]
    shown, withheld, _ = source_parts("research", questions, folder, 5)
    for row in questions:
        assert shown.mark(row, cited(row.answer_text, 3))[2]
        assert not shown.mark(row, "Rank 3 [1].")[2]
        assert withheld.mark(row, NOT_FOUND)[2]
    made = read(questions, folder, encoder, settings=Reading(share=1, withheld=1))
    assert all(abstains(row.completion) for row in every(made))


def test_rates_and_places_are_spread_evenly_and_stay_with_their_question(folder: Path, encoder: PromptEncoder) -> None:
    questions = [asked(name, id=f"{name}/{number}") for name in DOCUMENTS for number in range(5)]
    made = read(questions, folder, encoder)
    rows = every(made)
    assert len(rows) == 600
    places = [row.question.sources.index(row.question.passage) for row in rows if row.completion != NOT_FOUND]
    assert len(places) == 480
    for split in SPLITS:
        side = made.rows[split]
        assert sum(row.completion == NOT_FOUND for row in side) == round(0.2 * len(side))
    assert set(Counter(places)) == {0, 1, 2, 3, 4}
    assert all(0.15 <= count / len(places) <= 0.25 for count in Counter(places).values())
    for row in rows:
        held = row.question.passage in row.question.sources
        assert held == (row.completion != NOT_FOUND) == (row.question.answer_text != NOT_FOUND)
        assert len(row.question.sources) == 5
    assert made.figures() == {
        **{"rows": 600, "withheld": 600 - len(places), "not_in_text": 0, "dropped": 0},
        "distractors_mean": round((4 * len(places) + 5 * (600 - len(places))) / 600, 3),
    }
    half = every(read(questions[::2], folder, encoder, settings=Reading(share=0.5)))
    kept = {row.question.id: row for row in rows}
    assert 120 <= len(half) <= 180
    same = [row for row in half if kept[row.question.id] == row]  # but for those withheld: a share of those here
    assert len(same) > 0.6 * len(half)
    assert {(row.question.id, row.prompt[0]["content"]) for row in half} <= {
        (row.question.id, row.prompt[0]["content"]) for row in rows
    }
    other = every(read(questions[::2], folder, encoder, settings=Reading(share=0.5), seed=18))
    assert {row.question.id for row in other} != {row.question.id for row in half}


def test_training_shows_no_held_out_document_and_no_group_beside_itself(folder: Path, encoder: PromptEncoder) -> None:
    groups = ALONE | {name: f"pair{number // 20}/{SIDES[name]}" for number, name in enumerate(DOCUMENTS)}
    sides = Sides(SIDES, groups)
    made = read([*map(asked, DOCUMENTS), *map(absent, DOCUMENTS)], folder, encoder, sides=sides)
    seen = Counter()
    for split in SPLITS:
        for row in made.rows[split]:
            documents = [name.partition("#")[0] for name in row.question.sources]
            assert {SIDES[name] for name in documents} <= {"train", split}
            others = [name for name in documents if name != row.question.document]
            assert groups[row.question.document] not in {groups[name] for name in others}
            seen.update((split, SIDES[name]) for name in others)
    assert all(seen[split, "train"] for split in SPLITS)
    check_apart({"research_qa": made.rows}, sides, Shelf(folder).by_id)
    row = made.rows["train"][0]
    shown = row.question.model_copy(update={"sources": ("paper0#0",)})
    bad = made.rows | {"train": [type(row)(shown, row.prompt, row.completion)]}
    with pytest.raises(UserError, match="a training row shows paper0#0, of a test document"):
        check_apart({"reading": bad}, sides, Shelf(folder).by_id)
    with pytest.raises(UserError, match=r"its group 'all' is on train and on validation"):
        check_apart({"reading": made.rows}, Sides(SIDES, dict.fromkeys(DOCUMENTS, "all")), {})


def test_what_the_text_cannot_answer_is_asked_with_it(folder: Path, encoder: PromptEncoder) -> None:
    lost = absent("paper5").model_copy(update={"id": "lost", "passage": "nowhere#0"})
    made = read([*map(absent, DOCUMENTS[:20]), lost], folder, encoder, settings=Reading(share=0.01, withheld=1.0))
    rows = every(made)
    assert [entry.model_dump(exclude={"text"}) for entry in made.dropped] == [
        {"name": "lost", "reason": "needs its passage", "stage": "reading"}
    ]
    assert len(rows) == 20
    for row in rows:
        assert row.completion == NOT_FOUND
        assert row.question.passage in row.question.sources
        assert len(row.question.sources) == 5
    assert made.figures()["not_in_text"] == 20


def test_questions_without_an_answer_count_into_the_share_that_is_withheld(
    folder: Path, encoder: PromptEncoder
) -> None:
    answerable = [asked(document) for document in DOCUMENTS[20:100]]
    few = read([*map(absent, DOCUMENTS[:10]), *answerable], folder, encoder, settings=ALL)
    assert few.figures()["not_in_text"] == 10
    assert few.dropped == []
    assert few.figures()["withheld"] == 8  # of 80; with the 10 a fifth of 90
    many = read([*map(absent, DOCUMENTS[:60]), *answerable], folder, encoder, settings=ALL)
    assert (many.figures()["not_in_text"], many.figures()["withheld"]) == (20, 0)
    assert {entry.reason for entry in many.dropped} == {"more questions without an answer than the mix takes"}
    assert len(many.dropped) == 40


def test_others_are_taken_off_until_the_row_fits(folder: Path, encoder: PromptEncoder) -> None:
    whole = every(read([asked("paper12")], folder, encoder, settings=Reading(share=1, withheld=0)))[0]
    sizes = {}
    for limit in range(row_length(whole, encoder), 40, -5):
        made = read([asked("paper12")], folder, encoder, settings=Reading(share=1, withheld=0), max_length=limit)
        if not every(made):
            break
        (row,) = every(made)
        assert row_length(row, encoder) <= limit
        assert "paper12#0" in row.question.sources
        others = [name for name in row.question.sources if name != "paper12#0"]
        assert others == [name for name in whole.question.sources if name in others]
        sizes[len(others)] = limit
    assert sorted(sizes) == [1, 2, 3, 4]
    (dropped,) = made.dropped
    assert dropped.name.endswith("/reading")
    assert dropped.reason == f"longer than {limit} tokens with two sources"
    assert made.figures() == {"rows": 0, "withheld": 0, "not_in_text": 0, "distractors_mean": 0.0, "dropped": 1}


def test_an_index_of_these_passages_finds_the_same_and_another_is_refused(
    folder: Path, encoder: PromptEncoder, tmp_path: Path
) -> None:
    build_index(folder, tmp_path / "index")
    questions = [asked(name) for name in DOCUMENTS]
    assert every(read(questions, folder, encoder, built=tmp_path / "index")) == every(read(questions, folder, encoder))
    less = passages_folder(tmp_path / "less", PASSAGES[:50])
    renamed = [row.model_copy(update={"id": f"x{row.id}", "document": f"x{row.document}"}) for row in PASSAGES]
    build_index(passages_folder(tmp_path / "renamed", renamed), tmp_path / "other")
    for shown, built in ((less, tmp_path / "index"), (folder, tmp_path / "other")):
        with pytest.raises(UserError, match=rf"^{built}: not an index of these passages; build it again with"):
            read(questions[:50], shown, encoder, built=built)


def test_built_data_holds_reading_rows_of_the_same_bytes(folder: Path, tokenizer: str, tmp_path: Path) -> None:
    questions = [asked(name) for name in DOCUMENTS] + [absent(name) for name in DOCUMENTS[:6]]
    source = questions_folder(tmp_path / "q", questions, SIDES)
    given = {
        "passages": folder,
        "reading": ALL,
        "max_length": 2048,
        "decontamination": {"coverage": 1, "similarity": 1},
    }
    rows, _, figures = build(source, tmp_path / "one", tokenizer, **given)
    build(source, tmp_path / "two", tokenizer, **given)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.parquet"))
    assert len(files) == 8
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    assert "not_in_text" not in {row["kind"] for split in SPLITS for row in rows[split]}
    reading = {split: read_rows(tmp_path / "one" / "reading" / f"{split}.parquet") for split in SPLITS}
    assert {split: len(reading[split]) for split in SPLITS} == figures["rows"]["reading"]
    assert sum(figures["rows"]["reading"].values()) == 126
    for split in SPLITS:
        assert {SIDES[row["document"]] for row in reading[split]} == {split}
        assert all(row["sources"] and row["prompt"][-1]["content"].startswith("Sources:") for row in reading[split])
    few = questions_folder(tmp_path / "few", [*map(asked, DOCUMENTS[:3])], SIDES)
    build(few, tmp_path / "none", tokenizer, **(given | {"reading": {"share": 0}}))
    assert not (tmp_path / "none" / "reading").exists()


# --- excerpts


def test_an_excerpt_is_whole_sentences_around_its_place() -> None:
    text = "One is first. Two has the words. Three is third. Four is the last one here."
    place = text.index("Two"), text.index(" Three")
    assert excerpt(text, place, 30) == "Two has the words."
    assert excerpt(text, place, 36) == "Two has the words. Three is third."
    assert excerpt(text, place, 50) == "One is first. Two has the words. Three is third."
    assert excerpt(text, place, 5) == "Two has the words."
    assert excerpt(text, place, 500) == text
    assert excerpt(text, (place[0] + 4, text.index("third")), 10) == "Two has the words. Three is third."


def test_the_best_sentence_shares_most_words_and_is_short_enough() -> None:
    text = "Cats sleep all day. LoRA trains low rank matrices. LoRA is fast."
    assert text[slice(*best_sentence(text, 400, "What rank has LoRA?"))] == "LoRA trains low rank matrices."
    assert text[slice(*best_sentence(text, 20, "What rank has LoRA?"))] == "LoRA is fast."
    assert best_sentence(text, 5, "What rank has LoRA?") is None
    assert text[slice(*best_sentence(text, 400, "fast", "What rank has LoRA?"))] == "LoRA is fast."


def test_evidence_is_found_whatever_its_white_space() -> None:
    assert find_span("It keeps\n  the weights frozen.", "keeps the weights") == (3, 22)
    assert find_span("It keeps", "the weights") is None
    assert find_span("It keeps", "") is None
