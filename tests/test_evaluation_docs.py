"""docs/evaluation.md says what the code does: its options, prompts, keys and columns are read back from it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from jobs.evaluation.figures import SCHEMA, metrics_of
from jobs.evaluation.tasks import Task
from qa.choices import ChoicePrompt
from qa.prompts import CHAT_OPENING, Message, PromptEncoder, chat_messages, sources_messages
from qa.records import Answer, Question
from tests.runs import answer, question

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```text\n(.*?)\n```", PAGE, re.DOTALL)
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
    task = Task(name="research", choice=questions, open=())
    rows = {model: [answer(model, number, number < 2) for number in range(4)] for model in ("base", "tuned")}
    metrics = metrics_of(rows, {}, [task], {}, headline=("research", "letter (chat)"), seed=17)
    told = set(first_column("| key | what it holds |"))
    optional = {"cited", "rotations", "judge"}
    assert set(metrics) | optional | {"absent_tasks", "benchmarks"} == told
    assert f"`metrics.json`, schema {SCHEMA}." in PAGE
    lines = metrics["comparisons"][0]
    keys = re.search(r"\| `comparisons` \| (.+) \|", PAGE)[1].split(", ")
    assert set(keys) == set(lines)


def test_the_columns_of_the_rows_are_told() -> None:
    assert first_column("| column | what it holds |") == list(Answer.model_fields)
