"""Passages that answer a question they were not written for must not stand where the right answer is "not found"."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.answering import Words, names_in, signs_of
from jobs.build_dataset import load_encoder
from jobs.data_config import Reading
from jobs.evaluation.source_shelf import Shelf
from jobs.own_questions import Sides
from jobs.reading_rows import Composer, read_among
from qa.prompts import NOT_FOUND
from qa.records import Question
from tests.dataset_world import passage, passages_folder, question
from tests.tiny import tiny_tokenizer


def asked_of(text: str, answer: str, evidence: str) -> Question:
    return question("own", text, answer_text=answer, evidence=evidence)


SFT = asked_of("What is SFT short for?", "Supervised fine-tuning.", "We use supervised fine-tuning (SFT).")
LR = asked_of("What is LR short for?", "Logistic regression.", "A regularised logistic regression (LR).")
DDPG = asked_of("What kind of thing is DDPG?", "Off-policy algorithm.", "- DDPG is an off-policy algorithm.")
RANK = asked_of("Which rank does LoRA have?", "Rank eight.", "LoRA has rank eight.")
YEAR = question("own", "When was PEFT introduced?", answer_text=NOT_FOUND, kind="not_in_text")

SHOWN = [
    (SFT, "First comes supervised fine tuning, then reward."),
    (SFT, "First comes supervised finetuning."),
    (SFT, "Supervised tuning (by SFT) is first."),
    (SFT, "The SFT stage: a supervised run of tuning."),
    (LR, "Our learning rate (lr) is 0.1."),
    (LR, "This is why a learning rate function `lr` is added."),
    (LR, "The best of the logistic regressions."),
    (DDPG, "DDPG, an algorithm which learns both, came next."),
    (DDPG, "Of the off policy algorithms, this is the oldest."),
    (YEAR, "PEFT was introduced to save memory."),
]
SILENT = [
    (SFT, "The SFT stage takes a day."),
    (SFT, "We adapt a language model."),
    (LR, "This performs worse than the LR baseline."),
    (LR, "The logistics of shipping."),
    (DDPG, "In Ant, DDPG scores 1,000 points."),
    (RANK, "LoRA (an adapter) is a technique of great use."),
    (YEAR, "PEFT saves memory."),
    (YEAR, "Adam was introduced early."),
]


@pytest.mark.parametrize(("asked", "text"), SHOWN)
def test_an_answer_in_other_words_is_seen(asked: Question, text: str) -> None:
    assert signs_of(asked).shown_by(Words(passage("other", 0, text)))


@pytest.mark.parametrize(("asked", "text"), SILENT)
def test_what_is_near_and_answers_nothing_may_be_shown(asked: Question, text: str) -> None:
    assert not signs_of(asked).shown_by(Words(passage("other", 0, text)))


def test_what_a_thing_is_shows_wherever_it_is_named() -> None:
    scores, stage = passage("other", 0, SILENT[4][1]), passage("other", 0, SILENT[0][1])
    assert signs_of(DDPG, withheld=True).shown_by(Words(scores))
    assert not signs_of(SFT, withheld=True).shown_by(Words(stage))  # what a name is short for is told by no use of it


def test_names_have_a_capital_or_a_digit() -> None:
    assert names_in("What is GPT-4 beside LoRA and Mistral 7B?") == ["GPT", "LoRA", "Mistral", "7B"]
    assert names_in("What is GPT-4 beside LoRA and Mistral 7B?", marked=True) == ["GPT", "LoRA", "7B"]
    assert names_in("LoRA trains what?") == ["LoRA"]
    assert names_in("What is attention?") == []


def test_passages_about_the_subject_stand_beside_the_right_one(tmp_path: Path) -> None:
    tiny_tokenizer(tmp_path / "tokenizer")
    encoder = load_encoder(str(tmp_path / "tokenizer"))
    own = passage("own", 0, "We use supervised fine-tuning (SFT).")
    near = [passage(f"near{n}", 0, f"Long prose {n}. The run after the SFT stage took a day.") for n in range(2)]
    alike = [passage(f"alike{n}", 0, f"Models are tuned by supervised signals {n}.") for n in range(2)]
    far = [passage(f"far{n}", 0, f"In short, note {n} is short for a short text.") for n in range(9)]
    passages = [*far, own, *alike, *near]
    documents = {row.document: row.document for row in passages}
    sides = Sides(dict.fromkeys(documents, "train"), documents)
    shelf = Shelf(passages_folder(tmp_path / "p", passages))
    composer = Composer(shelf, Reading(share=1, withheld=0), seed=17, encoder=encoder, max_length=4096)
    (row,) = read_among([SFT.model_copy(update={"passage": own.id})], sides, composer).rows["train"]
    others = [name for name in row.question.sources if name != own.id]
    assert set(others[:2]) == {row.id for row in near}
    assert set(others[2:]) == {row.id for row in alike}
    assert row.prompt[-1]["content"].count("the SFT stage") == 2
