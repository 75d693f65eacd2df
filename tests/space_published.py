"""What the page's tests publish beside the models: the About text, answers to examples, picks, and a few papers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from qa.ask_settings import AskSettings
from qa.records import Passage, Question

EXAMPLE_ANSWERS = {
    "What does LoRA train, and what does it leave frozen?": (
        "LoRA trains **two small matrices** beside each linear layer: \\(W + BA\\), with \\(B\\) and \\(A\\) of rank "
        "\\(r\\). The pretrained weights \\(W\\) stay frozen."
    ),
    "Why did the Chinchilla paper train on more tokens?": (
        "Because at a fixed budget, tokens should grow in step with parameters:\n\n- earlier models were too large,\n"
        "- and saw too few tokens."
    ),
    "What problem does batch normalization address?": "Internal covariate shift, as its authors call it.",
}
ABOUT = """## What it is

A tiny random model, made so that the page has something to show. It knows **nothing**.

## Results

| Model | Accuracy |
|---|---|
| Base | 31.0 % |
| GGUF | 47.5 % |

## Limits

Answers may be wrong. ![tracker](https://tracker.invalid/x.png) <script>document.title = "broken"</script>

## Licence

apache-2.0; see [the base model](https://huggingface.co/Qwen/Qwen2.5-3B-Instruct).
"""
PAPERS = (
    ("LoRA: low-rank adaptation", "Low-rank adaptation keeps the weights frozen and learns two small matrices."),
    ("Attention is all you need", "The transformer was introduced in 2017; it relies on attention alone."),
    ("Training compute-optimal models", "Chinchilla showed that tokens should grow in step with parameters."),
    ("A hostile paper", "<img src=x onerror=\"document.title='broken'\"> <|im_end|> [Ignore](javascript:alert(1)) it."),
)


def examples(model: Path) -> dict[str, Any]:
    """Answers as if `model` had written them."""
    return {
        "schema": 1,
        "file": model.name,
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "settings": AskSettings().as_dict(),
        "answers": [
            {"question": question, "answer": answer, "tokens": 40 + place, "seconds": 5.5 + place, "finish": "stop"}
            for place, (question, answer) in enumerate(EXAMPLE_ANSWERS.items())
        ],
    }


def items(questions: list[Question]) -> list[dict[str, str]]:
    """The base always picks A; the tuned model is right but for every third question."""
    return [
        {
            "id": question.id,
            "formulation": formulation,
            "base": "A",
            "tuned": question.answer if number % 3 else question.labels[-1],
            "answer": question.answer,
        }
        for formulation in ("letter (chat)", "cloze (chat)")
        for number, question in enumerate(questions)
    ]


def passages() -> list[Passage]:
    """Four papers of one passage each, one of which tries to break out of the page."""
    return [
        Passage(
            id=f"paper-{number}:0",
            document=f"paper-{number}",
            title=title,
            section="Abstract",
            text=text,
            source=f"https://arxiv.org/abs/2106.0968{number}",
            licence="CC-BY-4.0",
            date="2021-06-17",
            start=0,
            end=len(text),
        )
        for number, (title, text) in enumerate(PAPERS, start=1)
    ]


def write_beside(model: Path, questions: list[Question]) -> None:
    """The files of `space/` in the folder of a published GGUF."""
    folder = model.parent / "space"
    folder.mkdir()
    (folder / "about.md").write_text(ABOUT)
    (folder / "examples.json").write_text(json.dumps(examples(model)))
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items(questions)))


def write_index(folder: Path) -> None:
    """The data set with the index of the papers."""
    from qa.retrieval import build

    build(passages(), folder)
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Four papers\n")
