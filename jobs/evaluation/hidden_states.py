"""The hidden states from which scores are read: rows of questions through the layers of a transformers model.

What the questions' prompts begin with is run once and kept as keys and values. A 4-D mask lets a token see that head,
the prompt of its own question and its own option; positions go on from the prompt's end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jobs.evaluation.packing import Row

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache

Head = tuple[int, ...]


def window_of(config: Any) -> int:
    """Tokens that a model reads with every layer seeing all that stands before, as our mask has it."""
    config = config.get_text_config()
    sliding = getattr(config, "sliding_window", None)
    slides = "sliding_attention" in (getattr(config, "layer_types", None) or ["sliding_attention"])
    return min(config.max_position_embeddings, sliding) if sliding and slides else config.max_position_embeddings


class HiddenStates:
    """The layers of a causal language model, and the keys and values of the last head asked for."""

    def __init__(self, causal: Any, pad: int) -> None:
        self._decoder, self._pad = causal.get_decoder(), pad
        self._device, self._dtype = causal.device, causal.dtype
        self._head: Head = ()
        self._kept: list[tuple[torch.Tensor, torch.Tensor]] = []  # for each layer [1, heads, tokens, width of a head]

    def at(self, places: torch.Tensor, head: Head, rows: Sequence[Row]) -> torch.Tensor:
        """States [n, width] at `places` [n] of the rows that follow `head`; places count over rows of one length."""
        length = max(len(row.ids) for row in rows)
        questions = self._table([row.questions for row in rows], -1, length)
        options = self._table([row.options for row in rows], 0, length)
        cache = self._cache(head, len(rows)) if head else None
        with _last_layer_at(self._decoder, places):
            states = self._decoder(
                input_ids=self._table([row.ids for row in rows], self._pad, length),
                position_ids=self._table([row.positions for row in rows], 0, length),
                attention_mask=_mask(questions, options, len(head), self._dtype),
                past_key_values=cache,
                use_cache=cache is not None,
            ).last_hidden_state
        return states.flatten(0, 1)[places]

    def _table(self, lines: list[list[int]], fill: int, length: int) -> torch.Tensor:
        import torch

        return torch.tensor([line + [fill] * (length - len(line)) for line in lines], device=self._device)

    def _cache(self, head: Head, rows: int) -> DynamicCache:
        """The head's keys and values for each row, to be thrown away after. It runs alone, once while it stays."""
        import torch
        from transformers import DynamicCache

        if self._head != head:
            self._head, self._kept = (), []
            cache = DynamicCache()
            with _last_layer_at(self._decoder, torch.tensor([0], device=self._device)):
                self._decoder(
                    input_ids=torch.tensor([head], device=self._device), past_key_values=cache, use_cache=True
                )
            self._kept = [(layer.keys, layer.values) for layer in cache.layers]
            self._head = head
        return DynamicCache([tuple(part.expand(rows, -1, -1, -1) for part in layer) for layer in self._kept])


@contextmanager
def _last_layer_at(decoder: Any, places: torch.Tensor) -> Iterator[None]:
    """Within it the last layer's feed-forward part runs for these tokens alone, as no other is read: 4 % less work.

    Models whose layers have no part named `mlp` run it for all.
    """
    part = getattr(getattr(decoder, "layers", [None])[-1], "mlp", None)
    shapes: list[torch.Size] = []

    def choose(_: Any, arguments: tuple[torch.Tensor]) -> torch.Tensor:
        shapes.append(arguments[0].shape)
        return arguments[0].flatten(0, 1)[None, places]

    def spread(_: Any, __: Any, output: torch.Tensor | tuple[Any, ...]) -> torch.Tensor | tuple[Any, ...]:
        states, *others = output if isinstance(output, tuple) else (output,)  # experts may return their router's scores
        shape = shapes.pop()
        states = states.new_zeros(shape).flatten(0, 1).index_copy_(0, places, states[0]).view(shape)
        return (states, *others) if isinstance(output, tuple) else states

    hooks = [part.register_forward_pre_hook(choose), part.register_forward_hook(spread)] if part is not None else []
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _mask(questions: torch.Tensor, options: torch.Tensor, head: int, dtype: torch.dtype) -> torch.Tensor:
    """Additive attention mask [rows, 1, length, head + length] from the questions and options [rows, length].

    Every token sees the head; padding, which is a question of its own, sees padding.
    """
    import torch

    rows, length = questions.shape
    seen = torch.ones(length, length, dtype=torch.bool, device=questions.device).tril()
    seen = seen & (questions[:, None, :] == questions[:, :, None])
    seen &= (options[:, None, :] == 0) | (options[:, None, :] == options[:, :, None])
    mask = torch.zeros(rows, 1, length, head + length, dtype=dtype, device=questions.device)
    mask[:, 0, :, head:].masked_fill_(~seen, torch.finfo(dtype).min)
    return mask
