"""The signs that a model is broken: silent for a good one, and each with the cause that the other figures leave."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.evaluation.canary import canaries
from jobs.evaluation.groups import Asked, asked_of
from jobs.evaluation.tasks import Task
from qa.records import Answer, Question
from tests.tiny_answers import choice_answers, make_task, scored, written

TASK = Task("research", tuple(q for q in make_task("research", 400).choice if q.labels[0] == "A")[:120], ())
CLOZE, CHAT = "cloze (plain)", "chat (lm-eval)"
RIGHT_B = sum(question.answer == "B" for question in TASK.choice)


def known(*tasks: Task) -> Asked:
    return asked_of(tasks or (TASK,))


def able(model: str, formulation: str = "letter (chat)", task: Task = TASK) -> list[Answer]:
    return choice_answers(model, task.choice, skill=3, formulation=formulation)


def guessing(model: str, formulation: str = "letter (chat)", task: Task = TASK) -> list[Answer]:
    """Right on every fifth question, by every letter."""
    rows = []
    for number, question in enumerate(task.choice):
        wrong = question.gold + 1 + number % (len(question.choices) - 1)
        scores = scores_for(question, question.gold if number % 5 == 0 else wrong)
        rows.append(scored(model, question, scores, formulation=formulation, correct=number % 5 == 0))
    return rows


def scores_for(question: Question, place: int) -> tuple[float, ...]:
    count = len(question.choices)
    return tuple(-1.0 - (each != place % count) - each / 100 for each in range(count))


def giving(label: Callable[[Question], str]) -> list[Answer]:
    return [scored("m", q, scores_for(q, q.labels.index(label(q)))) for q in TASK.choice]


def test_it_is_silent_for_a_good_model() -> None:
    assert canaries({"base": able("base") + able("base", CLOZE), "tuned": able("tuned")}, known()) == []


def test_a_letter_always_or_never_given() -> None:
    always = canaries({"m": giving(lambda question: "A")}, known())
    assert any(": the answer is always A; likeliest cause: the template" in line for line in always)
    assert any("no better than chance" in line for line in always)
    never = canaries({"m": giving(lambda question: "A" if question.answer == "B" else question.answer)}, known())
    assert [line.partition(";")[0] for line in never] == [
        f"m, research, letter (chat): the answer is never B, right in {RIGHT_B} of 120"
    ]


def test_ties() -> None:
    tied = [answer.model_copy(update={"option_logprobs": (-1.0, -1.0, -2.0)}) for answer in able("m")]
    (line,) = canaries({"m": tied}, known())
    assert "the two likeliest options tie in 120 of 120 questions; likeliest cause: scores in too low a" in line


def test_other_prompts_than_the_first_models() -> None:
    other = [answer.model_copy(update={"prompt_sha256": "1"}) for answer in able("gguf")]
    assert canaries({"base": able("base"), "gguf": other}, known()) == [
        "gguf: 120 prompts have other token ids than base's; likeliest cause: its tokenizer is another"
    ]
    assert canaries({"base": able("base")[5:], "gguf": able("gguf")}, known()) == []  # base was not asked five
    weak = [answer.model_copy(update={"prompt_sha256": "1"}) for answer in guessing("gguf")]
    assert "likeliest cause: its tokenizer, which reads" in canaries({"base": able("base"), "gguf": weak}, known())[1]


@pytest.mark.parametrize(
    ("answers", "cause"),
    [
        ({"m": guessing("m") + able("m", CLOZE)}, "the template, or a model that cannot answer by letter"),
        ({"m": guessing("m", CHAT) + able("m")}, "how an answer is written out: the stop token, or words around"),
        (
            {"m": guessing("m") + able("m", CHAT)},
            "the template: the turn opens with a token that is no label: it",
        ),
        (
            {"base": able("base", CHAT), "m": guessing("m", CHAT) + able("m")},
            "how an answer is written out: the stop token, or words around the letter: it beats chance by",
        ),
        ({"base": able("base"), "m": guessing("m")}, "its weights, damaged when they were trained, merged or"),
        (
            {"base": able("base"), "m": guessing("m") + able("m", CLOZE)},
            "a template it was not trained with: by cloze (plain) it beats chance, and base does here",
        ),
        ({"base": guessing("base"), "m": guessing("m")}, "a model too small for these questions; if it is known"),
    ],
)
def test_the_cause_of_chance_is_what_the_other_figures_leave(answers: dict[str, list[Answer]], cause: str) -> None:
    lines = canaries(answers, known())
    assert lines
    assert all("no better than chance (" in line for line in lines)
    assert all(f"; likeliest cause: {cause}" in line for line in lines)


def test_a_task_at_chance_beside_one_that_is_not() -> None:
    other = make_task("odd", 60)
    (line,) = canaries({"m": able("m") + guessing("m", task=other)}, known(TASK, other))
    assert line.startswith("m, odd, letter (chat): ")
    assert "this task, too hard or with wrong right answers: the model beats chance at research" in line


def test_a_model_that_needs_to_see_the_options_is_not_broken() -> None:
    assert canaries({"m": able("m") + guessing("m", CLOZE)}, known()) == []
    lines = canaries({"base": able("base", CLOZE), "m": able("m") + guessing("m", CLOZE)}, known())
    assert [line.partition("cause: ")[2][:33] for line in lines] == ["a template it was not trained wit"]


def test_few_rows_show_no_chance() -> None:
    assert canaries({"m": guessing("m")[:39]}, known()) == []
    assert len(canaries({"m": guessing("m")[:40]}, known())) == 1


def test_letters_and_ties_show_in_fewer_rows() -> None:
    always = giving(lambda question: "A")
    assert canaries({"m": always[:11]}, known()) == []
    assert [line.partition(";")[0] for line in canaries({"m": always[:12]}, known())] == [
        "m, research, letter (chat): the answer is always A"
    ]
    even = [answer.model_copy(update={"option_logprobs": (-1.0, -1.0, -2.0)}) for answer in able("m", CLOZE)]
    assert len(canaries({"m": even[:12]}, known())) == 1
    assert canaries({"m": even[:11]}, known()) == []


def test_a_letter_is_no_sign_where_it_is_right() -> None:
    """A file whose answers are all A, or nearly all, and one where B is hardly ever right."""

    def lines(golds: str, given: str) -> list[str]:
        changes = [{"answer": gold, "labels": tuple("ABCD"), "choices": tuple("wxyz")} for gold in golds]
        questions = [q.model_copy(update=each) for q, each in zip(TASK.choice, changes, strict=False)]
        rows = [scored("m", q, scores_for(q, "ABCD".index(label))) for q, label in zip(questions, given, strict=True)]
        found = canaries({"m": rows}, known(Task("research", tuple(questions), ())))
        return [line.partition(": ")[2].partition(";")[0] for line in found]

    assert lines("A" * 50, "A" * 50) == []
    assert lines("A" * 93 + "B" * 7, "A" * 100) == []
    assert lines("A" * 90 + "B" * 10, "A" * 100) == ["the answer is always A"]
    assert lines("A" * 92 + "B" * 8, "A" * 50 + "C" * 50) == []  # B is right in fewer than a tenth
    assert lines("A" * 50 + "B" * 10, "A" * 50 + "C" * 10) == ["the answer is never B, right in 10 of 60"]
    assert lines("ABCD" * 4, "ACCD" * 4) == []  # 4 of 16: luck


def test_empty_and_endless_answers() -> None:
    task = make_task("research", 0, 20)

    def lines(text: str, formulation: str = "open (chat)") -> list[str]:
        return canaries({"m": written("m", task.open, lambda _: text, formulation)}, known(task))

    assert lines("two matrices") == []
    assert lines(" ", "sources (chat)") == [
        "m, research, sources (chat): 20 of 20 answers are empty; "
        "likeliest cause: the stop token: the turn ends before its first word"
    ]
    endless = "so that the weights of the layer are kept and the next layer is kept and " * 2
    assert lines(f"{endless}.") == []
    (line,) = lines(endless)
    assert "20 of 20 answers break off in the middle; likeliest cause: a model that says much, or the stop" in line
    both = {"base": written("base", task.open, lambda _: "Yes."), "m": written("m", task.open, lambda _: endless)}
    assert "likeliest cause: the stop token: the turn does not end, and base's does" in canaries(both, known(task))[0]


def test_a_letter_in_bold_or_brackets_names_its_option() -> None:
    said = [
        answer.model_copy(update={"predicted": f"{before}{answer.gold}{after}", "option_logprobs": ()})
        for answer in able("m", CHAT)
        for before, after in [("**", "**"), ("(", ")."), ("", ":")]
    ]
    assert canaries({"m": able("m") + said}, known()) == []


def test_written_answers_to_multiple_choice_that_name_no_option() -> None:
    said = [
        answer.model_copy(update={"predicted": "", "correct": False, "option_logprobs": ()})
        for answer in able("m", CHAT)
    ]
    lines = canaries({"m": able("m") + said}, known())
    assert [line.partition(";")[0] for line in lines] == [
        "m, research, chat (lm-eval): 0 of 120 right is no better than chance (25.4%)",
        "m, research, chat (lm-eval): 120 of 120 answers name no option",
    ]
