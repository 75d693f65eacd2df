"""The two sides of the evaluation benchmark, each in a process of its own: from the same questions to their answers.

Imports, loading the model and one token through it (so that every weight is in memory) are over before the clock
starts, on both sides. lm-eval is handed its requests as text: its task files and templates are not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.paired import own_peak_bytes
from qa.choices import Formulation
from qa.records import Question, Record

BATCH = 16  # lm-eval's batch size
Logprobs = tuple[float, ...]
Side = Callable[["Exam"], list[tuple[Logprobs, str]]]  # for each question the options' scores and the label picked


class Exam(Record):
    """What both sides are asked: questions put plainly after solved examples, to the model in a folder."""

    model: str
    threads: int
    formulation: Formulation
    description: str
    shots: tuple[Question, ...]
    questions: tuple[Question, ...]


class Result(Record):
    """What one side made of an exam.

    `cpu_seconds` are user's and system's together, from questions to answers; `loaded_bytes` is the peak resident
    memory before the first question, with the model read.
    """

    cpu_seconds: float
    loaded_bytes: int
    logprobs: tuple[Logprobs, ...]
    answers: tuple[str, ...]


def make_model(folder: str, seed: int) -> None:
    """A random model of Qwen2.5-0.5B's shape with its full vocabulary, in float32."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    shape = Qwen2Config(
        vocab_size=151_936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )
    Qwen2ForCausalLM(shape).save_pretrained(folder)


def take(side: str, exam: str, result: str) -> None:
    """Let `ours` or `lm_eval` take the exam in one file and write its result to another."""
    Path(result).write_text(examine(side, Exam.model_validate_json(Path(exam).read_text())).model_dump_json())


def examine(side: str, exam: Exam) -> Result:
    """Load the model, then time one side on the exam."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(exam.threads)
    tokenizer = AutoTokenizer.from_pretrained(exam.model)
    model = AutoModelForCausalLM.from_pretrained(exam.model, dtype=torch.float32).eval()
    with torch.inference_mode():
        model(torch.tensor([[0]]))
    answer = SIDES[side](model, tokenizer)
    loaded = own_peak_bytes()
    begun = time.process_time()
    rows = answer(exam)
    seconds = time.process_time() - begun
    scores, labels = zip(*rows, strict=True)
    return Result(cpu_seconds=seconds, loaded_bytes=loaded, logprobs=scores, answers=labels)


def ours(model: Any, tokenizer: Any) -> Side:
    """As the examiner asks: one question after the other in batches of like lengths."""
    from jobs.config import Evaluation
    from jobs.evaluation.likelihood import TransformersBackend
    from jobs.evaluation.packing import batches
    from jobs.evaluation.parts import ChoicePart
    from qa.choices import ChoicePrompt

    backend = TransformersBackend(model, tokenizer)

    def answer(exam: Exam) -> list[tuple[Logprobs, str]]:
        part = ChoicePart("arc", ChoicePrompt(exam.formulation, "plain", exam.shots, exam.description), exam.questions)
        items, rows = part.items(backend.encoder), {}
        for batch in batches([part.costs(item) for item in items], Evaluation().batch_tokens):
            rows |= zip(batch, part.ask(backend, batch, [items[place] for place in batch]), strict=True)
        return [(rows[place]["option_logprobs"], rows[place]["predicted"]) for place in range(len(items))]

    return answer


def lm_eval(model: Any, tokenizer: Any) -> Side:
    """lm-eval's transformers back end on the texts of its `arc_challenge` or `mmlu`, with its rule for the answer."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=BATCH, device="cpu", dtype="float32")

    def answer(exam: Exam) -> list[tuple[Logprobs, str]]:
        requests = [
            Instance("loglikelihood", {}, (context, " " + option), place)
            for question, context in zip(exam.questions, contexts(exam), strict=True)
            for place, option in enumerate(_options(exam, question))
        ]
        scores = iter(harness.loglikelihood(requests, disable_tqdm=True))
        rows = []
        for question in exam.questions:
            logprobs = tuple(next(scores)[0] for _ in question.choices)
            rows.append((logprobs, _picked(exam, question, logprobs)))
        return rows

    return answer


SIDES: dict[str, Callable[[Any, Any], Side]] = {"ours": ours, "lm_eval": lm_eval}


def contexts(exam: Exam) -> list[str]:
    """What lm-eval reads before the options of each question: description, solved examples, the question."""
    opening = exam.description if exam.formulation == "letter" else ""
    for shot in exam.shots:
        opening += f"{_asked(exam, shot)} {_options(exam, shot)[shot.gold]}\n\n"
    return [opening + _asked(exam, question) for question in exam.questions]


def _asked(exam: Exam, question: Question) -> str:
    if exam.formulation == "cloze":
        return f"Question: {question.question}\nAnswer:"
    lines = [f"{label}. {choice}" for label, choice in zip(question.labels, question.choices, strict=True)]
    return "\n".join([question.question, *lines, "Answer:"])


def _options(exam: Exam, question: Question) -> tuple[str, ...]:
    return question.choices if exam.formulation == "cloze" else question.labels


def _picked(exam: Exam, question: Question, logprobs: Logprobs) -> str:
    """The label of the best option: by `acc_norm` (per character) for cloze, by `acc` for letters."""
    import numpy as np

    lengths = [len(choice) for choice in question.choices] if exam.formulation == "cloze" else 1.0
    return question.labels[int(np.argmax(np.array(logprobs) / lengths))]
