"""TRL's SFTTrainer on rows laid one after another, with the loss on their answers alone."""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import Sampler
from transformers import PreTrainedModel
from transformers.trainer_utils import EvalLoopOutput
from trl import SFTTrainer

from jobs.training.answer_loss import score_answers
from jobs.training.batches import InLine, RowOrder, filled
from jobs.training_rows import IGNORED


class RowTrainer(SFTTrainer):
    """Trains on rows or packs (`input_ids`, `labels`); `args` name the seed and the rows of each process."""

    def __init__(self, *, args: Any, train_dataset: Dataset, eval_dataset: Dataset, **options: Any) -> None:
        self.rows = len(train_dataset)
        shared = args.per_device_train_batch_size * args.world_size
        super().__init__(
            args=args,
            train_dataset=filled(train_dataset, shared),
            eval_dataset=filled(eval_dataset, args.per_device_eval_batch_size * args.world_size),
            data_collator=InLine(),
            **options,
        )
        score_answers(self.model.get_base_model())

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        # The epoch comes from the trainer's state, which a resume restores: accelerate tells a sampler no epoch when
        # several processes go on in the middle of one.
        return RowOrder(self.rows, len(self.train_dataset), self.args.seed, lambda: int(self.state.epoch or 0))

    def compute_loss(
        self,
        model: PreTrainedModel,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Mean over the answer tokens of the whole step, in every process and micro-step of it."""
        items = _answers(inputs) if num_items_in_batch is None else num_items_in_batch
        loss = model(**inputs, answers_alone=True) / torch.as_tensor(items).clamp(min=1)
        return loss * self.accelerator.num_processes  # the mean that is taken of the processes' gradients divides by it

    def evaluation_loop(
        self, dataloader: Any, description: str, *_: Any, metric_key_prefix: str = "eval", **__: Any
    ) -> EvalLoopOutput:
        """Mean loss of all answer tokens, each counted alike; Trainer's own is a mean of the batches' means."""
        model = self._wrap_model(self.model, training=False)
        model.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        self.callback_handler.eval_dataloader = dataloader
        for batch in dataloader:
            inputs = self._prepare_inputs(batch)
            with torch.no_grad(), self.compute_loss_context_manager():
                loss = model(**inputs, answers_alone=True)
            sums += torch.stack([loss.double(), _answers(inputs).double()])
            self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        total, answers = self.accelerator.reduce(sums, "sum").tolist()
        metrics = {f"{metric_key_prefix}_loss": total / answers}
        return EvalLoopOutput(predictions=None, label_ids=None, metrics=metrics, num_samples=len(dataloader.dataset))


def _answers(inputs: dict[str, Any]) -> torch.Tensor:
    """How many tokens of a batch are scored."""
    return (inputs["labels"][:, 1:] != IGNORED).sum()
