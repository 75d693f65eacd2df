"""Multiple choice by log-probability: what is shown, which options are scored, and which one counts as picked.

Evaluation and the page take both from here, so that a question asked live is the question of the published figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from qa.prompts import Message, PromptEncoder, ask_messages, letter_messages, plain_cloze
from qa.records import Question

Formulation = Literal["letter", "cloze"]
FORMULATIONS: tuple[Formulation, ...] = ("letter", "cloze")
Template = Literal["chat", "plain"]


def choice_messages(question: Question, formulation: Formulation) -> list[Message]:
    """The conversation before the options: `letter` shows them, `cloze` asks the bare question."""
    if formulation == "letter":
        return letter_messages(question.question, question.choices, question.labels)
    return ask_messages(question.question)


def choice_texts(question: Question, formulation: Formulation) -> tuple[str, ...]:
    """What is scored as the assistant's answer: the labels, or the options in words."""
    return question.labels if formulation == "letter" else question.choices


def choice_ids(
    encoder: PromptEncoder, question: Question, formulation: Formulation, template: Template = "chat"
) -> tuple[list[int], list[list[int]]]:
    """Ids of the prompt, and of each option as it would follow it (without the end of the turn)."""
    texts = choice_texts(question, formulation)
    if template == "plain":
        return encoder.tokenize(_plain(question, formulation)), [encoder.tokenize(f" {text}") for text in texts]
    return encoder.prompt(choice_messages(question, formulation)), [encoder.tokenize(text) for text in texts]


def _plain(question: Question, formulation: Formulation) -> str:
    """The prompt as bare text; for cloze it is that of lm-eval's `arc_easy`."""
    if formulation == "cloze":
        return plain_cloze(question.question)
    return f"{choice_messages(question, formulation)[-1]['content']}\nAnswer:"


def pick(logprobs: Sequence[float], question: Question, formulation: Formulation) -> int:
    """Index of the picked option; the first of equals.

    Summed log-probabilities are compared as they are for letters (lm-eval's `acc`), and per character of the option
    for cloze (lm-eval's `acc_norm`), where they favour short options otherwise.
    """
    lengths = [1] * len(logprobs) if formulation == "letter" else [len(choice) for choice in question.choices]
    scores = [logprob / length for logprob, length in zip(logprobs, lengths, strict=True)]
    return scores.index(max(scores))


def prompt_name(formulation: Formulation, template: Template = "chat") -> str:
    """How the figures name the prompt, for example `letter (chat)`."""
    return f"{formulation} ({template})"
