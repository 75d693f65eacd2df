"""Fine-tuning with LoRA: the base, its trainer, and what a run leaves behind while it runs."""
