"""Accuracy on questions of multiple choice of the validation split, after each epoch, by the model in training."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from jobs.evaluation.packing import batches
from jobs.progress import progress
from jobs.training.heard import end_if_asked
from qa.choices import ChoicePrompt, pick
from qa.prompts import END_OF_TEXT, PromptEncoder
from qa.records import Question, parse_record
from qa.statistics import wilson

if TYPE_CHECKING:
    import torch

CONFIGS = ("research_qa", "arc")  # rows with sources repeat the questions of the first
TOKENS = 2048  # of one pass, padding included


def validation_questions(dataset: Path, count: int, seed: int) -> list[Question]:
    """At most `count` questions with options of the validation split, as many of each task as there are.

    None where the split has none. Raises `RecordError` naming file and row.
    """
    import pyarrow.parquet as pq

    tasks: dict[str, list[Question]] = {}
    for config in CONFIGS:
        path = dataset / config / "validation.parquet"
        if not path.is_file() or "choices" not in (names := pq.read_schema(path).names):
            continue
        columns = [name for name in Question.model_fields if name in names]
        for row in pq.read_table(path, columns=columns).to_pylist():
            if row["choices"]:
                question = parse_record(row, Question, f"{path}, row {row.get('id')!r}")
                tasks.setdefault(question.task, []).append(question)
    for questions in tasks.values():
        random.Random(seed).shuffle(questions)
    longest = max(map(len, tasks.values()), default=0)
    turns = (questions[place] for place in range(longest) for questions in tasks.values() if place < len(questions))
    return [question for question, _ in zip(turns, range(count), strict=False)]


class ValidationAccuracy(TrainerCallback):
    """Adds the share answered rightly, with Wilson's interval, to the history's entry of each evaluation.

    Every process asks every question: where the weights are spread over several, each has to take part in each pass.
    """

    def __init__(self, questions: Sequence[Question], tokenizer: Any) -> None:
        self.questions, self.pad = questions, tokenizer.convert_tokens_to_ids(END_OF_TEXT)
        items = ChoicePrompt("letter").items(PromptEncoder.from_transformers(tokenizer), questions)
        self.prompts = [item.prompt for item in items]
        self.labels = [[label[0] for label in item.options] for item in items]  # A to E and 1 to 5 are a token each

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        scores = self.scores(kwargs["model"], hidden=not state.is_world_process_zero)
        right = sum(
            pick(row, question, "letter") == question.gold for row, question in zip(scores, self.questions, strict=True)
        )
        low, high = wilson(right, len(scores))
        state.log_history[-1] |= {
            "eval_accuracy": right / len(scores),
            "eval_accuracy_low": low,
            "eval_accuracy_high": high,
            "eval_accuracy_questions": len(scores),
            "eval_accuracy_chance": fmean(1 / len(row) for row in scores),
        }

    def scores(self, model: Any, *, hidden: bool = False) -> list[list[float]]:
        """Natural-log probability of each label of each question; leaves the model and the random states as they are.

        `hidden` shows no bar.
        """
        import torch

        found: dict[int, list[float]] = {}
        parts = list(batches([len(prompt) for prompt in self.prompts], TOKENS))
        training = model.training
        model.eval()
        with torch.no_grad():
            for part in parts if hidden else progress(parts, "accuracy", unit="batch"):
                end_if_asked()
                table = self._last(model, [self.prompts[number] for number in part])
                found |= {number: row[self.labels[number]].tolist() for number, row in zip(part, table, strict=True)}
        model.train(training)
        return [found[number] for number in range(len(self.prompts))]

    def _last(self, model: Any, prompts: Sequence[list[int]]) -> torch.Tensor:
        """Log-probabilities after each prompt [prompts, vocabulary], float32."""
        import torch

        length = max(map(len, prompts))
        pads = [length - len(prompt) for prompt in prompts]
        pairs = list(zip(pads, prompts, strict=True))
        ids = torch.tensor([[self.pad] * pad + prompt for pad, prompt in pairs], device=model.device)
        mask = torch.tensor([[0] * pad + [1] * len(prompt) for pad, prompt in pairs], device=model.device)
        places = (mask.cumsum(-1) - 1).clamp(min=0)
        given = {"attention_mask": mask, "position_ids": places, "use_cache": False, "logits_to_keep": 1}
        return model(input_ids=ids, **given).logits[:, -1].float().log_softmax(-1)
