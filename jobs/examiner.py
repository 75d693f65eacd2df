"""Putting questions to one model: options are scored, open questions answered, and each becomes a row."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.backends import Backend
from jobs.config import Evaluation
from jobs.errors import UserError
from jobs.evaluation_figures import OPEN
from qa.choices import choice_ids, pick, prompt_name
from qa.prompts import ask_messages, prompt_sha256
from qa.records import Answer, Question
from qa.scoring import exact_match

SLICE = 64  # questions timed and batched together
OPEN_TOKENS = 48


@dataclass
class Examiner:
    """Puts the questions to one model, and moves the bar."""

    model: str
    backend: Backend
    evaluation: Evaluation
    tick: Callable[[int], Any]

    def choices(self, questions: Sequence[Question], formulation: str) -> list[Answer]:
        """Answers to multiple-choice questions, in the same order."""
        return [row for part in _slices(questions) for row in self._choice_slice(part, formulation)]

    def open(self, questions: Sequence[Question]) -> list[Answer]:
        """Greedy answers to open questions, right where they match exactly after normalisation."""
        return [row for part in _slices(questions) for row in self._open_slice(part)]

    def _choice_slice(self, questions: Sequence[Question], formulation: str) -> list[Answer]:
        template = self.evaluation.template
        items = [choice_ids(self.backend.encoder, question, formulation, template) for question in questions]
        for question, (prompt, options) in zip(questions, items, strict=True):
            self._check_room(question, len(prompt) + sum(len(option) for option in options))
        begun = time.monotonic()
        scores = self.backend.option_logprobs(items, self.tick)
        seconds = (time.monotonic() - begun) / len(questions)
        answers = []
        for question, (prompt, _), logprobs in zip(questions, items, scores, strict=True):
            if not all(math.isfinite(value) for value in logprobs):
                raise UserError(f"model {self.model}: {question.id}: scores are {logprobs}; its weights are damaged")
            picked = pick(logprobs, question, formulation)
            answers.append(
                self._answer(
                    question,
                    prompt_name(formulation, template),
                    prompt,
                    seconds,
                    option_logprobs=tuple(logprobs),
                    predicted=question.labels[picked],
                    gold=question.answer,
                    correct=picked == question.gold,
                )
            )
        return answers

    def _open_slice(self, questions: Sequence[Question]) -> list[Answer]:
        prompts = [ask_messages(question.question) for question in questions]
        ids = [self.backend.encoder.prompt(messages) for messages in prompts]
        for question, prompt in zip(questions, ids, strict=True):
            self._check_room(question, len(prompt) + OPEN_TOKENS)
        begun = time.monotonic()
        texts = self.backend.generate(prompts, OPEN_TOKENS, self.tick)
        seconds = (time.monotonic() - begun) / len(questions)
        return [
            self._answer(
                question,
                OPEN,
                prompt,
                seconds,
                predicted=text,
                gold=question.answer_text,
                correct=exact_match(text, [question.answer_text]),
            )
            for question, prompt, text in zip(questions, ids, texts, strict=True)
        ]

    def _check_room(self, question: Question, tokens: int) -> None:
        if tokens > self.backend.window:
            raise UserError(
                f"model {self.model}: {question.id} needs {tokens} tokens and it reads {self.backend.window}; "
                "build the dataset with a smaller dataset.max_length"
            )

    def _answer(self, question: Question, formulation: str, prompt: list[int], seconds: float, **values: Any) -> Answer:
        return Answer(
            model=self.model,
            task=question.task,
            formulation=formulation,
            row_id=question.id,
            document=question.document,
            prompt_sha256=prompt_sha256(prompt),
            seconds=round(seconds, 6),
            **values,
        )


def _slices(questions: Sequence[Question]) -> Iterator[Sequence[Question]]:
    for start in range(0, len(questions), SLICE):
        yield questions[start : start + SLICE]
