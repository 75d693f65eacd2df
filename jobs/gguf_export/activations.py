"""What goes into each linear layer of a transformers model: sums of squared activations over rows of token ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import UserError
from jobs.evaluation.likelihood import CPU_TOKENS
from jobs.evaluation.packing import batches
from jobs.progress import bar
from jobs.transformers_model import few_threads, load_model

if TYPE_CHECKING:
    import numpy as np
    import torch

GPU_TOKENS = 4096  # of one pass, padding included: 0.2 GB for the widest layer's inputs of Qwen2.5-3B


def squared_inputs(model: Path, rows: Sequence[Sequence[int]], device: str | None = None) -> dict[str, np.ndarray]:
    """Sums of squares, float64 [inputs], of every linear layer of the blocks by llama.cpp's name of its weight.

    The model runs in the type its weights are stored in: on bfloat16 weights the means of single channels move by up to
    3 % against float32, by 0.1 % on average. Raises `UserError` for a model that cannot be loaded or exported.
    """
    import torch

    causal = load_model(model, device=device)
    squares = _Squares(_linears(causal, model))
    budget = GPU_TOKENS if causal.device.type != "cpu" else CPU_TOKENS
    with ExitStack() as stack:
        stack.enter_context(few_threads(causal))
        stack.enter_context(torch.inference_mode())
        stack.enter_context(squares.watched())
        shown = stack.enter_context(bar(sum(map(len, rows)), "importance matrix", unit="token"))
        for batch in batches([len(row) for row in rows], budget):
            squares.run(causal, [rows[index] for index in batch])
            shown.update(sum(len(rows[index]) for index in batch))
    return {name: total.cpu().numpy() for name, total in squares.by_name().items()}


def _linears(causal: Any, model: Path) -> dict[str, torch.nn.Linear]:
    """llama.cpp's name of its weight → every linear layer of the blocks."""
    import gguf
    from torch import nn

    kind = causal.config.model_type
    if (architecture := gguf.MODEL_ARCH.__members__.get(str(kind).upper())) is None:
        raise UserError(f"{model}: a model of type {kind} has no names in llama.cpp, so it cannot be exported")
    names = gguf.get_tensor_name_map(architecture, causal.config.num_hidden_layers)
    found = {}
    for name, module in causal.named_modules():
        if isinstance(module, nn.Linear) and module is not causal.get_output_embeddings():
            known = names.get_name(f"{name}.weight", try_suffixes=(".weight",))
            if known is None:
                raise UserError(f"{model}: layer {name} has no name in llama.cpp, so the model cannot be exported")
            found[known] = module
    return found


class _Squares:
    """Sums of squared inputs of linear layers, float64; layers that are given the very same tensor share one sum."""

    def __init__(self, linears: dict[str, torch.nn.Linear]) -> None:
        self._linears = linears
        self._totals: dict[str, torch.Tensor] = {}
        self._first: dict[str, str] = {}  # layer → the layer that was given its input first, or itself
        self._seen: tuple[torch.Tensor | None, str] = (None, "")
        self._places: torch.Tensor | None = None  # of a batch's tokens without padding, in its flattened rows

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Within it every pass through the model is added up."""
        with ExitStack() as hooks:
            for name, module in self._linears.items():
                hooks.callback(module.register_forward_pre_hook(self._adder(name)).remove)
            yield

    def run(self, causal: Any, rows: Sequence[Sequence[int]]) -> None:
        """One pass. Rows are padded at their ends, which the tokens before do not see in a causal model."""
        import torch

        length = max(map(len, rows))
        ids = torch.tensor([[*row, *[0] * (length - len(row))] for row in rows], device=causal.device)
        places = [place * length + at for place, row in enumerate(rows) for at in range(len(row))]
        self._places = torch.tensor(places, device=causal.device)
        causal.get_decoder()(input_ids=ids, use_cache=False)
        self._seen = (None, "")

    def by_name(self) -> dict[str, torch.Tensor]:
        """Sums [inputs] of every layer."""
        return {name: self._totals[self._first[name]] for name in self._linears}

    def _adder(self, name: str) -> Callable[[Any, tuple[torch.Tensor]], None]:
        def add(_module: Any, inputs: tuple[torch.Tensor]) -> None:
            if inputs[0] is self._seen[0]:
                self._first[name] = self._seen[1]
                return
            self._seen, self._first[name] = (inputs[0], name), name
            sums = inputs[0].flatten(0, 1)[self._places].float().square().sum(0).double()
            self._totals[name] = self._totals[name] + sums if name in self._totals else sums

        return add
