"""TRL's SFTTrainer, set up by the run's configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.config import Lora, Train
from jobs.errors import UserError
from jobs.team import Team
from jobs.training.distributed import average_adapter_alone, rows_of_one

if TYPE_CHECKING:
    from transformers import TrainerCallback


def build_trainer(
    model: Any,
    tokenizer: Any,
    rows: Any,
    validation: Any,
    settings: Train,
    checkpoints: Path,
    max_length: int,
    seed: int,
    callbacks: Sequence[TrainerCallback],
) -> Any:
    """The trainer of an adapter of the model on encoded rows (`input_ids`, `labels`); with `packing`, on packs."""
    from peft.utils.error import NoMatchingPeftModuleError
    from transformers.trainer_callback import PrinterCallback

    from jobs.training.attention import attention_for
    from jobs.training.batches import packed
    from jobs.training.memory import recompute
    from jobs.training.row_trainer import RowTrainer

    model.set_attn_implementation(attention_for(model.dtype))
    _keep_trainable(model)
    rows = packed(rows, max_length) if settings.packing else rows
    again = recompute(model, settings, longest_step(rows, rows_of_one(settings, Team.current().world)))
    try:
        trainer = RowTrainer(
            model=model,
            args=arguments(settings, checkpoints, max_length, seed, len(rows), again),
            train_dataset=rows,
            eval_dataset=packed(validation, max_length),
            processing_class=tokenizer,
            peft_config=_adapter(settings.lora),
            callbacks=list(callbacks),
        )
    except NoMatchingPeftModuleError:
        modules = ", ".join(settings.lora.target_modules)
        raise UserError(f"train.lora.target_modules: the base has no module named {modules}") from None
    trainer.remove_callback(PrinterCallback)
    average_adapter_alone(trainer.model)
    return trainer


def _adapter(lora: Lora) -> Any:
    """The adapter's shape in peft's terms."""
    from peft import LoraConfig

    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules),
        task_type="CAUSAL_LM",
    )


def _keep_trainable(model: Any) -> None:
    """Keep bitsandbytes from repacking 4-bit weights in an evaluation on a CPU: training cannot go on after it."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def longest_step(rows: Any, count: int) -> int:
    """Tokens that so many rows have at most."""
    return sum(sorted(map(len, rows["input_ids"]))[-count:])


def arguments(settings: Train, checkpoints: Path, max_length: int, seed: int, rows: int, again: bool) -> Any:
    """The run's settings in TRL's terms, for so many training rows, with or without gradient checkpointing."""
    import torch
    from trl import SFTConfig

    share = rows_of_one(settings, Team.current().world)
    steps_per_epoch = -(-rows // (settings.batch_size * settings.gradient_accumulation))
    return SFTConfig(
        output_dir=str(checkpoints),
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=share,
        per_device_eval_batch_size=share,
        gradient_accumulation_steps=settings.gradient_accumulation,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps,
        weight_decay=settings.weight_decay,
        warmup_steps=settings.warmup_ratio,
        lr_scheduler_type=settings.scheduler,
        eval_strategy="no",  # checkpoints.py says when, so that an epoch's last checkpoint holds its evaluation
        save_strategy="steps",
        save_steps=max(1, steps_per_epoch // settings.checkpoints_per_epoch),
        logging_steps=max(1, steps_per_epoch // 20),
        bf16=settings.dtype == "bfloat16" and torch.cuda.is_available(),
        activation_checkpointing=again,
        max_length=max_length,
        dataset_kwargs={"skip_prepare_dataset": True},
        seed=seed,
        data_seed=seed,
        report_to="none",  # watch.py reports
        logging_nan_inf_filter=False,  # on, it writes down an average of other losses in place of one that is no number
        include_num_input_tokens_seen="non_padding",
        disable_tqdm=True,
        ddp_find_unused_parameters=False,
        use_cpu=not torch.cuda.is_available(),
    )
