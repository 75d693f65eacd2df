"""Cross-entropy of the answers' tokens alone, without ever holding the logits of a whole batch.

A vocabulary of 151,936 makes 0.6 MB of float32 logits a token, and its output layer is a tenth of the 3B's work.
"""

from __future__ import annotations

import functools
from types import MethodType
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from jobs.training_rows import IGNORED

CHUNK = 256  # positions whose logits are held at a time: 156 MB in float32


class AnswerLoss(torch.autograd.Function):
    """Summed negative log-likelihood (float32, nats) of targets (n) after hidden states (n × width).

    The gradient is taken while the logits are there, so that they need not be made again; the output layer is frozen.
    """

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        wanted = ctx.needs_input_grad[0]
        gradient = torch.empty_like(hidden) if wanted else None
        total = hidden.new_zeros((), dtype=torch.float32)
        for start in range(0, len(hidden), CHUNK):
            part, right = hidden[start : start + CHUNK], targets[start : start + CHUNK, None]
            logits = (part @ weight.T).float()
            normaliser = logits.logsumexp(dim=-1, keepdim=True)
            total += (normaliser - logits.gather(1, right)).sum()
            if gradient is not None:
                share = logits.sub_(normaliser).exp_()  # softmax, in place
                share.scatter_add_(1, right, share.new_full(right.shape, -1.0))
                gradient[start : start + CHUNK] = share.to(weight.dtype) @ weight
        ctx.gradient = gradient
        return total

    @staticmethod
    def backward(ctx: Any, after: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return ctx.gradient * after.to(ctx.gradient.dtype), None, None


def score_answers(model: Any) -> None:
    """Give a model `model(..., labels=labels, answers_alone=True)`: the labelled tokens' summed loss, as a tensor."""
    plain = model.forward

    @functools.wraps(type(model).forward)  # generate() looks at the names of its arguments
    def forward(self: Any, *args: Any, answers_alone: bool = False, **kwargs: Any) -> Any:
        if not answers_alone:
            return plain(*args, **kwargs)
        labels = kwargs.pop("labels")[:, 1:]
        hidden = self.base_model(*args, use_cache=False, **kwargs).last_hidden_state[:, :-1]
        weight = self.get_output_embeddings().weight
        weight = weight.full_tensor() if isinstance(weight, DTensor) else weight
        labelled = labels != IGNORED
        return AnswerLoss.apply(hidden[labelled].to(weight.dtype), weight, labels[labelled])

    model.forward = MethodType(forward, model)
