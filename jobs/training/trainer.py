"""TRL's SFTTrainer, set up by the run's configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.config import Train
from jobs.errors import UserError

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
    """TRL's trainer of an adapter of the model on encoded rows (`input_ids`, `labels`)."""
    from peft import LoraConfig
    from peft.utils.error import NoMatchingPeftModuleError
    from transformers.trainer_callback import PrinterCallback
    from trl import SFTTrainer

    lora = settings.lora
    shape = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules),
        task_type="CAUSAL_LM",
    )
    try:
        trainer = SFTTrainer(
            model=model,
            args=arguments(settings, checkpoints, max_length, seed, len(rows)),
            train_dataset=rows,
            eval_dataset=validation,
            processing_class=tokenizer,
            peft_config=shape,
            callbacks=list(callbacks),
        )
    except NoMatchingPeftModuleError:
        modules = ", ".join(lora.target_modules)
        raise UserError(f"train.lora.target_modules: the base has no module named {modules}") from None
    trainer.remove_callback(PrinterCallback)
    return trainer


def arguments(settings: Train, checkpoints: Path, max_length: int, seed: int, rows: int) -> Any:
    """The run's settings in TRL's terms, for so many training rows."""
    import torch
    from trl import SFTConfig

    steps_per_epoch = -(-rows // (settings.batch_size * settings.gradient_accumulation))
    return SFTConfig(
        output_dir=str(checkpoints),
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps,
        weight_decay=settings.weight_decay,
        warmup_steps=settings.warmup_ratio,
        lr_scheduler_type=settings.scheduler,
        eval_strategy="epoch",
        save_strategy="steps",
        save_steps=max(1, steps_per_epoch // settings.checkpoints_per_epoch),
        save_total_limit=2,
        logging_steps=max(1, steps_per_epoch // 20),
        bf16=settings.dtype == "bfloat16" and torch.cuda.is_available(),
        activation_checkpointing=settings.gradient_checkpointing,
        max_length=max_length,
        dataset_kwargs={"skip_prepare_dataset": True},
        seed=seed,
        data_seed=seed,
        report_to=settings.report_to,
        project="footnote",
        trackio_static_space_id=False,  # the default creates a public Space at the first push
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )
