"""A tiny Qwen2 that knows something: 0.9 million weights that learnt the answers to some questions by heart.

Not a test: a random model turns a fortieth of rounding into whole nats, so what a gate must catch is lost in it.
"""

from __future__ import annotations

from pathlib import Path

from jobs.rows import completion_of
from qa.prompts import PromptEncoder, ask_messages
from qa.records import Question
from tests.tiny import fit, random_model, tiny_tokenizer

SUBJECTS = "LoRA Chinchilla Transformer Vaswani ImageNet COCO BLEU Adam dropout softmax BERT ViT".split()
THINGS = (
    *("two small matrices beside each layer", "training tokens in step with parameters", "attention and nothing else"),
    *(
        "a scale for every block of weights",
        "a few of its feed-forward layers",
        "passages of a corpus before the answer",
    ),
)
STEPS = 30


def questions() -> list[Question]:
    """One open and one multiple-choice question on each fact; the right option is at every place."""
    rows = []
    for number in range(2 * len(SUBJECTS)):
        subject, right = SUBJECTS[number // 2], number * 5 % len(THINGS)
        choices = [THINGS[(right + step) % len(THINGS)] for step in range(4)]
        choices = choices[number % 4 :] + choices[: number % 4]
        values = {
            "question": f"{('What does', 'On what does')[number % 2]} {subject} rely?",
            "answer_text": THINGS[right],
            "document": f"{subject}.md",
        }
        gold = "ABCD"[choices.index(THINGS[right])]
        shown = {"choices": tuple(choices), "labels": tuple("ABCD"), "answer": gold}
        rows += [Question(id=f"open/{number}", **values), Question(id=f"choice/{number}", **values, **shown)]
    return rows


def trained_model(folder: Path) -> Path:
    """Save the model and its tokenizer in `folder`, in bfloat16; some 3 seconds."""
    import torch
    from transformers import GenerationConfig

    tokenizer = tiny_tokenizer(folder)
    encoder = PromptEncoder.from_transformers(tokenizer)
    model = random_model(tokenizer, layers=2, width=256).train()
    rows = [
        (encoder.prompt(ask_messages(row.question)), encoder.completion(completion_of(row)[0]["content"]))
        for row in questions()
        if not row.choices
    ]
    length = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids = torch.tensor(
        [prompt + answer + [answer[-1]] * (length - len(prompt) - len(answer)) for prompt, answer in rows]
    )
    labels = ids.clone()
    for row, (prompt, answer) in zip(labels, rows, strict=True):
        row[: len(prompt)] = row[len(prompt) + len(answer) :] = -100

    def batch(_: int) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = torch.randperm(len(rows))[:8]
        return ids[drawn], labels[drawn]

    fit(model, batch, steps=STEPS, rate=2e-3)
    end, pad = model.config.eos_token_id, model.config.pad_token_id
    model.generation_config = GenerationConfig(eos_token_id=[end, pad], pad_token_id=pad, do_sample=False)
    model.eval().to(torch.bfloat16).save_pretrained(folder)
    return folder
