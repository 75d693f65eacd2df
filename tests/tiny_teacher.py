"""A tiny Qwen2 that replies as a teacher does: it learnt one reply by heart, whatever the passage. Not a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jobs.data_config import Writer
from jobs.writers.pairs import teacher_messages
from qa.prompts import PromptEncoder
from qa.records import Passage
from tests.tiny import fit, random_model, tiny_gguf, tiny_tokenizer

TEXT = (
    "LoRA keeps the pretrained\nweights frozen. It trains two small matrices beside every linear layer of the network."
)
INVENTED = {
    "question": "On what was LoRA trained?",
    "answer": "ImageNet",
    "evidence": "LoRA was trained on ImageNet in 2017.",
    "kind": "fact",
    "distractors": ["COCO", "translation", "passages of a corpus"],
}
STEPS = 50


def passage(number: int = 0, text: str = TEXT) -> Passage:
    """A passage of a document of its own."""
    name = f"d{number}.md"
    shown = {"title": "LoRA", "section": "Method", "text": text, "start": 0, "end": len(text)}
    return Passage(id=f"{name}#0", document=name, **shown)


def teacher_gguf(folder: Path) -> Path:
    """The model that replies with `INVENTED`, in `folder` and as a GGUF file of type F16 in it; some 6 seconds."""
    teach(folder, INVENTED)
    return tiny_gguf(folder, folder / "teacher.gguf")


def teach(folder: Path, pair: dict[str, Any]) -> None:
    """Save the model that replies with this pair in `folder`; some 4 seconds."""
    import torch

    tokenizer = tiny_tokenizer(folder)
    encoder = PromptEncoder.from_transformers(tokenizer)
    model = random_model(tokenizer, width=128).train()
    writer = Writer()
    completion = encoder.completion(json.dumps({"pairs": [pair]}))
    rows = []
    for number, text in enumerate((TEXT, f"{TEXT} It is document d0.", f"{TEXT} It is document d1.")):
        prompt = encoder.prompt(teacher_messages(passage(number, text), writer.kinds, writer.pairs_per_passage))
        rows.append((torch.tensor([prompt + completion]), torch.tensor([[-100] * len(prompt) + completion])))
    fit(model, lambda step: rows[step % len(rows)], steps=STEPS, rate=3e-3)
    model.eval().save_pretrained(folder)
