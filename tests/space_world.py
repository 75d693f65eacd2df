"""What the page's tests serve: two tiny models as GGUF, test questions, figures and papers, on a loopback Hub.

Not a test. Run as a program it is the real app, only slower: `python -m tests.space_world`. A model of 0.2 million
weights answers in a blink, and there would be nothing to stop.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from qa.records import Question, write_records
from tests.space_published import write_beside, write_index

TUNED, BASE, DATA = "demo/footnote-tiny-GGUF", "demo/footnote-tiny-base-GGUF", "demo/footnote-tiny-qa"
INDEX = "demo/footnote-tiny-index"
PACE = float(os.environ.get("PACE", "0.01"))  # seconds between two tokens
HOSTILE = "<img src=x onerror=\"document.title='broken'\"> <|im_end|> <b>Which</b> method trains two small matrices?"
SUBJECTS = ("adapters", "attention", "corpora", "data", "encoders", "features", "gradients", "heads", "inputs", "jobs")


def questions() -> list[Question]:
    """Ten questions, one of which tries to break out of the page."""
    return [
        Question(
            id=f"q{number}",
            question=HOSTILE if number == 0 else f"Which of these is said of {subject} in this corpus?",
            choices=("They are frozen", "They are learned", "They are measured", "They are not there"),
            labels=("A", "B", "C", "D"),
            answer="ABCD"[number % 4],
            answer_text=("They are frozen", "They are learned", "They are measured", "They are not there")[number % 4],
            document=f"document-{number}",
        )
        for number, subject in enumerate(SUBJECTS)
    ]


def metrics() -> dict[str, Any]:
    """Figures in the shape that evaluation publishes."""
    first = {"task": "research", "formulation": "cloze (chat)", "metric": "acc_norm"}
    other = {"task": "research", "formulation": "letter (chat)", "metric": "acc"}
    arc = {"task": "arc_easy", "formulation": "cloze (chat)", "metric": "acc_norm"}
    verdicts = [
        (first, "better by 16.5 points (95 % 8.1 to 24.9, p = 0.001)"),
        (other, "no difference shown (4.0 points, 95 % -3.0 to 11.0, p = 0.300)"),
        (arc, "worse by 9.0 points (95 % 2.0 to 16.0, p = 0.020)"),
    ]
    return {
        "schema": 2,
        "headline": first,
        "order": ["base", "gguf"],
        "models": {
            "base": {"results": [_figure(first, 62), _figure(other, 110)]},
            "gguf": {"results": [{**_figure(first, 80), "metric": "acc"}, _figure(first, 95), _figure(other, 118)]},
        },
        "comparisons": [
            {**way, "model": "gguf", "against": "base", "verdict": verdict, "p_holm": 0.04} for way, verdict in verdicts
        ],
    }


def _figure(way: dict[str, str], correct: int) -> dict[str, Any]:
    value = correct / 200
    return {**way, "value": value, "low": value - 0.1, "high": value + 0.1, "n": 200, "correct": correct}


def publish(store: Any, folder: Path) -> None:
    """Make everything in `folder` and put it on the Hub."""
    from local_hub.seeding import seed

    for seed_number, repository in enumerate((BASE, TUNED)):
        model = make_gguf(folder / repository, seed_number)
        (model / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A tiny random model\n")
        (model / "evaluation").mkdir()
        if repository == TUNED:
            (model / "evaluation" / "metrics.json").write_text(json.dumps(metrics()))
            write_beside(next(model.glob("*.gguf")), questions())
        seed(store, model, repository, "model")
    data = folder / DATA
    (data / "space").mkdir(parents=True)
    (data / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Ten questions\n")
    write_records(data / "space" / "test_questions.jsonl", questions())
    seed(store, data, DATA, "dataset")
    write_index(folder / INDEX)
    seed(store, folder / INDEX, INDEX, "dataset")


def make_gguf(folder: Path, seed_number: int) -> Path:
    """A folder with one tiny random model as `<name>-q4_k_m.gguf` (F16 inside: its rows are too narrow for Q4_K)."""
    from jobs.gguf_export.writer import Provenance, write_gguf
    from tests.tiny import tiny_model

    source = folder.with_name(folder.name + "-source")
    source.mkdir(parents=True)
    folder.mkdir()
    tiny_model(source, seed=seed_number)
    write_gguf(source, folder / f"{folder.name.lower()}-q4_k_m.gguf", "f16", Provenance(folder.name))
    return folder


def main() -> None:
    """The real app over engines that take their time."""
    import app
    from qa.engine import Engine

    step, score = Engine.step, Engine.option_logprobs
    Engine.step = lambda self: (step(self), time.sleep(PACE))[0]
    Engine.option_logprobs = lambda self, *args, **options: (time.sleep(10 * PACE), score(self, *args, **options))[1]
    app.main()


if __name__ == "__main__":
    main()
