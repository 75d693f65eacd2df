"""docs/evaluation.md says what the code does: its options, prompts, keys and columns are read back from it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.evaluation.canary import CAUSES
from jobs.evaluation.figures import SCHEMA, metrics_of
from jobs.evaluation.open_parts import NO_SOURCE, OPEN, SOURCES
from jobs.evaluation.tasks import Task
from qa.choices import ChoicePrompt
from qa.prompts import CHAT_OPENING, Message, PromptEncoder, chat_messages, sources_messages
from qa.records import Answer, Question
from tests.runs import answer, question
from tests.tiny_answers import rotated_answers, written

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```text\n(.*?)\n```", PAGE, re.DOTALL)
WRITTEN = (OPEN, SOURCES, NO_SOURCE)
CONTROL = {1001: b"<|im_start|>", 1002: b"<|im_end|>"}
ENCODER = PromptEncoder(lambda text: list(text.encode()), *CONTROL)
GAS = Question(
    id="gas",
    question="Which gas do plants take in?",
    choices=("Oxygen", "Carbon dioxide", "Helium"),
    labels=("A", "B", "C"),
    answer="B",
    answer_text="Carbon dioxide",
    document="gas",
)
SCIENCE = "The following are multiple choice questions (with answers) about science.\n\n"


def text_of(ids: list[int]) -> str:
    return b"".join(CONTROL.get(number) or bytes([number]) for number in ids).decode()


def first_column(head: str) -> list[str]:
    """What the table under this line of heads names in its first column."""
    rows = PAGE.split(f"{head}\n", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    return [re.match(r"\| `([^`]+)`", row)[1] for row in rows]


def test_every_option_of_the_command_is_told_and_no_other() -> None:
    command = [sys.executable, "-m", "jobs.evaluate", "--help"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    options = set(re.findall(r"^  (--[a-z-]+)", shown, re.MULTILINE))
    assert len(options) > 10
    assert set(first_column("| option | what it is | default |")) == options


def test_the_prompts_are_those_that_are_asked() -> None:
    ways = (
        ChoicePrompt("cloze", "plain"),
        ChoicePrompt("letter", "plain", (), SCIENCE),
        ChoicePrompt("letter", "chat"),
    )
    asked = [text_of(way.items(ENCODER, [GAS])[0].prompt) for way in ways]
    asked.append(text_of(ENCODER.prompt(chat_messages(GAS.question, GAS.choices))) + CHAT_OPENING)
    for block, text in zip(BLOCKS[:4], asked, strict=True):
        assert block == text.removesuffix("\n")


def test_the_prompt_with_sources_is_the_one_that_is_asked() -> None:
    passages = [("On plants", "Plants take in carbon dioxide."), ("On balloons", "Balloons are filled with helium.")]
    _, user = sources_messages(GAS.question, passages)
    assert user == Message(role="user", content=BLOCKS[4])


def test_the_keys_of_the_figures_are_told() -> None:
    questions = tuple(question(number) for number in range(4))
    free = tuple(question(number, choices=False) for number in range(4))
    task = Task(name="research", choice=questions, open=free)
    rows = {model: rows_of(model, questions, free) for model in ("base", "tuned")}
    rotated = {model: rotated_answers(model, questions, lambda question: "A") for model in rows}
    metrics = metrics_of(rows, rotated, [task], {}, headline=("research", "letter (chat)"), seed=17)
    told = set(first_column("| key | what it holds |"))
    assert set(metrics) | {"judge", "absent_tasks", "benchmarks"} == told
    assert f"`metrics.json`, schema {SCHEMA}." in PAGE
    lines = metrics["comparisons"][0]
    keys = re.search(r"\| `comparisons` \| (.+) \|", PAGE)[1].split(", ")
    assert set(keys) == set(lines)
    for key in ("open", "cited"):
        assert names_told(key) == set(metrics[key]["base"])
    for key in ("positions", "rotations", "calibration", "ties"):
        (line,) = metrics[key]["base"]
        inner = [each for name in ("places", "bins") for each in line.get(name, ())]
        assert names_told(key) == {*line, *(inner[0] if inner else ())}


def names_told(key: str) -> set[str]:
    """The keys that the table tells for one key of the figures, those of the lists in it too."""
    text = re.sub(r"by model[^:]*:|with a judge:|\(.*?\)", "", re.search(rf"\| `{key}` \| (.+) \|", PAGE)[1])
    return {name.strip() for name in re.split(r", | with ", text)}


def rows_of(model: str, questions: Sequence[Question], free: Sequence[Question]) -> list[Answer]:
    """Answers by letter, in words, with sources and without the right one."""
    said = [row for way in WRITTEN for row in written(model, free, lambda _: "[1]", way)]
    passages = {each.id: (each.passage,) for each in free}
    shown = [row.model_copy(update={"sources": passages[row.row_id]}) for row in said]
    return [answer(model, number, number < 2) for number in range(len(questions))] + shown


def test_the_keys_of_a_judge_are_told() -> None:
    tree = ast.parse((ROOT / "jobs" / "evaluation" / "judge.py").read_text(encoding="utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "judge_answers")
    made = function.body[-1].value
    keys = {key.value for key in made.keys if key} | {"better", "worse", "tie", "inconsistent", "unreadable"}
    assert names_told("judge") == keys


def test_the_causes_of_signs_are_those_of_the_code() -> None:
    rows = PAGE.split("| sign | likeliest cause | what to look at |\n", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    assert sorted(row.split(" | ")[1] for row in rows) == sorted(CAUSES.values())


def test_the_columns_of_the_rows_are_told() -> None:
    assert first_column("| column | what it holds |") == list(Answer.model_fields)
