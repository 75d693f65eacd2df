"""Decontamination: each method on cases made for it, short items, other orders, and what must not be found."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from jobs.data_config import Decontamination
from jobs.decontamination import Copy, Row, contamination_report, find_copies, planted_recall
from qa.records import Question

SETTINGS = Decontamination()
OWLS = "What advantage does the grey screech owl have over the red screech owl in a habitat of trees with dark bark?"
METALS = ("zinc and copper", "iron", "a lump of gold", "lead")


def ask(text: str, *choices: str, answer: str = "yes", name: str = "", **fields: str) -> Question:
    labels = tuple("ABCDEFGH"[: len(choices)])
    answer, words = (labels[0], choices[0]) if choices else ("", answer)
    asked = {"question": text, "choices": choices, "labels": labels, "answer": answer, "answer_text": words}
    return Question(id=name or text, document="d", **asked, **fields)


def row(question: Question, text: str = "") -> Row:
    return Row(
        id="row",
        config="research_qa",
        text=text or "\n".join((question.question, *question.choices)),
        question=question,
    )


def reading(text: str) -> Row:
    return row(ask("Which of these passages was written before the others were?"), text)


def found(rows: Row | Iterable[Row], *items: Question) -> dict[str, float]:
    """Method → score of every copy found, of one row and one item."""
    copies = find_copies([rows] if isinstance(rows, Row) else list(rows), {"test": items}, SETTINGS)
    return {copy.method: copy.score for copy in copies}


def test_a_verbatim_copy_is_found_by_all_methods() -> None:
    item = ask(OWLS, "nesting", "feeding", "reproduction", "camouflage", name="owls")
    (exact, coverage, near) = find_copies([row(item)], {"arc": [item]}, SETTINGS)
    shown = f"{OWLS} | nesting | feeding | reproduction | camouflage"
    assert exact == Copy("row", "research_qa", "arc", "owls", "exact", 1.0, shown, shown)
    assert (coverage.method, coverage.score) == ("coverage", 1.0)
    assert (near.method, near.score) == ("near_duplicate", 1.0)


@pytest.mark.parametrize(
    "text",
    [
        "which METAL, is heaviest per volume?!",
        "  Which\u00a0metal is hea\u00adviest — per   volume",
        "Which ｍｅｔａｌ is \u200bheaviest per “volume”?",
    ],
)
def test_case_punctuation_and_unicode_do_not_matter(text: str) -> None:
    assert found(row(ask(text, *METALS)), ask("Which metal is heaviest per volume?", *METALS)) == {
        "exact": 1.0,
        "coverage": 1.0,
        "near_duplicate": 1.0,
    }


def test_the_order_of_options_does_not_matter() -> None:
    item, other = ask("Which metal is heaviest?", *METALS), ask("Name the heaviest: which metal?", *reversed(METALS))
    assert found(row(ask("Which metal is heaviest?", *reversed(METALS))), item)["coverage"] == 1.0
    assert found(row(other), ask("Name the heaviest: which metal?", *METALS))["near_duplicate"] == 1.0


def test_question_and_options_in_one_text_are_the_same_question() -> None:
    item = ask("Which is heaviest?", *METALS)
    text = "Which is heaviest? zinc and copper, iron, a lump of gold, lead"
    assert found(row(ask(text)), item)["exact"] == 1.0
    assert found(reading(f"He asked: {text}. Nobody knew."), item)["coverage"] == 1.0


def test_a_passage_that_holds_a_test_question() -> None:
    passage = f"The quiz had many parts. {OWLS} Most pupils did not know."
    assert found(reading(passage), ask(OWLS)) == {"coverage": 1.0}
    half = " ".join(OWLS.split()[:15])
    assert 0.3 < 8 / 14 <= found(reading(f"Text. {half} and so on."), ask(OWLS))["coverage"] < 0.6
    assert found(reading("Text. " + " ".join(OWLS.split()[:13])), ask(OWLS)) == {}


def test_coverage_counts_runs_within_one_row_only() -> None:
    words = OWLS.split()
    pieces = [reading(" ".join(words[:11])), reading(" ".join(words[10:]))]
    assert found(pieces, ask(OWLS)) == {}


def test_a_short_item_counts_whole() -> None:
    item = ask("What does dropout prevent?  Overfitting?")
    assert found(reading("He asked what does dropout prevent overfitting and left."), item) == {"coverage": 1.0}
    assert found(reading("He asked what dropout does prevent: overfitting."), item) == {}


def test_a_short_stem_is_a_copy_only_with_its_options() -> None:
    item = ask("Which gas do all plants take in?", "oxygen", "carbon dioxide")
    assert found(reading("Some ask: which gas do all plants take in? Most know."), item) == {}
    quoted = "Some ask: which gas do all plants take in? Is it oxygen or is it not?"
    assert found(reading(quoted), item) == {}
    assert found(reading("Which gas do all plants take in? Oxygen, carbon dioxide?"), item) == {"coverage": 1.0}
    longer = "Kim wrote a list for her lab book. Which gas do all plants take in?"
    assert found(row(ask(longer, "the first", "the last", "none")), item) == {}
    assert found(row(ask("Which gas do all plants take in?", "helium", "argon")), item)["exact"] == 1.0


@pytest.mark.parametrize("length", [5, 6, 7, 8, 12])
def test_a_short_open_item_is_found_by_coverage_too(length: int) -> None:
    item = ask(" ".join(OWLS.split()[:length]))
    assert found(row(item), item) == {"exact": 1.0, "coverage": 1.0, "near_duplicate": 1.0}
    assert found(reading(f"They asked: {item.question}? Nobody knew."), item) == {"coverage": 1.0}


def test_shared_options_are_no_copy() -> None:
    options = ("nine existing tasks of two English sentences", "exam questions written for people", "many web pages")
    item = ask("Which material was MMLU built from?", *options)
    for text in ("Which material was ARC built from?", "Name the source that the authors of ARC drew upon."):
        assert "coverage" not in found(row(ask(text, *options)), item), text
    assert found(row(ask("Which material was ARC built from?", *options, passage="p#1")), from_passage(item)) == {}
    half = ask("Of all there is, which material was MMLU built from?", *options)
    assert found(row(half), item)["coverage"] == 1.0


def from_passage(question: Question) -> Question:
    return question.model_copy(update={"passage": "d#1"})


def test_a_trivial_item_is_a_copy_only_of_the_same_question() -> None:
    item = ask("What is LoRA?")
    assert found(row(ask("what is lora")), item) == {"exact": 1.0}
    assert found(reading("First we say what is LoRA and then why."), item) == {}
    assert found(row(ask("What is LoRA good for?")), item) == {}


@pytest.mark.parametrize("options", [(), ("2017", "2018", "2019", "2020")])
def test_short_questions_about_different_things_are_no_copies(options: tuple[str, ...]) -> None:
    things = "LoRA BERT GAN Attention GPT-2 Mixtral T5 SAC".split() if options else THINGS
    for text in (
        "What is {}?",
        "What kind of thing is {}?",
        "In what year did {} first appear?",
        "What does {} stand for?",
        "{} was introduced by whom?",
        "What is a stated limit of {}: what does it not do?",
    ):
        asked = [ask(text.format(thing), *options, answer="Jacob Devlin and colleagues at Google") for thing in things]
        own = [from_passage(question) for question in asked]
        assert found(map(row, own[4:]), *own[:4]) == {}, text
        if not options:
            assert found(map(row, asked[4:]), *asked[:4]) == {}, text
            assert all(found(row(ask(q.question.lower(), answer=q.answer_text)), q)["exact"] for q in asked)


THINGS = "LoRA BERT dropout Attention GPT-2 Mixtral beam SAC".split()


def test_exam_questions_of_one_pattern_with_other_options_are_no_copies() -> None:
    options = [("a stone rolling", "a vehicle", "a string vibrating"), ("copper", "iron", "carbon")]
    first, second = (
        ask(f"Which of the following is an example of a {thing}?", *options[n])
        for n, thing in enumerate(("wave", "compound"))
    )
    assert found(row(first), second) == {}


def test_a_changed_question_of_the_same_name_is_a_near_duplicate() -> None:
    item = from_passage(ask("In what year did GPT-2 first appear in public?", answer="2019"))
    same = from_passage(ask("So in what year did gpt 2 first appear in public?", answer="2019"))
    assert found(row(same.model_copy(update={"question": "In what year did gpt 2 first appear in the public?"})), item)
    other = same.model_copy(update={"question": "In what year did GPT-3 first appear in public?"})
    assert found(row(other), item) == {}


def test_evidence_of_a_held_out_question_is_found_in_what_a_row_shows_or_rests_on() -> None:
    span = "Note that `<s>` and `</s>` are special tokens for the beginning and end of a string."
    item = ask("Which words does BOS abbreviate?", answer="beginning of string", evidence=span)
    quote = span.replace("`", "").replace("tokens for", "tokens\n for").upper()
    quoting = reading(f"As others wrote: {quote} So it is.")
    assert found(quoting, item) == {"evidence": 1.0}
    assert found(row(ask("What is at the end?", answer="</s>", evidence=span.upper())), item) == {"evidence": 1.0}
    assert found(reading(span.replace("special", "plain")), item) == {}
    short = ask("What is special?", answer="tokens", evidence="They are special tokens.")
    assert found(reading("They are special tokens."), short) == {}


def test_a_question_without_words_is_no_copy_of_another() -> None:
    assert found(row(ask("?!")), ask("…")) == {}


def test_a_changed_question_is_a_near_duplicate() -> None:
    item = ask("If a lake is polluted, which organisms accumulate most contaminants?", "bass", "minnows", "birds")
    changed = ask("If a lake gets polluted, which organisms accumulate most contaminants?", "minnows", "birds", "bass")
    assert found(row(changed), item).keys() == {"near_duplicate"}
    bare = ask("If a lake gets polluted, which organisms accumulate most contaminants?", answer="bass")
    assert found(row(bare), item).keys() == {"near_duplicate"}
    assert (
        found(
            row(ask(bare.question, answer="a long answer on rivers, their fish, and who eats them, in the south")), item
        )
        == {}
    )


def test_settings_decide() -> None:
    item, passage = ask(OWLS), reading(" ".join(OWLS.split()[:15]))
    loose, strict = SETTINGS.model_copy(update={"ngram": 4}), SETTINGS.model_copy(update={"coverage": 0.8})
    assert [copy.score for copy in find_copies([passage], {"t": [item]}, loose)] == [pytest.approx(12 / 18)]
    assert find_copies([passage], {"t": [item]}, strict) == []


def test_the_report_counts_rows_once_for_each_method_and_set() -> None:
    item, short = ask(OWLS, name="owls"), ask("What is LoRA?", name="lora")
    rows = [row(item), Row("other", "reading", f"{OWLS} Thus.", ask("Which sources were read?"))]
    tests = {"own": [item, short], "arc": [item]}
    copies = find_copies(rows, tests, SETTINGS)
    planted = [{"change": "verbatim", "n": 2, "exact": 1.0, "coverage": 0.5, "near_duplicate": 0.5, "any": 1.0}]
    report = contamination_report(rows, tests, copies, planted, SETTINGS)
    assert {name: report[name] for name in ("ngram", "coverage", "similarity", "train_rows")} == {
        "ngram": 8, "coverage": 0.5, "similarity": 0.5, "train_rows": 2,
    }  # fmt: skip
    counts = {
        "rows_dropped": 2,
        "validation_rows_dropped": 0,
        "by_method": {"exact": 1, "coverage": 2, "near_duplicate": 1, "evidence": 0},
    }
    assert report["tests"] == [
        {"name": "own", "items": 2, "short_items": 1, "trivial_items": 1, **counts},
        {"name": "arc", "items": 1, "short_items": 0, "trivial_items": 0, **counts},
    ]
    assert [(copy["row"], copy["config"], copy["item"]) for copy in report["dropped"]] == [
        ("row", "research_qa", "owls"),
        ("other", "reading", "owls"),
    ]
    assert report["planted"] == planted


def test_the_report_lists_all_and_tells_validation_rows_from_training_rows() -> None:
    item = ask(OWLS, name="owls")
    held = Row("held", "arc", OWLS, item, split="validation")
    rows = [Row(str(number), "arc", OWLS, item) for number in range(300)]
    copies = find_copies([held, *rows], {"test": [item]}, SETTINGS)
    report = contamination_report([held, *rows], {"test": [item]}, copies, [], SETTINGS)
    assert report["train_rows"] == 300
    assert (report["tests"][0]["rows_dropped"], report["tests"][0]["validation_rows_dropped"]) == (300, 1)
    assert report["tests"][0]["by_method"] == dict.fromkeys(("exact", "coverage", "near_duplicate"), 300) | {
        "evidence": 0
    }
    assert [copy["split"] for copy in report["dropped"]] == ["validation"] + 300 * ["train"]


def test_planted_copies_are_the_same_for_the_same_seed_and_limited_in_number() -> None:
    items = [ask(f"{OWLS} number {number}", name=str(number), evidence=OWLS) for number in range(30)]
    tests = {"own": items, "exam": items[:3]}
    recall = planted_recall(tests, SETTINGS, 17, most=10)
    assert recall == planted_recall(tests, SETTINGS, 17, most=10)
    assert [(row["test"], row["change"], row["n"]) for row in recall] == [
        (test, change, number)
        for test, number in (("own", 10), ("exam", 3))
        for change in ("verbatim", "10 % of words", "20 % of words")
    ]
    assert planted_recall({}, SETTINGS, 17) == []
    assert planted_recall({"own": []}, SETTINGS, 17)[0] == {
        "test": "own", "change": "verbatim", "n": 0, "exact": 0.0, "coverage": 0.0, "near_duplicate": 0.0, "any": 0.0,
    }  # fmt: skip


def test_planted_copies_are_not_found_by_the_evidence_that_they_are_not_of() -> None:
    items = [ask("What is LoRA?", answer="x", name="lora", evidence=OWLS), ask(OWLS, name="owls")]
    changed = planted_recall({"own": items[:1], "more": items[1:]}, SETTINGS, 17)[2]
    assert (changed["test"], changed["change"], changed["any"]) == ("own", "20 % of words", 0.0)
