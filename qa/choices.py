"""Multiple choice: how a question is put, which options are scored, and which one counts as picked.

Evaluation and the page take all of it from here, so that a question asked live is the question of the published
figures. With the plain template, `cloze` is the text of lm-eval 0.4.13's `arc_easy` and `arc_challenge`, `letter` that
of its `mmlu`, to the last token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from qa.prompts import Message, PromptEncoder, ask_messages, letter_messages, plain_cloze, plain_letter
from qa.records import Question

Formulation = Literal["letter", "cloze"]
FORMULATIONS: tuple[Formulation, ...] = ("letter", "cloze")
Template = Literal["chat", "plain"]
OWN_TEMPLATE: dict[str, Template] = {"letter": "chat", "cloze": "plain"}  # where none is asked for
BETWEEN_SHOTS = "\n\n"
MMLU_PREFIX = "mmlu:"
SUBJECTS = {"research": "AI research", "arc_challenge": "science", "arc_easy": "science"}


class Item(NamedTuple):
    """Ids of a prompt, and of each option as it would follow it (without the end of the turn).

    `head` counts the leading ids of the prompt that all questions put the same way have in common: the system message
    or the description, and the solved examples. It depends on the way alone, never on which questions are asked
    together.
    """

    prompt: list[int]
    options: list[list[int]]
    head: int = 0


@dataclass(frozen=True)
class ChoicePrompt:
    """A way to put multiple-choice questions.

    `letter` shows the options and scores the row's own labels, `cloze` asks the bare question and scores the options in
    words. `shots` are solved examples before it; `description` opens a plain letter prompt, as in MMLU.
    """

    formulation: Formulation
    template: Template = "chat"
    shots: tuple[Question, ...] = ()
    description: str = ""

    @property
    def name(self) -> str:
        """How the figures name it, for example `letter (chat)` or `cloze (plain, 5 shots)`."""
        return prompt_name(self.formulation, self.template, len(self.shots))

    def items(self, encoder: PromptEncoder, questions: Sequence[Question]) -> list[Item]:
        """The questions as token ids. What they share is encoded once, each prompt once for all of its options."""
        head = self._head(encoder)
        return [self._item(encoder, head, question) for question in questions]

    def texts(self, question: Question) -> tuple[str, ...]:
        """What is scored as the answer: the labels, or the options in words."""
        return question.labels if self.formulation == "letter" else question.choices

    def _item(self, encoder: PromptEncoder, head: list[int], question: Question) -> Item:
        if self.template == "plain":
            prompt, space = head + encoder.tokenize(self._plain(question)), " "
        else:
            prompt, space = encoder.prompt(self._messages(question), after=head), ""
        return Item(prompt, [encoder.tokenize(space + text) for text in self.texts(question)], len(head))

    def _head(self, encoder: PromptEncoder) -> list[int]:
        if self.template == "plain":
            opening = self.description if self.formulation == "letter" else ""
            solved = (f"{self._plain(shot)} {self._solution(shot)}{BETWEEN_SHOTS}" for shot in self.shots)
            return encoder.tokenize(opening + "".join(solved))
        system, _ = ask_messages("")
        turns = [turn for shot in self.shots for turn in (*self._messages(shot), _answer(self._solution(shot)))]
        return encoder.turns([system, *turns])

    def _plain(self, question: Question) -> str:
        if self.formulation == "cloze":
            return plain_cloze(question.question)
        return plain_letter(question.question, question.choices, question.labels)

    def _messages(self, question: Question) -> list[Message]:
        """The user's turn."""
        if self.formulation == "letter":
            return letter_messages(question.question, question.choices, question.labels)[1:]
        return ask_messages(question.question)[1:]

    def _solution(self, shot: Question) -> str:
        return self.texts(shot)[shot.gold]


def _answer(text: str) -> Message:
    return {"role": "assistant", "content": text}


def description_of(task: str) -> str:
    """The line that opens a plain letter prompt, in MMLU's words; a task of unknown subject names none."""
    subject = SUBJECTS.get(task, "")
    if task.startswith(MMLU_PREFIX):
        subject = task.removeprefix(MMLU_PREFIX).replace("_", " ")
    about = f" about {subject}" if subject else ""
    return f"The following are multiple choice questions (with answers){about}.{BETWEEN_SHOTS}"


def choice_ids(
    encoder: PromptEncoder, question: Question, formulation: Formulation, template: Template = "chat"
) -> Item:
    """One question of its task as token ids, without solved examples."""
    prompt = ChoicePrompt(formulation, template, description=description_of(question.task))
    return prompt.items(encoder, [question])[0]


def pick(logprobs: Sequence[float], question: Question, formulation: Formulation) -> int:
    """Index of the picked option; the first of equals.

    Summed log-probabilities are compared as they are for letters (lm-eval's `acc`), and per character of the option
    for cloze (lm-eval's `acc_norm`), where they favour short options otherwise.
    """
    lengths = [1] * len(logprobs) if formulation == "letter" else [len(choice) for choice in question.choices]
    scores = [logprob / length for logprob, length in zip(logprobs, lengths, strict=True)]
    return scores.index(max(scores))


def prompt_name(formulation: str, template: Template = "chat", shots: int = 0) -> str:
    """How the figures name the prompt, for example `letter (chat)` or `letter (chat, 5 shots)`."""
    counted = f", {shots} shot{'s' * (shots > 1)}" if shots else ""
    return f"{formulation} ({template}{counted})"
