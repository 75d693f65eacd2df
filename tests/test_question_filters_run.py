"""Filters over many questions: duplicates, round trips, labels, the funnel, and the same result for more workers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from jobs.asker import Reply, Request
from jobs.data_config import Reader, Scale, Writer
from jobs.errors import UserError
from jobs.question_filters import filter_questions
from jobs.question_filters.duplicates import first_of_each
from jobs.question_filters.reading import agrees, closed_book, picks, with_passage
from qa.prompts import NOT_FOUND
from qa.records import Passage, Question
from qa.retrieval import build

NAMES = ("LoRA", "BERT", "Adam", "Mamba", "Whisper", "Dropout")
ABCD = ("A", "B", "C", "D")


def passage(name: str, extra: str = "") -> Passage:
    text = f"{name} is a device for the task of {name.lower()}ing. It rests on {name}-cogs in 1990.{extra}"
    return Passage(id=f"{name}#0", document=name, title=name, text=text, start=0, end=len(text))


def asked(name: str, text: str = "", says: str = "", **more: object) -> Question:
    known = {
        "id": f"q/{name}/{text}/{bool(more.get('choices'))}",
        "question": text or f"What is {name}?",
        "answer_text": says or "Device for a task.",
        "document": name,
        "passage": f"{name}#0",
        "evidence": f"{name} is a device for the task",
    }
    return Question(**known | more)


def shown(name: str, *choices: str, right: int = 0) -> Question:
    labels = ABCD[: len(choices)]
    return asked(name, says=choices[right], choices=choices, labels=labels, answer=labels[right])


class FakeAsker:
    """Answers what `say` makes of a prompt's last message; None: no answer was had."""

    def __init__(self, say: Callable[[str], str | None]) -> None:
        self.say, self.seen = say, []

    def ask_all(self, requests: Iterable[Request], what: str, *, total: int | None = None) -> Iterator[Reply]:
        for request in requests:
            self.seen.append(request.messages[-1]["content"])
            said = self.say(self.seen[-1])
            yield Reply("", "too long for the model") if said is None else Reply(said)


def run(questions: list[Question], folder: Path, asker: FakeAsker | None = None, **more: object):
    settings = {"writer": Writer(), "index": None, "scale": Scale()} | more
    return filter_questions(questions, [passage(name) for name in NAMES], asker=asker, folder=folder, **settings)


def taken(funnel) -> dict[str, int | None]:
    return {row["filter"]: row["taken"] for row in funnel.rows}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("What is LoRA?", "A cheap way"), ("what is  the LoRA", "Another thing"), True),
        (("What is C?", "A language"), ("What is C++?", "A language"), False),
        (
            ("Which loss does LoRA minimise in training large models on text?", "Cross-entropy of the next token"),
            ("Which loss does LoRA minimise when training large models on text?", "Cross-entropy of the next token"),
            True,
        ),
        (
            ("Which loss does LoRA minimise in training large models on text?", "Cross-entropy of the next token"),
            ("Which loss does QLoRA minimise in training large models on text?", "Cross-entropy of the next token"),
            False,
        ),
        (
            ("How many weights does LoRA train in layer 3 of a large model of text?", "Some of the weights"),
            ("How many weights does LoRA train in layer 4 of a large model of text?", "Some of the weights"),
            False,
        ),
        (
            ("Who introduced the low rank update of the weights in large models?", "Microsoft"),
            ("Who introduced a low rank update of weights in the large models then?", "Google"),
            False,
        ),
    ],
)
def test_what_is_one_question_and_what_is_not(one: tuple[str, str], other: tuple[str, str], same: bool) -> None:
    first, second = asked("LoRA", *one), asked("BERT", *other)
    kept, refused = first_of_each([first, second], 0.8)
    assert kept == ([first] if same else [first, second])
    assert [question for question, _ in refused] == ([second] if same else [])
    if same:
        assert first.id in refused[0][1]


def test_of_the_same_question_the_answered_one_is_kept() -> None:
    absent = asked("LoRA", says=NOT_FOUND, evidence="", kind="not_in_text")
    questions = [absent, asked("BERT"), asked("Adam", "what is LoRA?")]
    assert first_of_each(questions, 0.8) == (questions[1:], [(absent, f"same question as {questions[2].id}")])


def test_open_and_choice_forms_are_no_duplicates() -> None:
    both = [asked("LoRA", says="Cheap way"), shown("LoRA", "Cheap way", "Dear way")]
    assert first_of_each(both, 0.8) == (both, [])


def test_the_exact_similarity_decides_and_order_is_kept() -> None:
    words = [f"word{chr(97 + number)}" for number in range(20)]
    text = "why " + " ".join(words)
    questions = [asked("LoRA", f"{text} {tail}?", "yes") for tail in ("x", "y", "z z2")] + [asked("BERT", "why?", "no")]
    kept, refused = first_of_each(questions, 0.9)  # x and y share 22 of 24 words, z2 is a name
    assert [question.question[-2:] for question in kept] == ["x?", "2?", "y?"]
    assert refused == [(questions[1], f"nearly the same question as {questions[0].id} (similarity 0.92)")]
    assert len(first_of_each(questions, 0.95)[0]) == 4


def test_each_filter_takes_its_own_and_says_why(tmp_path: Path) -> None:
    questions = [
        asked("LoRA"),
        asked("LoRA", "Which device does LoRA resemble?", evidence="never said of this anywhere"),
        asked("LoRA", "Which year saw LoRA?", "In 2021."),
        asked("LoRA", "What does this paper say of LoRA?"),
        asked("LoRA", "Who wrote the LoRA paper of cogs?"),
        asked("BERT", "What is LoRA?"),
        asked("Mamba", "Which beast roams Atlantis?"),
    ]
    kept, rejected, funnel = run(questions, tmp_path, writer=Writer(found_within=1))
    assert [question.id for question in kept] == [questions[0].id]
    assert [(entry.stage, entry.name) for entry in rejected] == [
        (stage, question.id)
        for stage, question in zip(
            (
                *("evidence", "terms", "stands alone", "metadata trivia"),
                *("duplicates", "retrieval round trip"),
            ),
            questions[1:],
            strict=True,
        )
    ]
    assert rejected[1].reason == "number 2021 of the answer is not in the evidence"
    assert json.loads(rejected[1].text) == {
        "question": "Which year saw LoRA?",
        "answer": "In 2021.",
        "evidence": "LoRA is a device for the task",
    }
    counted = [(row["given"], row["taken"], row["left"]) for row in funnel.rows]
    assert counted == [(7 - n, 1, 6 - n) for n in range(6)] + [(None, None, None)] * 2
    assert funnel.rows[-1]["not_run"].startswith("no reader configured")


def test_retrieval_is_skipped_or_uses_the_index_that_is_given(tmp_path: Path) -> None:
    questions = [asked(name) for name in NAMES]
    kept, _, funnel = run(questions, tmp_path / "a", writer=Writer(found_within=0))
    assert kept == questions
    assert funnel.rows[5] == {
        "filter": "retrieval round trip",
        "given": None,
        "taken": None,
        "left": None,
        "not_run": "writer.found_within is 0",
    }
    build([passage(name) for name in NAMES[:2]], tmp_path / "index")
    kept, rejected, _ = run(questions, tmp_path / "b", index=tmp_path / "index")
    assert kept == questions[:2]
    assert {entry.reason for entry in rejected} == {"question does not find its passage among 10"}
    with pytest.raises(UserError, match="build the index again"):
        run(questions, tmp_path / "c", index=tmp_path / "none")


def test_a_reader_is_sent_no_live_control_tokens() -> None:
    live, shown_as = "<|im_end|>", "< |im_end| >"
    source = passage("LoRA", f" {live}").model_copy(update={"title": f"LoRA {live}"})
    options = shown("LoRA", f"A {live} gate", "A fish").model_copy(update={"question": f"What is {live}?"})
    asker = FakeAsker(lambda prompt: "A")
    list(with_passage([options], {source.id: source}, asker, 0.5))
    list(closed_book([options, options.model_copy(update={"choices": (), "labels": ()})], asker, 0.5))
    assert [prompt.count(shown_as) for prompt in asker.seen] == [3, 2, 1]
    assert not any(live in prompt for prompt in asker.seen)


def test_what_the_text_does_not_answer_need_not_find_its_passage(tmp_path: Path) -> None:
    absent = asked("LoRA", "Which beast roams Atlantis?", NOT_FOUND, evidence="", kind="not_in_text")
    assert run([absent], tmp_path)[0] == [absent]


def test_more_workers_keep_and_refuse_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.question_filters.SHARD", 2)
    monkeypatch.setattr("jobs.question_filters.round_trip.SHARD", 2)
    questions = [asked(name) for name in NAMES] + [asked(name, f"Which year saw {name}?", "2021") for name in NAMES]
    one, two = (run(questions, tmp_path / str(count), scale=Scale(workers=count)) for count in (1, 2))
    assert (len(one[0]), len(one[1])) == (6, 6)
    assert one == two


def test_a_reader_with_the_passage_decides_and_without_it_labels(tmp_path: Path) -> None:
    absent = asked("Mamba", "In which year did Mamba win?", NOT_FOUND, evidence="", kind="not_in_text")
    choice = shown("Adam", "Device for a task", "Kind of a fish")
    questions = [asked("LoRA"), asked("BERT"), choice, absent, asked("Whisper")]

    def say(prompt: str) -> str | None:
        if not prompt.startswith("Sources:"):
            if "win?" in prompt:
                return None
            return {"What is LoRA?": "A device for a task."}.get(prompt, "A. Device" if "A." in prompt else "A fish.")
        if "Question: What is Whisper?" in prompt:
            return None
        return (
            NOT_FOUND
            if "win?" in prompt
            else "A red fish [1]."
            if "What is BERT?" in prompt
            else "Device for a task [1]."
        )

    asker = FakeAsker(say)
    kept, rejected, funnel = run(questions, tmp_path, asker, writer=Writer(reader=Reader(kind="openai")))
    labels = {question.document: question.closed_book for question in kept}
    assert labels == {"LoRA": "right", "Adam": "right", "Mamba": ""}
    assert [(entry.stage, entry.name, entry.reason) for entry in rejected] == [
        ("answer round trip", questions[1].id, "with the passage a model says: A red fish [1]."),
        ("answer round trip", questions[4].id, "not read (too long for the model)"),
    ]
    assert [(row["filter"], row["given"], row["taken"]) for row in funnel.rows[-3:]] == [
        *(("answer round trip", 5, 2), ("closed book", 3, 0), ("closed book", None, None)),
    ]
    assert funnel.rows[-1]["not_run"] == "1 without an answer: too long for the model"
    assert asker.seen[0].startswith("Sources:\n\n[1] LoRA: LoRA is a device")


@pytest.mark.parametrize(
    ("question", "said", "right"),
    [
        (asked("LoRA", says="2021."), "LoRA was introduced in 2021 [1].", True),
        (asked("LoRA", says="12."), "It has 11 layers [12].", False),
        (asked("LoRA", says="A low-rank update of weights"), "low-rank update of the frozen weights", True),
        (asked("LoRA", says="A low-rank update of weights"), NOT_FOUND, False),
        (asked("LoRA", says=NOT_FOUND, kind="not_in_text"), "I don't find this in my sources.", True),
        (asked("LoRA", says=NOT_FOUND, kind="not_in_text"), "In 2021 [1].", False),
        (shown("LoRA", "A red fish", "A blue fish", right=1), "It is a blue fish.", True),
        (shown("LoRA", "A red fish", "A blue fish", right=1), "It is a fish.", False),
        (shown("LoRA", "A red fish", "A blue fish", right=1), NOT_FOUND, False),
        (shown("LoRA", "1.5", "4"), "15", False),
        (asked("LoRA", says="1.5"), "15", False),
        (asked("LoRA", says="1.5 %"), "It is 1.5.", True),
        (asked("LoRA", says="84.2 accuracy on the GLUE test"), "79.1 accuracy on the GLUE test", False),
        (asked("LoRA", says="LoRA"), "It is not LoRA but adapters", False),
        (asked("LoRA", says="LoRA"), "Not LoRA.", False),
        (asked("LoRA", says="LoRA"), "It is not BERT but LoRA.", True),
        (asked("BERT", says="GPT-3 is larger"), "GPT-4 is larger", False),
        (asked("BERT", "Is GPT-3 or BERT larger?", "GPT-3 is larger"), "BERT is larger", False),
        (asked("LoRA", says="LoRA keeps the weights frozen."), "It keeps weights frozen.", True),
    ],
)
def test_two_answers_are_the_same(question: Question, said: str, right: bool) -> None:
    assert agrees(question, said, 0.5) == right


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("B", True),
        ("(B)", True),
        ("B. A blue fish", True),
        (" b", False),
        ("A", False),
        ("Blue", False),
        ("B fish", False),
    ],
)
def test_a_label_is_picked(said: str, right: bool) -> None:
    assert picks(shown("LoRA", "A red fish", "A blue fish", right=1), said) == right
