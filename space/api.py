"""Named endpoints for programs (`gradio_client`, `curl`); the page has its own events."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import gradio as gr

from qa.statistics import wilson
from space.answering import Answer
from space.ask import ask
from space.compare import compare
from space.evaluate import DEFAULT_QUESTIONS, Row, Run, evaluate
from space.models import Models
from space.published import live_formulation
from space.text import escape


def add(models: Models, asking: dict[str, Any], evaluating: dict[str, Any]) -> None:
    """Add the endpoints `ask`, `compare` and `evaluate` to the page that is being built."""

    def ask_api(question: str) -> Iterator[str]:
        """Ask the fine-tuned model about AI research.

        Args:
            question: at most 600 characters
        Returns:
            the answer so far, until it is whole
        """
        for answer in ask(models, question, threading.Event()):
            yield _checked(answer).text

    def compare_api(question: str) -> Iterator[dict]:
        """Put one question to the base and to the fine-tuned model, both greedy.

        Args:
            question: at most 600 characters
        Returns:
            under `base` and `tuned`: text, state, status, tokens and seconds so far
        """
        for pair in compare(models, question, threading.Event()):
            yield {"base": asdict(_checked(pair.base)), "tuned": asdict(_checked(pair.tuned))}

    def evaluate_api(number: int = DEFAULT_QUESTIONS, formulation: str = "", sample: int = 0) -> Iterator[dict]:
        """Put questions of the published test set to both models.

        Args:
            number: how many questions, 1 to 25
            formulation: "letter" (options are shown) or "cloze" (options are weighed); empty for the page's choice,
                which is the published headline's, else "letter"
            sample: which questions; the same number draws the same ones
        Returns:
            state, the prompt's name, accuracy of both models with 95 % intervals, and one row for each question so far
        """
        prompt = formulation or live_formulation(models.published) or "letter"
        for run in evaluate(models, number, prompt, sample, threading.Event()):
            if run.state == "failed":
                raise gr.Error(escape(run.problem), print_exception=False)
            yield _run(run)

    gr.api(ask_api, api_name="ask", **asking)
    gr.api(compare_api, api_name="compare", **asking)
    gr.api(evaluate_api, api_name="evaluate", **evaluating)


def _checked(answer: Answer) -> Answer:
    if answer.state == "failed":
        raise gr.Error(escape(answer.status), print_exception=False)
    return answer


def _run(run: Run) -> dict[str, Any]:
    return {
        "state": run.state,
        "questions": run.total,
        "formulation": run.formulation,
        "prompt": run.prompt,
        "seconds": round(run.seconds, 3),
        "base": _accuracy([row.base_right for row in run.rows]),
        "tuned": _accuracy([row.tuned_right for row in run.rows]),
        "rows": [_row(row) for row in run.rows],
    }


def _accuracy(right: list[bool]) -> dict[str, float | int] | None:
    if not right:
        return None
    low, high = wilson(sum(right), len(right))
    return {"correct": sum(right), "n": len(right), "low": low, "high": high}


def _row(row: Row) -> dict[str, str]:
    labels = row.question.labels
    return {
        "id": row.question.id,
        "question": row.question.question,
        "base": labels[row.base],
        "tuned": labels[row.tuned],
        "answer": row.question.answer,
    }
