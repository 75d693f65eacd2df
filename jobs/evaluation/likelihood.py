"""Log-likelihoods and greedy answers of transformers models.

Questions stand in rows, each prompt once with its options behind it (`packing.py`), and follow a head that is run once
(`hidden_states.py`). The output layer runs only where a score is read, in float32 for weights of any type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from jobs.evaluation.hidden_states import Head, HiddenStates, window_of
from jobs.evaluation.packing import Row, arrange, by_head
from jobs.transformers_model import few_threads
from qa.choices import Item
from qa.prompts import END_OF_TEXT, SYSTEM_PROMPT, PromptEncoder
from qa.stops import cut

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig

CPU_TOKENS = 1024  # of one pass on a CPU; with 4,096 malloc hands each layer's memory back, 13 % of the time, here 2 %
VOCABULARY = 8192  # entries of the output layer at once: 29 MB of its weights in float32 at a width of 896
AGREEMENT = {"float32": 0.01, "bfloat16": 1.0}  # nats between packed and plain scores of a sentence; rounding is 1 %
NOT_FINITE = "it gives scores that are not finite: its weights are damaged, or overflow in this precision"


def sample_item(encoder: PromptEncoder) -> Item:
    """A sentence with two of its parts as options, to try a model with."""
    ids = encoder.tokenize(SYSTEM_PROMPT)
    return Item(ids[:8], [ids[8:11], ids[12:16]], head=4)


class TransformersBackend:
    """A causal language model of transformers (or peft on one) with its tokenizer, in evaluation mode.

    Raises ValueError for a tokenizer without ChatML's control tokens, and for a model that does not score packed rows
    as it scores plain ones: it carries a state from token to token, or its output layer is more than one matrix; and
    for scores that are not finite.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        from peft import PeftModel

        self.encoder = PromptEncoder.from_transformers(tokenizer)
        self._tokenizer, self._model = tokenizer, model.eval()
        self._causal = model.get_base_model() if isinstance(model, PeftModel) else model
        if self._causal._is_stateful:
            kind = self._causal.config.model_type
            raise ValueError(f"models of type {kind} carry a state from token to token, and cannot be evaluated")
        self._check_output_layer()
        self._device, self.window = self._causal.device, window_of(self._causal.config)
        self._pad = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
        self._states = HiddenStates(self._causal, self._pad)
        with ExitStack() as threads:
            threads.enter_context(few_threads(model))
            self._check()
            self._threads = threads.pop_all()  # until `close`

    def option_logprobs(self, items: Sequence[Item]) -> list[list[float]]:
        """Summed natural-log probability of each option of each item."""
        import torch

        scores = [[0.0] * len(item.options) for item in items]
        with torch.inference_mode():
            for head, numbers in by_head(items).items():
                rows = arrange(items, numbers)
                longest = max(len(row.ids) for row in rows)
                step = max(1, CPU_TOKENS // longest) if self._device.type == "cpu" else len(rows)
                for start in range(0, len(rows), step):
                    self._score(head, rows[start : start + step], scores)
        return scores

    def generate(self, prompts: Sequence[list[int]], max_tokens: int, until: Sequence[str] = ()) -> list[str]:
        """Greedy answers, in one batch with padding on the left, each cut before the first of `until`."""
        import torch

        length = max(map(len, prompts))
        pads = [length - len(prompt) for prompt in prompts]
        ids = [[self._pad] * pad + prompt for pad, prompt in zip(pads, prompts, strict=True)]
        self._causal.generation_config = self._greedy(max_tokens)
        with torch.inference_mode():
            out = self._model.generate(
                input_ids=torch.tensor(ids, device=self._device),
                attention_mask=torch.tensor([[0] * pad + [1] * (length - pad) for pad in pads], device=self._device),
                generation_config=self._causal.generation_config,
                stopping_criteria=[self._holds(until, length)] if until else None,
            )
        return [cut(text, until) for text in self._decode(out[:, length:])]

    def close(self) -> None:
        """Let go of the weights."""
        self._threads.close()
        del self._model, self._causal, self._states

    def _score(self, head: Head, rows: Sequence[Row], scores: list[list[float]]) -> None:
        """Run the rows behind their head, and add what is read to `scores`."""
        import torch

        length = max(len(row.ids) for row in rows)
        reads = [
            (number * length + index, target, question, option)
            for number, row in enumerate(rows)
            for index, target, question, option in row.reads
        ]
        places, targets = (torch.tensor(column, device=self._device) for column in list(zip(*reads, strict=True))[:2])
        places, inverse = torch.unique(places, return_inverse=True)
        values = self._read(self._states.at(places, head, rows), inverse, targets).tolist()
        for (_, _, question, option), value in zip(reads, values, strict=True):
            scores[question][option] += value

    def _read(self, states: torch.Tensor, inverse: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Log-probability of `targets` [n] after the hidden `states` [m, width] at `inverse` [n]; float32."""
        import torch

        weight, states = self._causal.get_output_embeddings().weight, states.float()
        chosen = (states[inverse] * weight[targets].float()).sum(-1)
        total = torch.full((len(states),), -torch.inf, device=self._device)
        for part in weight.split(VOCABULARY):
            total = torch.logaddexp(total, (states @ part.float().T).logsumexp(-1))
        return chosen - total[inverse]

    def _greedy(self, max_tokens: int) -> GenerationConfig:
        """Greedy and nothing else: Qwen2.5's own settings sample, with a repetition penalty."""
        from transformers import GenerationConfig

        ends = [self.encoder.im_end, self._pad]
        return GenerationConfig(do_sample=False, eos_token_id=ends, pad_token_id=self._pad, max_new_tokens=max_tokens)

    def _holds(self, until: Sequence[str], length: int) -> Callable[..., torch.Tensor]:
        """Which rows are over: those whose text holds one of `until`.

        Transformers' own `stop_strings` also stops at a string that begins in the prompt.
        """
        import torch

        def over(ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
            texts = self._decode(ids[:, length:])
            return torch.tensor([any(stop in text for stop in until) for text in texts], device=ids.device)

        return over

    def _decode(self, ids: torch.Tensor) -> list[str]:
        return self._tokenizer.batch_decode(ids, skip_special_tokens=True)

    def _check_output_layer(self) -> None:
        """Scores are read from its matrix alone: a bias, or an adapter on it, would be passed over."""
        import torch

        layer = self._causal.get_output_embeddings()
        if type(layer) is torch.nn.Linear and layer.bias is None:
            return
        name = next((name for name, part in self._causal.named_modules() if part is layer), "")
        kind = f"{type(layer).__module__}.{type(layer).__name__}"
        bias = " with a bias" if getattr(layer, "bias", None) is not None else ""
        raise ValueError(
            f"its output layer {name} is a {kind}{bias}; only a plain matrix can be evaluated: merge adapters"
        )

    def _check(self) -> None:
        """Compare one sentence's packed scores with the model's own."""
        import torch

        item, own = sample_item(self.encoder), []
        with torch.inference_mode():
            for option in item.options:
                line = torch.tensor([item.prompt + option], device=self._device)
                table = self._causal(line, use_cache=False).logits[0, len(item.prompt) - 1 : -1].float().log_softmax(-1)
                own.append(table.gather(-1, line[0, len(item.prompt) :, None]).sum().item())
        ours = self.option_logprobs([item])[0]
        if not all(map(math.isfinite, own + ours)):
            raise ValueError(NOT_FINITE)
        bound = AGREEMENT[str(self._causal.dtype).removeprefix("torch.")]
        if any(abs(one - other) > bound for one, other in zip(ours, own, strict=True)):
            raise ValueError(f"it scores options {own} one by one and {ours} in one row, and cannot be evaluated")
