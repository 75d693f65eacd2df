"""Log-likelihoods and greedy answers of transformers models.

Each question is one row: the prompt once, then every option, which sees the prompt and itself alone (a 4-D mask, and
positions that go on from the prompt's end). The output layer runs only where a score is read, and log-sum-exp in
float32: 3 to 9 times quicker than a row for each option with logits at every position, and the same to 1e-4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from qa.prompts import END_OF_TEXT, Message, PromptEncoder

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig

Item = tuple[list[int], list[list[int]]]  # ids of a prompt, ids of each option
Tick = Callable[[int], Any]
SMALL_MODEL = 20_000_000  # weights; below, a second thread gains little, and on busy cores one is 20 times quicker
HEAD_POSITIONS = 128  # through the output layer at once: 78 MB of logits at Qwen2.5's vocabulary


@dataclass(frozen=True)
class PackedRow:
    """One question as one row. `owner` is 0 for the prompt and k for option k; `reads` are (index, next id, option)."""

    ids: list[int]
    positions: list[int]
    owner: list[int]
    reads: list[tuple[int, int, int]]


def pack(prompt: list[int], options: list[list[int]]) -> PackedRow:
    """Lay a prompt and its options out in one row. The last token of an option is only ever predicted."""
    row = PackedRow(list(prompt), list(range(len(prompt))), [0] * len(prompt), [])
    for number, option in enumerate(options):
        row.reads.append((len(prompt) - 1, option[0], number))
        for place, (token, following) in enumerate(pairwise(option)):
            row.reads.append((len(row.ids), following, number))
            row.ids.append(token)
            row.positions.append(len(prompt) + place)
            row.owner.append(number + 1)
    return row


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices in batches of like lengths, longest first, each within `budget` tokens of rows padded to one length."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


class TransformersBackend:
    """A causal language model of transformers (or peft on one) with its tokenizer, in evaluation mode."""

    def __init__(self, model: Any, tokenizer: Any, *, batch_tokens: int) -> None:
        import torch

        self._threads = torch.get_num_threads()
        if model.num_parameters() < SMALL_MODEL:
            torch.set_num_threads(1)
        self.encoder = PromptEncoder.from_transformers(tokenizer)
        self._tokenizer, self._budget = tokenizer, batch_tokens
        self._model = model.eval()
        self._causal = model.get_base_model() if hasattr(model, "peft_config") else model
        self.window = self._causal.config.max_position_embeddings
        self._pad = tokenizer.convert_tokens_to_ids(END_OF_TEXT)

    def option_logprobs(self, items: Sequence[Item], tick: Tick) -> list[list[float]]:
        """Summed natural-log probability of each option of each item; `tick` is told how many items are done."""
        import torch

        rows = [pack(prompt, options) for prompt, options in items]
        scores = [[0.0] * len(options) for _, options in items]
        with torch.inference_mode():
            for batch in batches([len(row.ids) for row in rows], self._budget):
                self._score([rows[index] for index in batch], [scores[index] for index in batch])
                tick(len(batch))
        return scores

    def generate(self, questions: Sequence[list[Message]], max_tokens: int, tick: Tick) -> list[str]:
        """Greedy answers, batched with padding on the left."""
        import torch

        prompts = [self.encoder.prompt(messages) for messages in questions]
        answers = [""] * len(prompts)
        with torch.inference_mode():
            for batch in batches([len(prompt) + max_tokens for prompt in prompts], self._budget):
                written = self._generate([prompts[index] for index in batch], max_tokens)
                for index, text in zip(batch, written, strict=True):
                    answers[index] = text
                tick(len(batch))
        return answers

    def close(self) -> None:
        """Let go of the weights."""
        import torch

        torch.set_num_threads(self._threads)
        del self._model, self._causal

    def _score(self, rows: list[PackedRow], scores: list[list[float]]) -> None:
        import torch

        device, length = self._causal.device, len(rows[0].ids)
        ids, positions, owner = (
            torch.tensor([part + [fill] * (length - len(part)) for part in parts], device=device)
            for parts, fill in (
                ([row.ids for row in rows], self._pad),
                ([row.positions for row in rows], 0),
                ([row.owner for row in rows], -1),
            )
        )
        mask = _mask(owner, self._causal.dtype)
        hidden = self._causal.get_decoder()(
            input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False
        ).last_hidden_state
        reads = [
            (number * length + index, target, number, option)
            for number, row in enumerate(rows)
            for index, target, option in row.reads
        ]
        places, targets = (torch.tensor(column, device=device) for column in list(zip(*reads, strict=True))[:2])
        values = self._read(hidden.flatten(0, 1), places, targets).tolist()
        for (_, _, number, option), value in zip(reads, values, strict=True):
            scores[number][option] += value

    def _read(self, hidden: torch.Tensor, places: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Log-probability of `targets` [n] after the positions `places` [n] of `hidden` [tokens, width]; float32."""
        import torch

        head = self._causal.get_output_embeddings()
        unique, inverse = torch.unique(places, return_inverse=True)
        values = torch.empty(len(places), dtype=torch.float32, device=hidden.device)
        for start in range(0, len(unique), HEAD_POSITIONS):
            logits = head(hidden[unique[start : start + HEAD_POSITIONS]]).float()
            here = (inverse >= start) & (inverse < start + HEAD_POSITIONS)
            index = inverse[here] - start
            values[here] = logits[index, targets[here]] - logits.logsumexp(-1)[index]
        return values

    def _greedy(self, max_tokens: int) -> GenerationConfig:
        """Greedy and nothing else: Qwen2.5's own settings sample, with a repetition penalty."""
        from transformers import GenerationConfig

        ends = [self.encoder.im_end, self._pad]
        return GenerationConfig(do_sample=False, eos_token_id=ends, pad_token_id=self._pad, max_new_tokens=max_tokens)

    def _generate(self, prompts: list[list[int]], max_tokens: int) -> list[str]:
        import torch

        self._causal.generation_config = self._greedy(max_tokens)
        length = len(prompts[0])
        ids = torch.tensor([[self._pad] * (length - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        device = self._causal.device
        out = self._model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            generation_config=self._causal.generation_config,
        )
        return self._tokenizer.batch_decode(out[:, length:], skip_special_tokens=True)


def _mask(owner: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Additive attention mask [rows, 1, length, length] from the owners [rows, length]; padding sees padding."""
    import torch

    length = owner.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=owner.device).tril()
    seen = earlier & ((owner[:, None, :] == 0) | (owner[:, None, :] == owner[:, :, None]))
    mask = torch.zeros(seen.shape, dtype=dtype, device=owner.device).masked_fill_(~seen, torch.finfo(dtype).min)
    return mask[:, None]
